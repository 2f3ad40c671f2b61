"""Datasets of labelled pictures: what families of picture tasks take, and how they load it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from clbench.data import DataFile
from clbench.errors import ClbenchError

Half = Literal["train", "test"]


class Split(NamedTuple):
    """Pictures and labels.

    Attributes:
        pictures: uint8, (N, C, H, W).
        labels: int64, (N,), from 0.
    """

    pictures: Tensor
    labels: Tensor


class ImageDataset(Protocol):
    """A dataset of labelled pictures: a `clbench.data.Dataset` whose content can be loaded."""

    @property
    def name(self) -> str:
        """As written in suites."""

    @property
    def files(self) -> Sequence[DataFile]:
        """What it is read from."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a picture."""

    @property
    def num_classes(self) -> int:
        """Number of classes."""

    def load(self, split: Half) -> Split:
        """One half of the dataset, the same each time.

        Raises:
            UnavailableError: A file is not here.
            DamagedFileError: A file is truncated, changed, or another one.
        """


def check(dataset: ImageDataset) -> None:
    """Whether a dataset says what its pictures are; nothing is loaded.

    Raises:
        ClbenchError: It does not, so it is no dataset of labelled pictures.
    """
    lacking = [name for name in ("shape", "num_classes", "load") if not hasattr(dataset, name)]
    if lacking:
        what = f"dataset '{dataset.name}' lacks {', '.join(map(repr, lacking))}"
        raise ClbenchError(f"{what}, which every dataset of labelled pictures has")
    shape: object = dataset.shape
    count = dataset.num_classes
    is_triple = isinstance(shape, Sequence) and len(shape) == 3
    if not is_triple or not all(type(size) is int and size > 0 for size in dataset.shape):
        what = f"expected (channels, height, width), found {shape!r}"
        raise ClbenchError(f"dataset '{dataset.name}', shape: {what}")
    if type(count) is not int or count < 2:
        what = f"expected a whole number of at least 2, found {count!r}"
        raise ClbenchError(f"dataset '{dataset.name}', num_classes: {what}")


def load(dataset: ImageDataset, half: Half) -> Split:
    """Half of a dataset, which is what the dataset says of it.

    Raises:
        UnavailableError: A file is not here.
        ClbenchError: A file is damaged, or what is loaded is something else.
    """
    loaded: object = dataset.load(half)
    wrong = _wrong(dataset, loaded)
    if wrong is not None:
        raise ClbenchError(f"dataset '{dataset.name}', {half}: {wrong}")
    return Split(*loaded)  # type: ignore[misc]  # it is a pair


def _wrong(dataset: ImageDataset, loaded: object) -> str | None:
    """What is not as the dataset says in what it has loaded, None where all is."""
    if not isinstance(loaded, (tuple, list)):
        return f"expected a pair of pictures and labels, found a value of type {_type(loaded)}"
    if len(loaded) != 2:
        return f"expected a pair of pictures and labels, found {len(loaded)} values"
    pictures, labels = loaded
    if not isinstance(pictures, Tensor) or not isinstance(labels, Tensor):
        found = f"{_type(pictures)} and {_type(labels)}"
        return f"expected pictures and labels as tensors, found {found}"
    if labels.dtype != torch.int64 or labels.dim() != 1:
        return f"expected labels int64 (N,), found {_told(labels)}"
    shape, highest = (len(labels), *dataset.shape), dataset.num_classes - 1
    if pictures.dtype != torch.uint8 or tuple(pictures.shape) != shape:
        return f"expected pictures uint8 {shape}, found {_told(pictures)}"
    if not len(labels):
        return "there are no pictures"
    if not 0 <= int(labels.min()) <= int(labels.max()) <= highest:
        found = f"{int(labels.min())} to {int(labels.max())}"
        return f"expected labels from 0 to {highest}, found {found}"
    return None


def _type(value: object) -> str:
    return type(value).__name__


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
