"""K-winners, worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from torch.func import grad, vmap

from clbench_sparse.k_winners import KWinners, KWinners2d, KWinnersParams

LAYERS = {
    "units": lambda p: (KWinners(p, 12), (12,)),
    "local channels": lambda p: (KWinners2d(p, 3, local=True), (3, 2, 2)),
    "all channels": lambda p: (KWinners2d(p, 3, local=False), (3, 2, 2)),
}
Layer = Callable[[KWinnersParams], tuple[Any, tuple[int, ...]]]


@pytest.fixture(params=LAYERS.values(), ids=LAYERS.keys())
def layer(request: pytest.FixtureRequest) -> Layer:
    return request.param  # type: ignore[no-any-return]


def _values(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_largest_units_of_each_sample_are_passed_on_unchanged() -> None:
    winners = KWinners(KWinnersParams(percent_on=0.4), 5)
    x = torch.tensor([[1.0, 5.0, -2.0, 3.0, 4.0], [-5.0, -1.0, -4.0, -3.0, 2.0]])

    y = winners(x, training=False)

    # k = round(5 * 0.4) = 2; there is no rectification, a negative value can win
    assert y.tolist() == [[0.0, 5.0, 0.0, 0.0, 4.0], [0.0, -1.0, 0.0, 0.0, 2.0]]


def test_exactly_k_units_win_where_all_are_equal() -> None:
    winners = KWinners(KWinnersParams(percent_on=0.3), 10)

    y = winners(torch.ones(4, 10), training=True)

    assert y.count_nonzero(1).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("boost_strength", [0.0, 1.0])
def test_only_winners_get_a_gradient(training: bool, boost_strength: float) -> None:
    params = KWinnersParams(percent_on=0.5, boost_strength=boost_strength)
    winners = KWinners(params, 4)
    x = torch.tensor([[1.0, 4.0, 3.0, 2.0], [8.0, 5.0, 6.0, 7.0]], requires_grad=True)
    upstream = torch.tensor([[10.0, 20.0, 30.0, 40.0], [50.0, 60.0, 70.0, 80.0]])

    winners(x, training).backward(upstream)

    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 20.0, 30.0, 0.0], [50.0, 0.0, 0.0, 80.0]]


def test_boosting_changes_who_wins_but_not_the_value_passed_on() -> None:
    params = KWinnersParams(percent_on=0.5, boost_strength=2.0)
    winners = KWinners(params, 2)
    x = torch.tensor([[1.5, 1.0]])
    winners(x, training=True)  # d = (1, 0)

    # b = (1.5 exp(2 (0.5 - 1)), 1.0 exp(2 (0.5 - 0))) = (1.5 / e, e)
    assert winners(x, training=False).tolist() == [[0.0, 1.0]]
    # 1.0 e < 9.0 / e
    assert winners(torch.tensor([[9.0, 1.0]]), training=False).tolist() == [[9.0, 0.0]]


def test_boosting_makes_negative_values_of_idle_units_more_negative() -> None:
    winners = KWinners(KWinnersParams(percent_on=0.5, boost_strength=2.0), 2)
    winners(torch.tensor([[1.0, 0.0]]), training=True)  # d = (1, 0)

    # b = (-2 / e, -1 e) = (-0.74, -2.72)
    assert winners(torch.tensor([[-2.0, -1.0]]), training=False).tolist() == [[-2.0, 0.0]]


def test_the_duty_cycle_of_three_batches_is_the_one_worked_out_by_hand() -> None:
    winners = KWinners(KWinnersParams(percent_on=0.5, duty_cycle_period=5), 4)
    first = torch.tensor([[4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 2.0, 3.0]])
    second = torch.tensor([[4.0, 3.0, 2.0, 1.0], [-1.0, 0.0, -2.0, -3.0]])
    third = torch.tensor([[1.0, 2.0, 3.0, 4.0], [4.0, 1.0, 2.0, 3.0]])
    seen = []

    for x in (first, second, third):
        winners(x, training=True)
        seen.append(winners.duty_cycle.tolist())

    # L = 2, P = 2: the counts (2, 1, 0, 1) / 2
    assert seen[0] == [1.0, 0.5, 0.0, 0.5]
    # L = 4, P = 4: the second sample's winners -1 and 0 are not positive; (2 d + (1, 1, 0, 0)) / 4
    assert seen[1] == [0.75, 0.5, 0.0, 0.25]
    # L = 6, P = 5: (3 d + (1, 0, 1, 2)) / 5, up to rounding in float32
    assert seen[2] == pytest.approx([0.65, 0.3, 0.2, 0.55], rel=1e-6)


def test_a_batch_larger_than_the_period_replaces_the_duty_cycle() -> None:
    winners = KWinners(KWinnersParams(percent_on=0.5, duty_cycle_period=2), 2)
    winners(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), training=True)

    winners(torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), training=True)

    assert winners.duty_cycle.tolist() == [0.25, 0.75]


def test_a_batch_as_large_as_the_period_replaces_the_duty_cycle() -> None:
    winners = KWinners(KWinnersParams(percent_on=0.5, duty_cycle_period=2), 2)
    winners(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), training=True)

    winners(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), training=True)

    assert winners.duty_cycle.tolist() == [0.5, 0.5]


def test_evaluation_freezes_the_whole_state(layer: Layer) -> None:
    winners, shape = layer(KWinnersParams(percent_on=0.34, boost_strength=1.0))
    winners(_values(6, *shape), training=True)
    before = winners.state()

    winners(_values(9, *shape, seed=1), training=False)

    after = winners.state()
    assert torch.equal(after.pop("duty_cycle"), before.pop("duty_cycle"))
    assert after == before


def test_the_number_of_winners_differs_between_training_and_test() -> None:
    # k = round(10 * 0.35) = round(3.5) = 4, to even; at test floor(4 * 1.7) = 6
    winners = KWinners(KWinnersParams(percent_on=0.35, k_inference_factor=1.7), 10)
    x = _values(3, 10)

    assert winners(x, training=True).count_nonzero(1).tolist() == [4, 4, 4]
    assert winners(x, training=False).count_nonzero(1).tolist() == [6, 6, 6]


def test_boosting_also_decides_at_test() -> None:
    params = KWinnersParams(percent_on=0.25, k_inference_factor=2.0, boost_strength=1.0)
    winners = KWinners(params, 4)
    winners(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), training=True)  # d = (1, 0, 0, 0)

    # b = x exp(2 / 4 - d) = e^0.5 (4 / e, 3, 2, 1) = e^0.5 (1.47, 3, 2, 1)
    y = winners(torch.tensor([[4.0, 3.0, 2.0, 1.0]]), training=False)

    assert y.tolist() == [[0.0, 3.0, 2.0, 0.0]]


@pytest.mark.parametrize(
    ("n", "percent_on", "k"),
    [(4000, 0.001, 4), (4000, 0.008, 32), (512, 0.05, 26), (1024, 0.1, 102), (10, 0.25, 2)],
)
def test_the_number_of_winners_is_that_of_the_source(n: int, percent_on: float, k: int) -> None:
    y = KWinners(KWinnersParams(percent_on=percent_on), n)(_values(2, n), training=True)

    assert y.count_nonzero(1).tolist() == [k, k]


def test_local_channels_compete_at_each_place() -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.34), 3, local=True)  # k = 1
    x = torch.tensor([[[[1.0, 9.0]], [[2.0, 8.0]], [[-3.0, 7.0]]]])  # (1, 3, 1, 2)

    y = winners(x, training=True)

    assert y.tolist() == [[[[0.0, 9.0]], [[2.0, 0.0]], [[0.0, 0.0]]]]
    # of two places channel 0 won one and channel 1 the other
    assert winners.duty_cycle.tolist() == [0.5, 0.5, 0.0]


def test_all_units_of_all_channels_compete_unless_local() -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.34), 3, local=False)  # k = round(2.04) = 2
    x = torch.tensor([[[[1.0, 9.0]], [[2.0, 8.0]], [[-3.0, 7.0]]]])

    y = winners(x, training=True)

    assert y.tolist() == [[[[0.0, 9.0]], [[0.0, 8.0]], [[0.0, 0.0]]]]
    assert winners.duty_cycle.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize("local", [True, False])
def test_the_duty_cycle_of_channels_goes_on_over_batches(local: bool) -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.5), 2, local=local)
    first = torch.tensor([[[[1.0, 2.0]], [[3.0, 0.0]]], [[[0.0, 1.0]], [[2.0, -1.0]]]])
    second = torch.tensor([[[[-1.0, 5.0]], [[-2.0, 4.0]]]])

    winners(first, training=True)
    # each sample: channel 1 at the first place, channel 0 at the second; counts (2, 2) / 2 / 2
    assert winners.duty_cycle.tolist() == [0.5, 0.5]
    winners(second, training=True)

    # L = P = 3, B = 1. Local: -1 wins but does not count, 5 counts: (2 d + (1, 0) / 2) / 3.
    # Otherwise 5 and 4 win: (2 d + (1, 1) / 2) / 3.
    expected = [0.5, 1 / 3] if local else [0.5, 0.5]
    assert winners.duty_cycle.tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("local", [True, False])
def test_boosting_favours_channels_that_seldom_won(local: bool) -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.5, boost_strength=2.0), 2, local=local)
    x = torch.tensor([[[[1.5, 1.5]], [[1.0, 1.0]]]])
    winners(x, training=True)  # d = (1, 0)

    assert winners(x, training=False).tolist() == [[[[0.0, 0.0]], [[1.0, 1.0]]]]


@pytest.mark.parametrize("local", [True, False])
def test_only_winning_places_get_a_gradient(local: bool) -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.5, boost_strength=1.0), 2, local=local)
    x = _values(3, 2, 4, 5).requires_grad_()
    upstream = _values(3, 2, 4, 5, seed=1)

    y = winners(x, training=True)
    y.backward(upstream)

    assert x.grad is not None
    assert int(y.count_nonzero()) == 3 * 20
    assert torch.equal(x.grad, upstream * (y != 0))


@pytest.mark.parametrize("boost_strength", [0.0, 1.5])
def test_gradients_of_single_samples_are_those_of_the_batch(
    layer: Layer, boost_strength: float
) -> None:
    winners, shape = layer(KWinnersParams(percent_on=0.34, boost_strength=boost_strength))
    winners(_values(4, *shape), training=True)
    x, scale = _values(5, *shape, seed=1), _values(*shape, seed=2)

    def loss(scale: Tensor, x: Tensor) -> Tensor:
        return winners(scale * x, training=False).square().sum()

    single = vmap(grad(loss), in_dims=(None, 0))(scale, x)

    y = winners(scale * x, training=False)
    # d/ds (s x)^2 = 2 (s x) x for winners; the order of two products differs by rounding
    torch.testing.assert_close(single, 2 * y * x)


def test_a_reset_layer_is_as_new(layer: Layer) -> None:
    winners, shape = layer(KWinnersParams(percent_on=0.34, boost_strength=2.0))
    winners(_values(2, *shape), training=True)
    assert winners.duty_cycle.count_nonzero() > 0

    winners.reset()

    assert winners.duty_cycle.count_nonzero() == 0
    assert winners.entropy() == 0.0


@pytest.mark.parametrize("k_inference_factor", [1.0, 2.0])
def test_the_entropy_is_largest_where_all_units_win_equally_often(
    k_inference_factor: float,
) -> None:
    params = KWinnersParams(percent_on=0.25, k_inference_factor=k_inference_factor)
    winners = KWinners(params, 4)

    winners(torch.eye(4), training=True)

    # 4 h(1/4) = 4 (1/4 * 2 + 3/4 log2(4/3)) = 2 + 3 log2(4/3); 0.25 is exact in float32
    assert winners.max_entropy == pytest.approx(2 + 3 * math.log2(4 / 3), rel=1e-12)
    assert winners.entropy() == pytest.approx(winners.max_entropy, rel=1e-12)


def test_the_entropy_is_zero_where_the_same_units_always_win() -> None:
    winners = KWinners(KWinnersParams(percent_on=0.5), 2)

    winners(torch.tensor([[2.0, 1.0], [3.0, 1.0]]), training=True)

    assert winners.entropy() == 0.0
    assert winners.max_entropy == 2.0


@pytest.mark.parametrize("k_inference_factor", [1.0, 2.0])
@pytest.mark.parametrize(("local", "k", "n"), [(True, 1, 4), (False, 3, 12)])
def test_the_entropy_of_channels_counts_every_place(
    local: bool, k: int, n: int, k_inference_factor: float
) -> None:
    params = KWinnersParams(percent_on=0.25, k_inference_factor=k_inference_factor)
    winners = KWinners2d(params, 4, local=local)
    x = torch.eye(4)[:, :, None, None].expand(4, 4, 1, 3)  # in sample i channel i, at all places

    winners(x, training=True)

    # 12 units with the duty cycle 1/4: 12 h(1/4)
    most = 12 * (2 / 4 + 3 / 4 * math.log2(4 / 3))
    assert k / n == 0.25
    assert winners.max_entropy == pytest.approx(most, rel=1e-12)
    assert winners.entropy() == pytest.approx(most, rel=1e-12)


@pytest.mark.parametrize("local", [True, False])
def test_channels_have_no_entropy_before_the_first_training_pass(local: bool) -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.25), 4, local=local)

    assert winners.entropy() == 0.0
    assert winners.max_entropy == 0.0


def test_a_restored_layer_goes_on_as_the_saved_one(layer: Layer) -> None:
    params = KWinnersParams(percent_on=0.34, boost_strength=3.0, duty_cycle_period=7)
    (saved, shape), (restored, _) = layer(params), layer(params)
    for seed in range(3):
        saved(_values(3, *shape, seed=seed), training=True)
    state = saved.state()
    duty_cycle = state["duty_cycle"].clone()

    restored.restore(state)
    assert restored.entropy() == saved.entropy()  # where a task ends with the checkpoint
    assert restored.max_entropy == saved.max_entropy
    outputs = [
        [winners(_values(3, *shape, seed=seed), training=True) for seed in range(3, 6)]
        for winners in (saved, restored)
    ]

    assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    assert torch.equal(saved.duty_cycle, restored.duty_cycle)
    assert saved.entropy() == restored.entropy()
    assert saved.max_entropy == restored.max_entropy
    assert torch.equal(state["duty_cycle"], duty_cycle)


def test_a_winner_is_never_made_of_nothing() -> None:
    with pytest.raises(ValueError, match="rounds") as caught:
        KWinners(KWinnersParams(percent_on=0.001), 100)

    assert str(caught.value) == "percent_on 0.001 of 100 units rounds to no winner"


@pytest.mark.parametrize(
    ("percent_on", "factor", "message"),
    [
        (
            0.06,
            16,
            "k_inference_factor 16.0 makes 16 winners at test out of 1 in training; "
            "expected 1 to 10, the number of units",
        ),
        (
            0.2,
            0.4,
            "k_inference_factor 0.4 makes 0 winners at test out of 2 in training; "
            "expected 1 to 10, the number of units",
        ),
    ],
)
def test_a_factor_that_leaves_no_choice_at_test_is_an_error(
    percent_on: float, factor: float, message: str
) -> None:
    params = KWinnersParams(percent_on=percent_on, k_inference_factor=factor)

    with pytest.raises(ValueError, match="k_inference_factor") as caught:
        KWinners(params, 10)

    assert str(caught.value) == message


def test_of_channels_at_a_place_the_factor_comes_before_rounding() -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.05, k_inference_factor=1.5), 64, local=True)
    x = 1 + torch.rand(2, 64, 1, 1, generator=torch.Generator().manual_seed(0))

    # 64 * 0.05 = 3.2; 64 * 0.05 * 1.5 = 4.8, where floor(3 * 1.5) is 4
    assert winners(x, training=True).count_nonzero() == 2 * 3
    assert winners(x, training=False).count_nonzero() == 2 * 5
    with pytest.raises(ValueError, match="k_inference_factor") as caught:
        KWinners2d(KWinnersParams(percent_on=0.1, k_inference_factor=0.4), 10, local=True)
    assert str(caught.value) == (
        "k_inference_factor 0.4 makes 0 winners at test out of 1 in training; expected 1 to 10, "
        "the number of units"
    )


def test_channels_without_places_of_their_own_find_the_error_at_the_first_pass() -> None:
    winners = KWinners2d(KWinnersParams(percent_on=0.1), 1, local=False)

    with pytest.raises(ValueError, match="percent_on") as caught:
        winners(torch.ones(1, 1, 2, 2), training=True)

    assert str(caught.value) == "percent_on 0.1 of 4 units rounds to no winner"


def test_a_fraction_of_winners_at_test_of_one_or_more_is_an_error() -> None:
    with pytest.raises(ValidationError) as caught:
        KWinnersParams(percent_on=0.5, k_inference_factor=2.0)

    assert [error["msg"] for error in caught.value.errors()] == [
        "Value error, percent_on times k_inference_factor, the fraction of winners at test, "
        "must be below 1, not 1"
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("percent_on", 0.0),
        ("percent_on", 1.0),
        ("k_inference_factor", 0.0),
        ("boost_strength", -0.1),
        ("boost_strength_factor", 0.9),
        ("boost_strength_factor", 1.1),
        ("duty_cycle_period", 0),
        ("sparsity", 0.1),
    ],
)
def test_values_out_of_range_and_unknown_fields_are_errors(field: str, value: float) -> None:
    with pytest.raises(ValidationError) as caught:
        KWinnersParams.model_validate({"percent_on": 0.1} | {field: value})

    assert [error["loc"] for error in caught.value.errors()] == [(field,)]
