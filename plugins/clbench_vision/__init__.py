"""Pictures: datasets, families of tasks, and nets that classify."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_datasets() -> Iterable[Entry]:
    """MNIST and its relatives, CIFAR."""
    where = "clbench_vision.datasets"
    lecun = "LeCun et al. 1998"
    krizhevsky = "Krizhevsky 2009"
    return [
        Entry("mnist", f"{where}:MNIST", "handwritten digits, 28 x 28", lecun),
        Entry(
            "fashion-mnist",
            f"{where}:FASHION_MNIST",
            "pieces of clothing, 28 x 28",
            "Xiao et al. 2017 (arXiv:1708.07747)",
        ),
        Entry(
            "kmnist",
            f"{where}:KMNIST",
            "cursive Japanese letters, 28 x 28",
            "Clanuwat et al. 2018 (arXiv:1812.01718)",
        ),
        Entry(
            "emnist-balanced",
            f"{where}:EMNIST_BALANCED",
            "digits and letters in 47 classes, 28 x 28",
            "Cohen et al. 2017 (arXiv:1702.05373)",
        ),
        Entry("cifar10", f"{where}:CIFAR10", "objects in 10 classes, 32 x 32", krizhevsky),
        Entry(
            "cifar10-jpeg",
            f"{where}:CIFAR10_JPEG",
            "CIFAR-10 as JPEG pictures: for comparisons among methods only",
            krizhevsky,
        ),
        Entry("cifar100", f"{where}:CIFAR100", "objects in 100 classes, 32 x 32", krizhevsky),
    ]


@hookimpl
def clbench_tasks() -> Iterable[Entry]:
    """Families of picture tasks."""
    return [
        Entry(
            "permuted-images",
            "clbench_vision.permuted_images:PermutedImages",
            "the same pictures, their pixels in another order in each task",
            "Goodfellow et al. 2013 (arXiv:1312.6211)",
        ),
        Entry(
            "split-images",
            "clbench_vision.split_images:SplitImages",
            "the classes of a dataset dealt out to tasks",
            "Zenke et al. 2017 (arXiv:1703.04200)",
        ),
        Entry(
            "incremental-cifar",
            "clbench_vision.incremental_cifar:IncrementalCifar",
            "CIFAR-10, then ten classes of CIFAR-100 at a time",
            "Zenke et al. 2017 (arXiv:1703.04200)",
        ),
    ]


@hookimpl
def clbench_models() -> Iterable[Entry]:
    """Nets for pictures."""
    return [
        Entry(
            "mlp",
            "clbench_vision.mlp:Mlp",
            "fully connected layers, dense or sparse, on pictures or vectors",
        ),
        Entry(
            "cnn",
            "clbench_vision.cnn:Cnn",
            "convolutions, then fully connected layers, dense or sparse",
        ),
    ]
