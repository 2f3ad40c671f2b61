"""What a task makes of the pattern: permutations of it, and XORs of permutations.

A pattern of p time steps and w bits is handled flat: entry ``k * w + c`` is bit c of step k. An
order is an array of these entries: target entry e is pattern entry ``order[e]``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Bits: TypeAlias = NDArray[np.uint8]
Order: TypeAlias = NDArray[np.int64]

Manipulation: TypeAlias = Callable[[Bits], Bits]
"""Patterns -> targets, both ``(p * w, n)``, one column per sample; the argument is kept as is."""

Permute = Literal["time", "width", "both"]


def permutation_seeds(data_seed: int, num_tasks: int) -> list[int]:
    """One seed per task, in ``[0, 1000)``: successive draws from one generator."""
    random = np.random.RandomState(data_seed)
    return [int(random.randint(1000)) for _ in range(num_tasks)]


def draw_orders(seed: int, count: int, length: int, width: int, permute: Permute) -> list[Order]:
    """Successive random orders from one generator.

    Args:
        seed: Of the task (`permutation_seeds`).
        count: How many.
        length: Steps p of the pattern.
        width: Bits w of a step.
        permute: Whether whole steps change places, the bits within every step (alike in all
            steps), or all ``p * w`` bits.

    Returns:
        `count` orders of shape ``(p * w,)``.
    """
    random = np.random.RandomState(seed)
    entries = np.arange(length * width).reshape(length, width)
    if permute == "time":
        return [entries[random.permutation(length)].reshape(-1) for _ in range(count)]
    if permute == "width":
        return [entries[:, random.permutation(width)].reshape(-1) for _ in range(count)]
    return [random.permutation(length * width) for _ in range(count)]


def unchanged(patterns: Bits) -> Bits:
    """The pattern itself."""
    return patterns


def permuted(order: Order) -> Manipulation:
    """The pattern in another order, ``P x``."""
    return lambda patterns: patterns.take(order, axis=0)


def xor_separate(orders: list[Order]) -> Manipulation:
    """``x ^ P_1 x ^ ... ^ P_r x``: every order is applied to the pattern itself."""

    def manipulate(patterns: Bits) -> Bits:
        total: Bits = patterns.copy()
        for order in orders:
            total ^= patterns[order]
        return total

    return manipulate


def xor_iterated(order: Order, iterations: int) -> Manipulation:
    """``y_0 = x``, ``y_k = y_{k-1} ^ P y_{k-1}``: one order, applied to the result so far."""

    def manipulate(patterns: Bits) -> Bits:
        total = patterns
        for _ in range(iterations):
            total = total ^ total[order]
        return total

    return manipulate


def linear_map(manipulation: Manipulation, size: int) -> Bits:
    """The manipulation as a matrix over GF(2), shape ``(size, size)``, for patterns of `size` bits.

    Row e marks the pattern bits whose XOR is target bit e.
    """
    return manipulation(np.eye(size, dtype=np.uint8))
