"""Online EWC."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from clbench.params import read
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams


def test_two_tasks_consolidate_to_the_values_worked_out_by_hand(dictated: Any, no_net: Any) -> None:
    ewc = OnlineEwc(OnlineEwcParams(ewc_lambda=10.0, gamma=0.5), no_net)
    first = dictated(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.0], [3.0, 2.0], [2.0, 1.0]]))
    second = dictated(torch.tensor([0.0, 1.0]), torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    # F_1 = [(1 + 9 + 4) / 3, (0 + 4 + 1) / 3] = [14/3, 5/3]
    # F_2 = [(4 + 0) / 2, (0 + 16) / 2] = [2, 8];   F = F_2 + F_1 / 2 = [13/3, 53/6]
    # at w = (1, 3), anchor (0, 1): 10/2 * (13/3 * 1 + 53/6 * 4)

    ewc.consolidate(first)
    ewc.consolidate(second)
    w = torch.tensor([1.0, 3.0], requires_grad=True)
    penalty = ewc.penalty({"w": w})

    assert penalty is not None
    penalty.backward()
    assert penalty.item() == pytest.approx(5 * (13 / 3 + 4 * 53 / 6), rel=1e-6)
    assert w.grad is not None
    # the closed form: lambda F (w - anchor)
    assert w.grad.tolist() == pytest.approx([10 * 13 / 3 * 1, 10 * 53 / 6 * 2], rel=1e-6)


def test_the_fisher_information_may_be_that_at_predicted_targets(
    dictated: Any, no_net: Any
) -> None:
    ewc = OnlineEwc(OnlineEwcParams(ewc_lambda=2.0, fisher="predicted"), no_net)
    ewc.consolidate(dictated(torch.tensor([0.0]), torch.tensor([[1.0], [2.0]])))

    penalty = ewc.penalty({"w": torch.tensor([1.0])})

    assert penalty is not None
    assert penalty.item() == (100 + 400) / 2  # predictions make gradients ten times as large


def test_the_penalty_is_absent_before_and_zero_at_the_anchor(dictated: Any, no_net: Any) -> None:
    ewc = OnlineEwc(OnlineEwcParams(ewc_lambda=1.0), no_net)
    w = torch.tensor([1.0, 2.0])

    assert ewc.penalty({"w": w}) is None
    ewc.consolidate(dictated(w, torch.ones(2, 2)))
    penalty = ewc.penalty({"w": w})

    assert penalty is not None
    assert penalty.item() == 0.0


def test_the_anchor_does_not_follow_the_live_parameters(dictated: Any, no_net: Any) -> None:
    ewc = OnlineEwc(OnlineEwcParams(ewc_lambda=2.0), no_net)
    w = torch.tensor([1.0, 2.0])
    ewc.consolidate(dictated(w, torch.ones(2, 2)))

    w += 1.0  # the live buffer moves
    penalty = ewc.penalty({"w": w})

    assert penalty is not None
    assert penalty.item() == 2.0


@pytest.mark.parametrize(("wanted", "used"), [("all", 5), (3, 3), (100, 5)])
def test_as_many_samples_are_used_as_the_suite_says(
    dictated: Any, no_net: Any, wanted: Any, used: int
) -> None:
    ewc = OnlineEwc(OnlineEwcParams(ewc_lambda=2.0, fisher_samples=wanted), no_net)
    data = dictated(torch.zeros(1), torch.arange(1.0, 6.0).view(5, 1))

    ewc.consolidate(data)
    penalty = ewc.penalty({"w": torch.ones(1)})

    assert data.asked == [used]
    assert penalty is not None
    assert penalty.item() == pytest.approx(sum(s * s for s in range(1, used + 1)) / used)


def test_a_restored_regularizer_goes_on_as_the_saved_one(dictated: Any, no_net: Any) -> None:
    params = OnlineEwcParams(ewc_lambda=2.0, gamma=0.9)
    saved, restored = OnlineEwc(params, no_net), OnlineEwc(params, no_net)
    saved.consolidate(dictated(torch.ones(2), torch.ones(3, 2)))

    restored.restore(saved.state())
    for ewc in (saved, restored):
        ewc.consolidate(dictated(torch.zeros(2), 2 * torch.ones(3, 2)))
    w = {"w": torch.tensor([0.3, 0.7])}

    a, b = saved.penalty(w), restored.penalty(w)
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({}, "ewc_lambda"),
        ({"ewc_lambda": -1}, "ewc_lambda"),
        ({"ewc_lambda": 1, "gamma": 1.1}, "gamma"),
        ({"ewc_lambda": 1, "fisher_samples": 0}, "fisher_samples"),
    ],
)
def test_impossible_parameters_are_refused(wrong: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read(OnlineEwcParams, wrong)

    assert {error["loc"][0] for error in caught.value.errors()} == {field}
