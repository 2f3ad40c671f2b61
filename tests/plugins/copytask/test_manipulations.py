"""Permutations and XORs against the conformance values of the source at data seed 42."""

from __future__ import annotations

import numpy as np
import pytest

from clbench_copytask.manipulations import (
    Bits,
    Order,
    Permute,
    draw_orders,
    linear_map,
    permutation_seeds,
    permuted,
    xor_iterated,
    xor_separate,
)

SEEDS = [102, 435, 860, 270, 106]
ORDERS = ["14230", "40312", "24031", "31240", "04132"]
LISTS_OF_FIVE = [
    ["14230", "01432", "23401", "24031", "41320"],
    ["40312", "21340", "31420", "20431", "42310"],
    ["24031", "04312", "02143", "10243", "41023"],
    ["31240", "40213", "41023", "03214", "34012"],
    ["04132", "31204", "40213", "32140", "01342"],
]
MAPS_R1 = [
    "11000 01001 00000 00000 10001",
    "10001 11000 00110 01010 00101",
    "10100 01001 10100 00000 01001",
    "10010 00000 00000 00011 10001",
    "00000 01001 01100 00000 00101",
]
MAPS_R5 = [
    "01001 01010 10010 10100 00101",
    "10010 01100 00110 00101 11101",
    "11101 10100 01010 01100 01111",
    "00000 11011 00000 01111 10100",
    "10001 11101 00110 11000 10010",
]


def _steps(order: Order, width: int = 7) -> str:
    """The order of the time steps, as digits, of an order that keeps steps whole."""
    by_step = order.reshape(-1, width)
    assert (by_step % width == np.arange(width)).all()
    assert (by_step // width == by_step[:, :1] // width).all()
    return "".join(str(step) for step in by_step[:, 0] // width)


def _rows(matrix: Bits) -> str:
    """The map between time steps, of a map that treats all bits of a step alike."""
    by_step = matrix.reshape(5, 7, 5, 7)
    steps = by_step[:, 0, :, 0]
    assert (by_step == np.einsum("kj,cd->kcjd", steps, np.eye(7, dtype=np.uint8))).all()
    return " ".join("".join(map(str, row)) for row in steps)


def test_the_seeds_of_the_tasks_are_those_of_the_source() -> None:
    assert permutation_seeds(42, 5) == SEEDS
    assert permutation_seeds(42, 6) == [*SEEDS, 71]


@pytest.mark.parametrize(("seed", "expected"), list(zip(SEEDS, ORDERS, strict=True)))
def test_the_orders_of_time_steps_are_those_of_the_source(seed: int, expected: str) -> None:
    (order,) = draw_orders(seed, 1, 5, 7, "time")

    assert _steps(order) == expected


@pytest.mark.parametrize(("seed", "expected"), list(zip(SEEDS, LISTS_OF_FIVE, strict=True)))
def test_lists_of_orders_come_from_one_generator(seed: int, expected: list[str]) -> None:
    orders = draw_orders(seed, 5, 5, 7, "time")

    assert [_steps(order) for order in orders] == expected


def test_orders_of_bits_within_steps_are_alike_in_all_steps() -> None:
    (order,) = draw_orders(102, 1, 5, 7, "width")
    first = order[:7]

    assert sorted(first.tolist()) == list(range(7))
    assert first.tolist() != list(range(7))
    assert (order.reshape(5, 7) == first + 7 * np.arange(5)[:, None]).all()


def test_orders_of_all_bits_mix_steps_and_bits() -> None:
    (order,) = draw_orders(102, 1, 5, 7, "both")
    by_step = order.reshape(5, 7)

    assert sorted(order.tolist()) == list(range(35))
    assert len(set(by_step[0] // 7)) > 1
    assert len(set(by_step[:, 0] % 7)) > 1


@pytest.mark.parametrize("permute", ["time", "width", "both"])
def test_orders_are_drawn_anew_but_equally_from_equal_seeds(permute: Permute) -> None:
    first, second = draw_orders(7, 2, 5, 7, permute)
    (again,) = draw_orders(7, 1, 5, 7, permute)

    assert first.tolist() == again.tolist()
    assert first.tolist() != second.tolist()


def test_a_permutation_gathers() -> None:
    pattern = np.array([[1], [0], [0]], dtype=np.uint8)

    assert permuted(np.array([2, 0, 1]))(pattern).tolist() == [[0], [1], [0]]


def test_separate_permutations_all_act_on_the_pattern() -> None:
    # x = 100, P1 x = x[1, 2, 0] = 001, P2 x = x[2, 0, 1] = 010, their XOR 111
    pattern = np.array([[1], [0], [0]], dtype=np.uint8)

    result = xor_separate([np.array([1, 2, 0]), np.array([2, 0, 1])])(pattern)

    assert result.tolist() == [[1], [1], [1]]
    assert pattern.tolist() == [[1], [0], [0]]


def test_an_iterated_permutation_acts_on_the_result_so_far() -> None:
    # y0 = 100, P y0 = 001, y1 = 101, P y1 = 011, y2 = 110
    pattern = np.array([[1], [0], [0]], dtype=np.uint8)

    result = xor_iterated(np.array([1, 2, 0]), 2)(pattern)

    assert result.tolist() == [[1], [1], [0]]
    assert pattern.tolist() == [[1], [0], [0]]


@pytest.mark.parametrize(("r", "maps"), [(1, MAPS_R1), (5, MAPS_R5)])
def test_the_maps_of_separate_xors_are_those_of_the_source(r: int, maps: list[str]) -> None:
    ours = [
        _rows(linear_map(xor_separate(draw_orders(seed, r, 5, 7, "time")), 35)) for seed in SEEDS
    ]

    assert ours == maps


def test_one_iteration_is_one_separate_permutation() -> None:
    ours = [
        _rows(linear_map(xor_iterated(draw_orders(seed, 1, 5, 7, "time")[0], 1), 35))
        for seed in SEEDS
    ]

    assert ours == MAPS_R1
