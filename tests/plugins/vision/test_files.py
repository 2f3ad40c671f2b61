"""Files of pictures: what is read, and what is refused."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clbench import images
from clbench.data import DamagedFileError, DataFile, find
from clbench.images import ImageDataset
from clbench.registry import Registry
from clbench.testing import ImageDatasetContract
from clbench_vision import cifar, datasets, idx
from clbench_vision.datasets import CifarDataset, IdxDataset, JpegCifar10

PATH = Path("file")


def _idx(numbers: np.ndarray) -> bytes:
    head = struct.pack(">HBB", 0, 8, numbers.ndim) + struct.pack(
        f">{numbers.ndim}I", *numbers.shape
    )
    return head + numbers.astype(np.uint8).tobytes()


def test_an_idx_file_is_read() -> None:
    numbers = np.arange(24).reshape(2, 3, 4)

    found = idx.parse(_idx(numbers), PATH, (None, 3, 4))

    assert found.dtype == torch.uint8
    assert found.tolist() == numbers.tolist()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an idx file"),
        (b"PK\x03\x04", "not an idx file"),
        (
            _idx(np.zeros(3)),
            "expected an idx file of unsigned bytes with 2 axes, found type 8 with 1; are images and "
            "labels swapped?",
        ),
        (_idx(np.zeros((2, 3)))[:9], "the idx file is truncated in its head"),
        (_idx(np.zeros((2, 4))), "expected any x 3 numbers, found 2 x 4"),
        (_idx(np.zeros((2, 3)))[:-1], "expected 6 bytes after the head, found 5"),
        (_idx(np.zeros((2, 3))) + b"x", "expected 6 bytes after the head, found 7"),
    ],
)
def test_an_idx_file_that_is_not_as_expected_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DamagedFileError) as caught:
        idx.parse(content, PATH, (None, 3))

    assert str(caught.value) == f"file: {message}"


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> IdxDataset:
    """A dataset of 4 training and 2 test pictures of 2 classes, in four files."""
    monkeypatch.setenv("CLBENCH_DATA", str(tmp_path))
    for name, size in (("train", 4), ("test", 2)):
        pictures = np.arange(size * 6).reshape(size, 2, 3)
        (tmp_path / f"{name}-images.gz").write_bytes(gzip.compress(_idx(pictures)))
        (tmp_path / f"{name}-labels").write_bytes(_idx(np.arange(size) % 2))
    files = [f"{n}-{what}.gz" for n in ("train", "test") for what in ("images", "labels")]
    a, b, c, d = (DataFile(name) for name in files)
    return IdxDataset("tiny", (a, b, c, d), 2, (4, 2), (2, 1), shape=(1, 2, 3))


def test_pictures_and_labels_of_both_splits_are_loaded(tiny: IdxDataset) -> None:
    train, test = tiny.load("train"), tiny.load("test")

    assert train.pictures.shape == (4, 1, 2, 3)
    assert train.pictures[1].flatten().tolist() == [6, 7, 8, 9, 10, 11]
    assert train.labels.tolist() == [0, 1, 0, 1]
    assert (test.pictures.shape, test.labels.tolist()) == ((2, 1, 2, 3), [0, 1])


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train-images.gz", gzip.compress(_idx(np.zeros((3, 2, 3))), mtime=0), "expected 4 x 2 x 3 numbers, found 3 x 2 x 3"),
        ("train-labels", _idx(np.zeros(2)), "expected 4 numbers, found 2"),
        ("train-labels", _idx(np.array([0, 1, 0, 7])), "expected labels below 2, found 7"),
        ("train-labels", _idx(np.array([0, 0, 0, 1])), "expected 2 labels of each class: another dataset's file?"),
        (
            "train-labels",
            _idx(np.zeros((4, 2, 3))),
            "expected an idx file of unsigned bytes with 1 axes, found type 8 with 3; are images and labels swapped?",
        ),
    ],
)  # fmt: skip
def test_swapped_and_foreign_files_are_refused(
    file: str, content: bytes, message: str, tiny: IdxDataset, tmp_path: Path
) -> None:
    (tmp_path / file).write_bytes(content)

    with pytest.raises(DamagedFileError) as caught:
        tiny.load("train")

    assert str(caught.value) == f"{tmp_path / file}: {message}"


@pytest.mark.parametrize(
    ("dataset", "split", "size", "per_class"),
    [
        (datasets.FASHION_MNIST, "train", 60_000, 6_000),
        (datasets.FASHION_MNIST, "test", 10_000, 1_000),
        (datasets.KMNIST, "train", 60_000, 6_000),
        (datasets.KMNIST, "test", 10_000, 1_000),
        (datasets.EMNIST_BALANCED, "train", 112_800, 2_400),
        (datasets.EMNIST_BALANCED, "test", 18_800, 400),
    ],
)
def test_labels_of_a_balanced_dataset_must_be_equally_frequent(
    dataset: IdxDataset,
    split: Any,
    size: int,
    per_class: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLBENCH_DATA", str(tmp_path))
    folder = tmp_path / dataset.name
    folder.mkdir()
    files = dataset.files[:2] if split == "train" else dataset.files[2:]
    pictures, labels = (folder / file.name.removesuffix(".gz") for file in files)
    small = replace(dataset, shape=(1, 1, 1))
    numbers = np.arange(size) % dataset.num_classes
    pictures.write_bytes(_idx(np.zeros((size, 1, 1))))
    labels.write_bytes(_idx(numbers))
    assert small.load(split).labels.bincount().tolist() == [per_class] * dataset.num_classes
    numbers[0] = 1
    labels.write_bytes(_idx(numbers))

    with pytest.raises(DamagedFileError) as caught:
        small.load(split)

    what = f"expected {per_class} labels of each class: another dataset's file?"
    assert str(caught.value) == f"{labels}: {what}"


def _batch(size: int = 3, **changes: Any) -> bytes:
    data = np.arange(size * 3072).astype(np.uint8).reshape(size, 3072)
    return pickle.dumps({b"data": data, b"labels": list(range(size))} | changes)


def test_a_batch_of_cifar_pictures_is_read() -> None:
    pictures, labels = cifar.parse_batch(_batch(), PATH, "labels")

    assert (pictures.shape, pictures.dtype) == ((3, 3, 32, 32), torch.uint8)
    assert pictures[0, 0, 0, :4].tolist() == [0, 1, 2, 3]
    assert int(pictures[0, 1, 0, 0]) == 1024 % 256
    assert labels.tolist() == [0, 1, 2]


def _changed(**changes: Any) -> bytes:
    values = pickle.loads(_batch())
    return pickle.dumps(values | {key.encode(): value for key, value in changes.items()})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a pickle", "not a batch of CIFAR pictures"),
        (pickle.dumps(print), "it wants to use builtins.print"),
        (pickle.dumps([1]), "has no pictures of 3072 bytes under the key 'data'"),
        (_changed(data=np.zeros((3, 7), np.uint8)), "has no pictures of 3072 bytes"),
        (_changed(labels=[1]), "has no label for each picture under 'labels'"),
        *(
            (_changed(labels=[1, 2, odd]), "has a label under 'labels' that is no whole number")
            for odd in ("x", 1.5, 1.0, True)
        ),
    ],
)
def test_a_batch_that_is_damaged_or_malicious_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DamagedFileError) as caught:
        cifar.parse_batch(content, PATH, "labels")

    assert message in str(caught.value)


def _cifar(tmp_path: Path) -> CifarDataset:
    train, test = DataFile("folder/batch"), DataFile("folder/test")
    return CifarDataset("tiny", DataFile("a.tar.gz"), (train,), (test,), "labels", 3)


@pytest.mark.parametrize("is_archive", [True, False])
def test_cifar_is_read_from_its_archive_or_its_folder(
    is_archive: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_DATA", str(tmp_path))
    if is_archive:
        with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
            for name in ("batch", "test"):
                member = tarfile.TarInfo(f"folder/{name}")
                member.size = len(_batch())
                archive.addfile(member, io.BytesIO(_batch()))
    else:
        (tmp_path / "folder").mkdir()
        for name in ("batch", "test"):
            (tmp_path / "folder" / name).write_bytes(_batch())

    dataset = _cifar(tmp_path)

    assert len(dataset.files) == (1 if is_archive else 2)
    assert (
        dataset.load("train").labels.tolist() == dataset.load("test").labels.tolist() == [0, 1, 2]
    )


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_of_other_classes_are_refused(
    label: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_DATA", str(tmp_path))
    (tmp_path / "folder").mkdir()
    for name in ("batch", "test"):
        (tmp_path / "folder" / name).write_bytes(_changed(labels=[0, label, 2]))

    with pytest.raises(DamagedFileError) as caught:
        _cifar(tmp_path).load("train")

    assert str(caught.value) == f"{tmp_path}/folder/batch: has a label outside 0..2"


def test_the_classes_of_cifar_100_are_the_fine_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_DATA", str(tmp_path))
    (tmp_path / "train").write_bytes(_changed(fine_labels=[7, 99, 0], coarse_labels=[1, 19, 2]))
    dataset = replace(datasets.CIFAR100, train_members=(DataFile("train"),))

    assert dataset.load("train").labels.tolist() == [7, 99, 0]


def test_a_damaged_archive_and_one_without_the_batch_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz"):
        pass

    with pytest.raises(DamagedFileError) as lacks:
        cifar.read_member(path.read_bytes(), "folder/batch", path)
    with pytest.raises(DamagedFileError, match="cannot be unpacked"):
        cifar.read_member(b"nothing", "folder/batch", path)

    assert str(lacks.value) == f"{path}: has no file 'folder/batch'"


def test_jpeg_pictures_are_read_in_one_fixed_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_DATA", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "cifar10-jpeg.zip", "w") as archive:
        for i, name in enumerate(cifar.CIFAR_10_CLASSES):
            picture = io.BytesIO()
            Image.new("RGB", (32, 32), (20 * i, 0, 255)).save(picture, "JPEG")
            archive.writestr(f"train/{name}/", "")  # a folder, as most programs list them
            archive.writestr(f"train/{name}/0.jpg", picture.getvalue())
            archive.writestr(f"training/{name}/0.jpg", picture.getvalue())

    split = JpegCifar10().load("train")

    assert split.pictures.shape == (10, 3, 32, 32)
    assert split.labels.tolist() == [4, 6, 2, 7, 3, 5, 9, 0, 8, 1]  # NumPy's permutation of seed 0
    for picture, label in zip(split.pictures, split.labels.tolist(), strict=True):
        assert abs(int(picture[0, 0, 0]) - 20 * label) < 8  # red says which class it is
    with pytest.raises(DamagedFileError, match="has no pictures of 32 x 32 pixels under 'test/'"):
        JpegCifar10().load("test")
    (tmp_path / "cifar10-jpeg.zip").write_bytes(b"no zip")
    with pytest.raises(DamagedFileError, match="cannot be unpacked"):
        JpegCifar10().load("train")


DATASETS = Registry.discover().table("dataset")


@pytest.mark.parametrize("name", DATASETS)
def test_every_dataset_says_which_files_it_needs(name: str) -> None:
    dataset = DATASETS[name].load()
    is_fetched = name not in ("emnist-balanced", "cifar10-jpeg")

    images.check(dataset)
    assert dataset.name == name
    assert len(dataset.files) in (1, 4)
    assert all(file.url.startswith("http") is is_fetched for file in dataset.files)


class TestMnist(ImageDatasetContract):
    """The real files, where they are."""

    @pytest.fixture(autouse=True)
    def _are_here(self) -> None:
        if find("mnist", datasets.MNIST.files[0]) is None:
            pytest.skip("MNIST is not here")

    def build(self) -> ImageDataset:
        return datasets.MNIST
