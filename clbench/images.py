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
    shape, count = tuple(dataset.shape), dataset.num_classes
    if len(shape) != 3 or not all(type(size) is int and size > 0 for size in shape):
        what = f"expected (channels, height, width), found {dataset.shape!r}"
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
    pictures, labels = dataset.load(half)
    shape = (len(labels), *dataset.shape)
    highest = dataset.num_classes - 1
    wrong = None
    if not isinstance(pictures, Tensor) or not isinstance(labels, Tensor):
        found = f"{type(pictures).__name__} and {type(labels).__name__}"
        wrong = f"expected pictures and labels as tensors, found {found}"
    elif pictures.dtype != torch.uint8 or tuple(pictures.shape) != shape:
        wrong = f"expected pictures uint8 {shape}, found {_told(pictures)}"
    elif labels.dtype != torch.int64 or labels.dim() != 1:
        wrong = f"expected labels int64 ({len(labels)},), found {_told(labels)}"
    elif not len(labels):
        wrong = "there are no pictures"
    elif not 0 <= int(labels.min()) <= int(labels.max()) <= highest:
        found = f"{int(labels.min())} to {int(labels.max())}"
        wrong = f"expected labels from 0 to {highest}, found {found}"
    if wrong:
        raise ClbenchError(f"dataset '{dataset.name}', {half}: {wrong}")
    return Split(pictures, labels)


def _told(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
