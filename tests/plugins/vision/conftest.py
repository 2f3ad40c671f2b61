"""A tiny MNIST, written where the datasets look for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clbench_vision.datasets import Split


class Tiny:
    """60 training and 20 test pictures of 4 x 4 pixels in 10 classes."""

    name = "mnist"
    files = ()
    num_classes = 10

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def load(self, split: str) -> Split:
        size = 60 if split == "train" else 20
        drawing = np.random.RandomState(size)
        pictures = drawing.randint(0, 256, (size, *self.shape), dtype=np.uint8)
        return Split(torch.from_numpy(pictures), torch.arange(size) % 10)


@pytest.fixture(autouse=True)
def _tiny(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every family finds tiny datasets, but where the files themselves are tested."""
    if Path(request.path).stem != "test_files":
        for module in ("permuted_images", "split_images"):
            monkeypatch.setattr(
                f"clbench_vision.{module}.dataset",
                lambda name: Tiny((3, 4, 4) if name.startswith("cifar") else (1, 4, 4)),
            )
        for name in ("CIFAR10", "CIFAR100"):
            monkeypatch.setattr(f"clbench_vision.incremental_cifar.{name}", Tiny((3, 4, 4)))
