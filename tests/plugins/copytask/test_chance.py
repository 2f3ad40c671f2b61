"""Chance levels against the source's at data seed 42, and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clbench.scenario import Heads
from clbench_copytask.chance import chance_level, obvious_accuracy
from clbench_copytask.manipulations import draw_orders, linear_map, permutation_seeds, xor_separate


@pytest.mark.parametrize(("heads", "expected"), [("per-task", 60.0), ("shared", 70.0)])
def test_chance_after_five_permuted_tasks_is_that_of_the_source(
    heads: Heads, expected: float
) -> None:
    orders = [draw_orders(seed, 1, 5, 7, "time")[0] for seed in permutation_seeds(42, 5)]

    assert chance_level(orders, heads) == pytest.approx(expected, abs=1e-12)


def test_chance_with_shared_heads_counts_equal_entries_with_the_last_task() -> None:
    orders = [np.array([0, 1, 2, 3]), np.array([3, 1, 2, 0]), np.array([3, 1, 0, 2])]

    # agreement with the last: 1 of 4, 2 of 4, all: (62.5 + 75 + 100) / 3
    assert chance_level(orders, "shared") == pytest.approx(237.5 / 3, abs=1e-12)


@pytest.mark.parametrize(
    ("data_seed", "r", "expected"),
    [(42, 1, 64.0), (42, 5, 54.0), (12, 1, 66.0), (12, 5, 52.0)],  # 7, 2, 8 and 1 steps of 25
)
def test_bits_that_are_always_zero_raise_the_floor_of_xor_tasks(
    data_seed: int, r: int, expected: float
) -> None:
    maps = [
        linear_map(xor_separate(draw_orders(seed, r, 5, 7, "time")), 35)
        for seed in permutation_seeds(data_seed, 5)
    ]

    assert obvious_accuracy(maps) == pytest.approx(expected, abs=1e-12)
