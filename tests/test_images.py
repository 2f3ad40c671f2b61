"""Datasets of pictures: what is refused before and after loading, and their contract."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from contracts import broken_promises
from small_pictures import SmallPictures

from clbench import images
from clbench.data import DataFile
from clbench.errors import ClbenchError
from clbench.images import Half, ImageDataset, Split
from clbench.testing import ImageDatasetContract

_PICTURES, _LABELS = SmallPictures().load("train")


class _Files:
    """No dataset of pictures: it knows its files alone."""

    name, files = "tables", ()


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"shape": (4, 4)}, "shape: expected (channels, height, width), found (4, 4)"),
        ({"shape": (0, 4, 4)}, "shape: expected (channels, height, width), found (0, 4, 4)"),
        ({"shape": (1, 4.0, 4)}, "shape: expected (channels, height, width), found (1, 4.0, 4)"),
        ({"shape": 4}, "shape: expected (channels, height, width), found 4"),
        ({"num_classes": 1}, "num_classes: expected a whole number of at least 2, found 1"),
        ({"num_classes": 10.0}, "num_classes: expected a whole number of at least 2, found 10.0"),
    ],
)
def test_a_dataset_says_what_its_pictures_are(attributes: dict[str, Any], message: str) -> None:
    dataset = SmallPictures()
    images.check(dataset)
    vars(dataset).update(attributes)

    with pytest.raises(ClbenchError) as caught:
        images.check(dataset)

    assert str(caught.value) == f"dataset 'small', {message}"


def test_a_dataset_of_something_else_is_told_by_what_it_lacks() -> None:
    dataset: Any = _Files()

    with pytest.raises(ClbenchError) as caught:
        images.check(dataset)

    assert str(caught.value) == (
        "dataset 'tables' lacks 'shape', 'num_classes', 'load', "
        "which every dataset of labelled pictures has"
    )


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        ((_PICTURES.float() / 255, _LABELS), "pictures uint8 (60, 1, 4, 4), found float32 (60, 1, 4, 4)"),
        ((_PICTURES[:, 0], _LABELS), "pictures uint8 (60, 1, 4, 4), found uint8 (60, 4, 4)"),
        ((_PICTURES[:, :, :3], _LABELS), "pictures uint8 (60, 1, 4, 4), found uint8 (60, 1, 3, 4)"),
        ((_PICTURES[1:], _LABELS), "pictures uint8 (60, 1, 4, 4), found uint8 (59, 1, 4, 4)"),
        ((_PICTURES, _LABELS.int()), "labels int64 (N,), found int32 (60,)"),
        ((_PICTURES, _LABELS.view(60, 1)), "labels int64 (N,), found int64 (60, 1)"),
        ((_PICTURES, _LABELS + 1), "labels from 0 to 9, found 1 to 10"),
        ((_PICTURES, _LABELS - 1), "labels from 0 to 9, found -1 to 8"),
        ((_PICTURES.numpy(), _LABELS), "pictures and labels as tensors, found ndarray and Tensor"),
        ((_PICTURES, _LABELS.tolist()), "pictures and labels as tensors, found Tensor and list"),
        ((_PICTURES, None), "pictures and labels as tensors, found Tensor and NoneType"),
        ((_PICTURES, _LABELS[0]), "labels int64 (N,), found int64 ()"),
        ((_PICTURES, _LABELS, 10), "a pair of pictures and labels, found 3 values"),
        (None, "a pair of pictures and labels, found a value of type NoneType"),
        ({"pictures": _PICTURES, "labels": _LABELS}, "a pair of pictures and labels, found a value of type dict"),
    ],
)  # fmt: skip
def test_what_is_loaded_is_what_the_dataset_says(loaded: Any, message: str) -> None:
    class Other(SmallPictures):
        def load(self, split: Half) -> Any:
            return loaded

    with pytest.raises(ClbenchError) as caught:
        images.load(Other(), "train")

    assert str(caught.value) == f"dataset 'small', train: expected {message}"


def test_a_half_without_pictures_is_refused() -> None:
    class Empty(SmallPictures):
        def load(self, split: Half) -> Split:
            return Split(_PICTURES[:0], _LABELS[:0])

    with pytest.raises(ClbenchError, match=re.escape("'small', test: there are no pictures")):
        images.load(Empty(), "test")


class _LacksFiles(SmallPictures):
    files: Any = (DataFile("nowhere.npz"),)


class _ScaledAlready(SmallPictures):
    def load(self, split: Half) -> Split:
        pictures, labels = super().load(split)
        return Split(pictures / 255, labels)


class _LacksAClass(SmallPictures):
    def load(self, split: Half) -> Split:
        kept = slice(0, 9) if split == "test" else slice(None)
        return Split(*(part[kept] for part in super().load(split)))


class _Shuffled(SmallPictures):
    def load(self, split: Half) -> Split:
        pictures, labels = super().load(split)
        order = torch.randperm(len(labels))
        return Split(pictures[order], labels[order])


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (SmallPictures, []),
        (_LacksFiles, ["nowhere.npz is missing"]),
        (
            _ScaledAlready,
            [
                "dataset 'small', train: expected pictures uint8 (60, 1, 4, 4), "
                "found float32 (60, 1, 4, 4)"
            ],
        ),
        (_LacksAClass, ["test has no picture of the classes [9]"]),
        (
            _Shuffled,
            [
                "train is another each time",
                "random numbers were drawn from what the whole process shares (torch): another "
                "run may give another result; draw from the generators that plugins are given",
            ],
        ),
    ],
)
def test_a_dataset_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    class Contract(ImageDatasetContract):
        def build(self) -> ImageDataset:
            dataset: ImageDataset = broken()
            return dataset

    assert broken_promises(Contract) == expected
