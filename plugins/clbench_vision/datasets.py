"""The datasets: which files they need, and how these become pictures and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from clbench.data import DamagedFileError, DataFile, find, read, require
from clbench.errors import UnavailableError
from clbench.images import Half, Split

from . import cifar, idx


@dataclass(frozen=True, slots=True)
class IdxDataset:
    """MNIST or a relative: pictures and labels of each split in an idx file each.

    Attributes:
        per_class: Pictures of each class, of training and test set; (0, 0) where classes differ.
    """

    name: str
    files: tuple[DataFile, DataFile, DataFile, DataFile]
    num_classes: int
    sizes: tuple[int, int]
    per_class: tuple[int, int]
    shape: tuple[int, int, int] = (1, 28, 28)

    def load(self, split: Half) -> Split:
        """See `clbench.images.ImageDataset`."""
        which = 0 if split == "train" else 1
        images, labels = self.files[2 * which : 2 * which + 2]
        size = self.sizes[which]
        image_path, label_path = require(self.name, images), require(self.name, labels)
        pictures = idx.parse(read(image_path, images), image_path, (size, *self.shape[1:]))
        targets = idx.parse(read(label_path, labels), label_path, (size,)).long()
        counts = torch.bincount(targets, minlength=self.num_classes)
        if len(counts) > self.num_classes:
            what = f"expected labels below {self.num_classes}, found {int(targets.max())}"
            raise DamagedFileError(label_path, what)
        if self.per_class[which] and bool((counts != self.per_class[which]).any()):
            what = f"expected {self.per_class[which]} labels of each class: another dataset's file?"
            raise DamagedFileError(label_path, what)
        return Split(pictures.unsqueeze(1), targets)


@dataclass(frozen=True, slots=True)
class CifarDataset:
    """CIFAR-10 or CIFAR-100: the official archive, or the folder that it unpacks to."""

    name: str
    archive: DataFile
    train_members: tuple[DataFile, ...]
    test_members: tuple[DataFile, ...]
    label_key: str
    num_classes: int
    shape: tuple[int, int, int] = (3, 32, 32)

    @property
    def files(self) -> tuple[DataFile, ...]:
        """The unpacked batches where they are here, the archive otherwise."""
        members = self.train_members + self.test_members
        return members if find(self.name, members[0]) else (self.archive,)

    def load(self, split: Half) -> Split:
        """See `clbench.images.ImageDataset`."""
        members = self.train_members if split == "train" else self.test_members
        if self.files == (self.archive,):
            path = require(self.name, self.archive)
            archive = read(path, self.archive)
            contents = [(cifar.read_member(archive, m.name, path), path) for m in members]
        else:
            paths = [require(self.name, member) for member in members]
            contents = [(read(p, m), p) for m, p in zip(members, paths, strict=True)]
        batches = [cifar.parse_batch(content, p, self.label_key) for content, p in contents]
        labels = torch.cat([labels for _, labels in batches])
        if not 0 <= int(labels.min()) <= int(labels.max()) < self.num_classes:
            raise DamagedFileError(contents[0][1], f"has a label outside 0..{self.num_classes - 1}")
        return Split(torch.cat([pictures for pictures, _ in batches]), labels)


@dataclass(frozen=True, slots=True)
class JpegCifar10:
    """CIFAR-10 compressed to JPEG pictures: good for comparisons among methods only."""

    name: str = "cifar10-jpeg"
    files: tuple[DataFile, ...] = (DataFile("cifar10-jpeg.zip"),)
    num_classes: int = 10
    shape: tuple[int, int, int] = (3, 32, 32)

    def load(self, split: Half) -> Split:
        """See `clbench.images.ImageDataset`."""
        path = require(self.name, self.files[0])
        try:
            return Split(*cifar.read_jpeg_zip(path, split, cifar.CIFAR_10_CLASSES))
        except ImportError:
            raise UnavailableError(
                "dataset 'cifar10-jpeg' needs Pillow: pip install 'clbench[vision]'"
            ) from None


def _idx_files(base: str, md5s: Sequence[str], content_md5s: Sequence[str] = ("",) * 4) -> tuple[
    DataFile, DataFile, DataFile, DataFile
]:  # fmt: skip
    names = (
        *("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        *("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    )
    a, b, c, d = (
        DataFile(name, md5, base + name, content, is_shared_name=True)
        for name, md5, content in zip(names, md5s, content_md5s, strict=True)
    )
    return a, b, c, d


MNIST = IdxDataset(
    "mnist",
    _idx_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            *("f68b3c2dcbeaaa9fbdd348bbdeb94873", "d53e105ee54ea40749a09fcbcd1e9432"),
            *("9fb629c4189551a2d022fa330f9573f3", "ec29112dd5afa0611ce80d1b7f02629c"),
        ),
        (
            *("6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624"),
            *("2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    num_classes=10,
    sizes=(60_000, 10_000),
    per_class=(0, 0),
)
FASHION_MNIST = IdxDataset(
    "fashion-mnist",
    _idx_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            *("8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe"),
            *("bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310"),
        ),
    ),
    num_classes=10,
    sizes=(60_000, 10_000),
    per_class=(6_000, 1_000),
)
KMNIST = IdxDataset(
    "kmnist",
    _idx_files(
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        (
            *("bdb82020997e1d708af4cf47b453dcf7", "e144d726b3acfaa3e44228e80efcd344"),
            *("5c965bf0a639b31b8f53240b1b52f4d7", "7320c461ea6c1c855c0b718fb2a4b134"),
        ),
    ),
    num_classes=10,
    sizes=(60_000, 10_000),
    per_class=(6_000, 1_000),
)
EMNIST_BALANCED = IdxDataset(  # published in one archive of all its splits only, so not fetched
    "emnist-balanced",
    (
        DataFile("emnist-balanced-train-images-idx3-ubyte.gz"),
        DataFile("emnist-balanced-train-labels-idx1-ubyte.gz"),
        DataFile("emnist-balanced-test-images-idx3-ubyte.gz"),
        DataFile("emnist-balanced-test-labels-idx1-ubyte.gz"),
    ),
    num_classes=47,
    sizes=(112_800, 18_800),
    per_class=(2_400, 400),
)
CIFAR10 = CifarDataset(
    "cifar10",
    cifar.ARCHIVE_10,
    (
        DataFile("cifar-10-batches-py/data_batch_1", "c99cafc152244af753f735de768cd75f"),
        DataFile("cifar-10-batches-py/data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec"),
        DataFile("cifar-10-batches-py/data_batch_3", "54ebc095f3ab1f0389bbae665268c751"),
        DataFile("cifar-10-batches-py/data_batch_4", "634d18415352ddfa80567beed471001a"),
        DataFile("cifar-10-batches-py/data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
    ),
    (DataFile("cifar-10-batches-py/test_batch", "40351d587109b95175f43aff81a1287e"),),
    label_key="labels",
    num_classes=10,
)
CIFAR100 = CifarDataset(
    "cifar100",
    cifar.ARCHIVE_100,
    (DataFile("cifar-100-python/train", "16019d7e3df5f24257cddd939b257f8d"),),
    (DataFile("cifar-100-python/test", "f0ef6b0ae62326f3e7ffdfab6717acfc"),),
    label_key="fine_labels",
    num_classes=100,
)
CIFAR10_JPEG = JpegCifar10()
