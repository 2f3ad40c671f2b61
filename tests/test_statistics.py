"""Statistics of sparse networks, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from clbench.statistics import (
    LayerUse,
    cosine_overlap,
    duty_cycle_entropy,
    jaccard_overlap,
    weight_density,
)


def test_the_density_of_a_weight_counts_what_is_not_zero() -> None:
    assert weight_density(torch.tensor([[0.0, -1.0], [2.0, 0.0], [0.0, -0.0]])) == 2 / 6


def test_active_entries_may_be_negative() -> None:
    assert LayerUse(torch.tensor([[0.0, -1.0, 2.0, 0.0]])).active_fraction() == 0.5


def test_a_unit_is_dead_if_no_sample_makes_it_active() -> None:
    activity = torch.tensor([[0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 2.0, 0.0]])

    assert LayerUse(activity).dead_fraction() == 0.5


def test_a_channel_is_dead_if_no_place_of_any_sample_makes_it_active() -> None:
    activity = torch.zeros(2, 4, 3, 3)
    activity[0, 1, 2, 0] = 1.0
    activity[1, 1, 0, 0] = 1.0

    assert LayerUse(activity).dead_fraction() == 0.75


@pytest.mark.parametrize("shape", [(7, 4), (7, 4, 3, 3)])
def test_batches_are_summed_up_as_if_they_were_one(shape: tuple[int, ...]) -> None:
    activity = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    activity[:, 1] = 0.0

    use = LayerUse(activity[:4])
    use.add(activity[4:])

    assert use.active_fraction() == int(activity.count_nonzero()) / activity.numel()
    assert use.dead_fraction() == 1 / 4
    means = activity.double().transpose(0, 1).flatten(1).mean(1)
    torch.testing.assert_close(use.means(), means)  # float64 rounding


def test_means_do_not_lose_small_activity_beside_large() -> None:
    use = LayerUse(torch.tensor([[1e8], [1.0], [-1e8]]))

    assert use.means().tolist() == [1 / 3]  # in float32 the 1 would be lost


def test_the_entropy_of_duty_cycles_is_the_one_worked_out_by_hand() -> None:
    # h(0) = h(1) = 0, h(1/2) = 1, h(1/4) = 1/4 * 2 + 3/4 log2(4/3)
    expected = 1 + 0.5 + 0.75 * math.log2(4 / 3)

    entropy = duty_cycle_entropy(torch.tensor([0.0, 1.0, 0.5, 0.25]))

    assert entropy == pytest.approx(expected, rel=1e-12)  # exact values in float32


def test_the_cosine_of_tasks_is_that_of_their_mean_activations() -> None:
    means = torch.tensor([[3.0, 4.0], [4.0, 3.0], [-4.0, 3.0], [0.0, 0.0]])

    # (3, 4) and (4, 3): 24 / 25; (4, 3) and (-4, 3): -7 / 25; the last task is silent
    expected = torch.tensor(
        [
            [1.00, 0.96, 0.00, 0.0],
            [0.96, 1.00, -0.28, 0.0],
            [0.00, -0.28, 1.00, 0.0],
            [0.00, 0.00, 0.00, 0.0],
        ]
    )
    torch.testing.assert_close(cosine_overlap(means), expected)  # float32 rounding


def test_the_jaccard_index_compares_the_most_active_tenth_of_the_units() -> None:
    means = torch.zeros(3, 20)
    means[0, :4] = torch.tensor([5.0, 4.0, 1.0, 1.0])  # units 0 and 1 of 20
    means[1, 1:5] = torch.tensor([5.0, 4.0, 1.0, 1.0])  # units 1 and 2
    means[2, 2] = 1.0  # unit 2 only: no other is active
    expected = torch.tensor([[1, 1 / 3, 0], [1 / 3, 1, 1 / 2], [0, 1 / 2, 1]])

    torch.testing.assert_close(jaccard_overlap(means), expected)  # float32 rounding


def test_a_tenth_of_the_units_is_rounded_to_the_nearest_number_of_them() -> None:
    means = torch.zeros(2, 16)
    means[0, :2] = torch.tensor([5.0, 4.0])  # units 0 and 1: 1.6 of 16 are 2
    means[1, 1:3] = torch.tensor([4.0, 5.0])  # units 1 and 2

    overlap = jaccard_overlap(means)

    torch.testing.assert_close(overlap[0, 1], torch.tensor(1 / 3))  # float32 rounding


def test_tasks_do_not_overlap_in_silent_units() -> None:
    assert jaccard_overlap(torch.zeros(2, 20)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_at_least_one_unit_is_compared() -> None:
    means = torch.tensor([[1.0, 2.0], [1.0, 3.0]])

    assert jaccard_overlap(means, top=0.1).tolist() == [[1.0, 1.0], [1.0, 1.0]]
