"""The python archives of CIFAR-10 and CIFAR-100, and CIFAR-10 as JPEG pictures.

The official batches are pickled. They are read by an unpickler that can make arrays, lists, text
and numbers, and refuses everything else, so that a file that somebody changed runs no code.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clbench.data import DamagedFileError, DataFile

_ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it wants to use {module}.{name}")
        return super().find_class(module, name)


def read_member(archive: bytes, member: str, path: Path) -> bytes:
    """A file of a gzipped tar archive.

    Raises:
        DamagedFileError: The archive cannot be read, or lacks the file.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:*") as tar:
            found = tar.extractfile(member)
            if found is None:
                raise DamagedFileError(path, f"'{member}' is not a file")
            return found.read()
    except KeyError:
        raise DamagedFileError(path, f"has no file '{member}'") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DamagedFileError(path, f"cannot be unpacked ({error})") from error


def parse_batch(content: bytes, path: Path, label_key: str) -> tuple[Tensor, Tensor]:
    """Pictures, uint8 (N, 3, 32, 32), and labels, int64 (N,), of one batch file.

    Raises:
        DamagedFileError: It holds anything but pictures and labels.
    """
    try:
        values = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a damaged pickle may raise anything
        raise DamagedFileError(path, f"not a batch of CIFAR pictures ({error})") from error
    data = values.get(b"data") if isinstance(values, dict) else None
    labels = values.get(label_key.encode()) if isinstance(values, dict) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3072,):
        raise DamagedFileError(path, "has no pictures of 3072 bytes under the key 'data'")
    if not isinstance(labels, list) or len(labels) != len(data):
        raise DamagedFileError(path, f"has no label for each picture under '{label_key}'")
    if not all(type(label) is int for label in labels):
        raise DamagedFileError(path, f"has a label under '{label_key}' that is no whole number")
    pictures = torch.from_numpy(np.ascontiguousarray(data)).view(-1, 3, 32, 32)
    return pictures, torch.tensor(labels, dtype=torch.int64)


def read_jpeg_zip(path: Path, split: str, classes: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Pictures and labels of ``split/class/number.jpg`` in a zip file, in one fixed shuffled order.

    Raises:
        DamagedFileError: The zip file or a picture in it is damaged.
        ClbenchError: Pillow, which decodes the pictures, is not installed.
    """
    from PIL import Image, UnidentifiedImageError

    pictures, labels = [], []
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not name.startswith(f"{split}/") or not name.endswith(".jpg"):
                    continue
                with Image.open(io.BytesIO(archive.read(name))) as picture:
                    pictures.append(np.asarray(picture.convert("RGB")))
                labels.append(classes.index(name.split("/")[1]))
    except (zipfile.BadZipFile, UnidentifiedImageError, ValueError, OSError) as error:
        raise DamagedFileError(path, f"cannot be unpacked ({error})") from error
    if not pictures or any(picture.shape != (32, 32, 3) for picture in pictures):
        raise DamagedFileError(path, f"has no pictures of 32 x 32 pixels under '{split}/'")
    order = np.random.default_rng(0).permutation(len(pictures))
    stacked = np.stack(pictures)[order].transpose(0, 3, 1, 2)
    shuffled = np.array(labels, dtype=np.int64)[order]
    return torch.from_numpy(np.ascontiguousarray(stacked)), torch.from_numpy(shuffled)


CIFAR_10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
ARCHIVE_10 = DataFile(
    "cifar-10-python.tar.gz",
    md5="c58f30108f718f92721af3b95e74349a",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
)
ARCHIVE_100 = DataFile(
    "cifar-100-python.tar.gz",
    md5="eb9058c3a382ffc7106e4002c42a8d85",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
)
