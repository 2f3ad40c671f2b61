"""Files in the idx format, in which MNIST and its relatives are published.

Big-endian: two zero bytes, a byte for the type of the numbers (8: unsigned bytes), a byte for the
number of axes, four bytes for the length of each axis, and the numbers, last axis fastest.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clbench.data import DamagedFileError

_UNSIGNED_BYTE = 8


def parse(content: bytes, path: Path, shape: tuple[int | None, ...]) -> Tensor:
    """The numbers of an idx file.

    Args:
        content: Of the file, without gzip.
        path: For messages.
        shape: The length of each axis that is expected; None: any.

    Returns:
        uint8, of the shape in the file.

    Raises:
        DamagedFileError: It is no idx file of unsigned bytes, has other axes, or is truncated.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise DamagedFileError(path, "not an idx file")
    kind, axes = content[2], content[3]
    if kind != _UNSIGNED_BYTE or axes != len(shape):
        what = f"expected an idx file of unsigned bytes with {len(shape)} axes, found type {kind}"
        raise DamagedFileError(path, f"{what} with {axes}; are images and labels swapped?")
    head = 4 + 4 * axes
    if len(content) < head:
        raise DamagedFileError(path, "the idx file is truncated in its head")
    found = struct.unpack(f">{axes}I", content[4:head])
    for length, expected in zip(found, shape, strict=True):
        if expected is not None and length != expected:
            wanted = " x ".join("any" if n is None else str(n) for n in shape)
            got = " x ".join(map(str, found))
            raise DamagedFileError(path, f"expected {wanted} numbers, found {got}")
    if len(content) != head + math.prod(found):
        what = f"expected {math.prod(found)} bytes after the head, found {len(content) - head}"
        raise DamagedFileError(path, what)
    numbers = np.frombuffer(content, np.uint8, offset=head).reshape(found)
    return torch.from_numpy(numbers.copy())
