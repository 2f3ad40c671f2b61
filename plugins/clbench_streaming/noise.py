"""Independent standard normal numbers, drawn fast.

By the usual transforms one normal number for each weight costs more than all the rest of a step on
one sample. Here a number is chosen by 16 random bits: it is the mean of one of 65,536 equally
likely slices of the normal distribution, times the one factor that makes the variance 1. So the
distribution function is off by at most 1/131,072, and no number is larger than 4.4 in size.
PyTorch's transform of 24 bits ends at 5.9. Numbers are drawn anew for each weight and step.

The bits are those of NumPy's SFC64, seeded by a draw from the generator that a learner is given. On
a GPU the bits are sent there, and the numbers chosen there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

_SLICES = 1 << 16


class Noise:
    """A source of standard normal numbers; see the module's text.

    Args:
        generator: Gives the seed, by one draw.
    """

    def __init__(self, generator: torch.Generator) -> None:
        seed = int(torch.randint(2**62, (1,), generator=generator))
        self._bits = np.random.SFC64(seed)
        self._index, self._means = torch.empty(0, dtype=torch.int32), torch.empty(0)

    def fill(self, out: Tensor) -> Tensor:
        """Fill a flat tensor with fresh numbers, and return it."""
        size = out.numel()
        if not self._means.numel():
            self._means = slice_means(out.dtype).to(out.device)
            self._index = self._index.to(out.device)
        if self._index.numel() != size:
            self._index.resize_(size)  # others may share it
        words = self._bits.random_raw((size + 3) // 4)  # of 64 bits
        drawn = torch.from_numpy(words.view(np.uint16)[:size])
        self._index.copy_(drawn, non_blocking=True)
        return torch.index_select(self._means, 0, self._index, out=out)

    def share_scratch(self, other: Noise) -> None:
        """Use the scratch of another source, so that it stays in the processor's cache."""
        self._index, self._means = other._index, other._means

    def state(self) -> Tensor:
        """The generator's, ``(4,)`` 64-bit words."""
        words: np.ndarray = self._bits.state["state"]["state"]
        return torch.from_numpy(words.astype(np.uint64).view(np.int64).copy())

    def restore(self, state: Tensor) -> None:
        """Take back what `state` returned."""
        self._bits.state = self._bits.state | {
            "state": {"state": state.numpy().view(np.uint64).copy()}
        }


class NoiseRows:
    """Sources of R replicas in lockstep.

    Args:
        sources: Of each replica.
    """

    def __init__(self, sources: Sequence[Noise]) -> None:
        for source in sources:
            source.share_scratch(sources[0])
        self._sources = sources

    def fill(self, out: Tensor) -> Tensor:
        """Fill each row of ``(R, P)`` with fresh numbers of its source, and return all."""
        for source, row in zip(self._sources, out.unbind(), strict=True):
            source.fill(row)
        return out


@cache
def slice_means(dtype: torch.dtype) -> Tensor:
    """The numbers that can be drawn, ascending, ``(65536,)``: mean 0 and variance 1.

    The mean of the slice of a standard normal x between a and b is ``65536 (f(a) - f(b))``, with
    the density f.
    """
    from scipy.special import ndtri  # slow to import

    edges = ndtri(np.arange(_SLICES + 1) / _SLICES)
    density = np.exp(-np.square(edges) / 2) / np.sqrt(2 * np.pi)
    means = _SLICES * (density[:-1] - density[1:])
    return torch.from_numpy(means / means.std()).to(dtype)
