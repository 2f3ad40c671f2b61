"""How sparse a network is, and how far its tasks use the same units.

Fractions lie between 0 and 1 and entropies are in bits. Entries count as active where they are not
exactly zero, whatever their sign. With d the duty cycle of a unit (how often it is active)::

    h(d) = -d log2(d) - (1 - d) log2(1 - d)        H(d_1 .. d_n) = sum_i h(d_i)

H is largest, for a fixed sum of duty cycles, where all units are active equally often (Ahmad &
Scheinkman 2019, arXiv:1903.11257).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def weight_density(weight: Tensor) -> float:
    """Fraction of non-zero weights; `weight` has any shape."""
    return _fraction_active(weight)


def _fraction_active(tensor: Tensor) -> float:
    return int(tensor.count_nonzero()) / tensor.numel()


class LayerUse:
    """How a layer uses its units, taken in batch by batch so that no activity is kept.

    A channel is a unit: it is active at some of its places, and dead if at none.

    Args:
        activity: Of the first batch, ``(B, n)`` or ``(B, C, H, W)``.
    """

    def __init__(self, activity: Tensor) -> None:
        units = activity.shape[1]
        self._active = activity.new_zeros(units, dtype=torch.int64)
        self._sums = activity.new_zeros(units, dtype=torch.float64)
        self._entries = 0  # of each unit
        self.add(activity)

    def add(self, activity: Tensor) -> None:
        """Take in a further batch, of the same units."""
        others = (0, *range(2, activity.dim()))  # all axes but that of units
        self._active += activity.count_nonzero(others)
        self._sums += activity.sum(others, dtype=torch.float64)
        self._entries += activity.numel() // len(self._sums)

    def active_fraction(self) -> float:
        """Fraction of activity that is not 0."""
        return int(self._active.sum()) / (self._entries * len(self._active))

    def dead_fraction(self) -> float:
        """Fraction of units that no sample makes active."""
        return _fraction_active(self._active == 0)

    def means(self) -> Tensor:
        """Mean activity of each unit, ``(n,)`` or ``(C,)``."""
        return self._sums / self._entries


def duty_cycle_entropy(duty_cycle: Tensor) -> float:
    """H of the module's text, in bits.

    Args:
        duty_cycle: ``(n,)``, between 0 and 1; where it is 0 or 1 nothing is added.
    """
    d = duty_cycle.double()
    nats = torch.special.xlogy(d, d) + torch.special.xlogy(1 - d, 1 - d)
    return float(-nats.sum() / math.log(2)) + 0.0  # 0.0 rather than -0.0


def cosine_overlap(means: Tensor) -> Tensor:
    """Cosine of the angle between the mean activations of each two tasks.

    Args:
        means: ``(K, n)``, the mean activation of each unit on each task.

    Returns:
        ``(K, K)``, between -1 and 1; 0 in the row and the column of a task without activity.
    """
    norms = torch.linalg.vector_norm(means, dim=1, keepdim=True)  # (K, 1)
    directions = means / norms.where(norms > 0, 1.0)
    cosines: Tensor = directions @ directions.t()
    return cosines


def jaccard_overlap(means: Tensor, top: float = 0.1) -> Tensor:
    """Units that are among the most active of both of two tasks, over those of either task.

    A task's most active units are the ``round(top * n)`` ones, at least one, of largest mean,
    without those whose mean is not positive: where fewer units are used, no silent one is added.

    Args:
        means: ``(K, n)``, the mean activation of each unit on each task.
        top: Fraction of the units, above 0 and at most 1.

    Returns:
        ``(K, K)``, between 0 and 1; 0 in the row and the column of a task without such units.
    """
    num_top = max(1, round(top * means.shape[1]))
    indices = means.topk(num_top, dim=1, sorted=False).indices
    chosen = torch.zeros_like(means).scatter_(1, indices, 1.0) * (means > 0)  # (K, n)
    both: Tensor = chosen @ chosen.t()
    sizes = chosen.sum(1)  # (K,)
    either: Tensor = sizes[:, None] + sizes - both
    return both / either.clamp_(min=1)
