"""Synaptic intelligence."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams


def _tensor(*values: float) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor(values)}


def test_a_path_becomes_the_importance_worked_out_by_hand(dictated: Any, no_net: Any) -> None:
    si = SynapticIntelligence(SynapticIntelligenceParams(si_lambda=3.0, si_xi=0.5), no_net)
    si.begin(_tensor(0.0, 0.0, 0.0))
    # two steps; omega = -g * delta summed: [0.5 + 0.25, -0.5 + 0, 1 - 1] = [0.75, -0.5, 0]
    si.after_task_gradient(_tensor(-1.0, 1.0, -1.0), _tensor(0.5, 0.5, 1.0))
    si.after_task_gradient(_tensor(-0.5, 0.0, 1.0), _tensor(0.5, 0.5, 1.0))
    # Omega = max(0, omega / (change^2 + 0.5)) = [0.75 / 1.5, 0, 0]
    si.consolidate(dictated(torch.tensor([1.0, 1.0, 2.0]), torch.ones(1, 3)))
    # the second path starts at (1, 1, 2): omega = [2, 1, 0], change = (0, 1, 0)
    si.after_task_gradient(_tensor(-2.0, -1.0, 0.0), _tensor(1.0, 1.0, 1.0))
    si.consolidate(dictated(torch.tensor([1.0, 2.0, 2.0]), torch.ones(1, 3)))
    # Omega = [0.5 + 2 / 0.5, 0 + 1 / 1.5, 0] = [4.5, 2/3, 0]
    w = torch.tensor([2.0, 5.0, 9.0], requires_grad=True)

    penalty = si.penalty({"w": w})

    assert penalty is not None
    penalty.backward()
    assert penalty.item() == pytest.approx(3 * (4.5 * 1 + 2 / 3 * 9), rel=1e-6)
    assert w.grad is not None
    # the closed form: 2 lambda Omega (w - anchor)
    assert w.grad.tolist() == pytest.approx([6 * 4.5 * 1, 6 * 2 / 3 * 3, 0.0], rel=1e-6)


def test_negative_importances_may_be_kept(dictated: Any, no_net: Any) -> None:
    params = SynapticIntelligenceParams(si_lambda=3.0, si_xi=1.0, negative_importance="kept")
    si = SynapticIntelligence(params, no_net)
    si.begin(_tensor(0.0))
    si.after_task_gradient(_tensor(2.0), _tensor(1.0))  # omega = -2: the loss grew on the way
    si.consolidate(dictated(torch.tensor([1.0]), torch.ones(1, 1)))

    penalty = si.penalty(_tensor(3.0))

    assert penalty is not None
    assert penalty.item() == pytest.approx(3.0 * (-2 / (1 + 1)) * (3 - 1) ** 2)


def test_the_penalty_is_absent_before_and_zero_at_the_anchor(dictated: Any, no_net: Any) -> None:
    si = SynapticIntelligence(SynapticIntelligenceParams(), no_net)
    si.begin(_tensor(0.0))
    si.after_task_gradient(_tensor(-1.0), _tensor(1.0))

    assert si.penalty(_tensor(3.0)) is None
    si.consolidate(dictated(torch.tensor([1.0]), torch.ones(1, 1)))
    penalty = si.penalty(_tensor(1.0))

    assert penalty is not None
    assert penalty.item() == 0.0


@pytest.mark.parametrize(
    ("path", "watch"), [("task-look-ahead", "task-gradient"), ("total-step", "step")]
)
def test_the_path_says_what_must_be_watched(path: Any, watch: str, no_net: Any) -> None:
    si = SynapticIntelligence(SynapticIntelligenceParams(path=path), no_net)

    assert si.watches == {watch}


def test_a_restored_regularizer_goes_on_as_the_saved_one(dictated: Any, no_net: Any) -> None:
    saved, restored = (SynapticIntelligence(SynapticIntelligenceParams(), no_net) for _ in range(2))
    saved.begin(_tensor(0.0))
    saved.after_task_gradient(_tensor(-1.0), _tensor(1.0))
    saved.consolidate(dictated(torch.tensor([1.0]), torch.ones(1, 1)))
    saved.after_task_gradient(_tensor(-2.0), _tensor(1.0))

    restored.begin(_tensor(5.0))
    restored.restore(saved.state())
    for si in (saved, restored):
        si.after_task_gradient(_tensor(-2.0), _tensor(0.5))
        si.consolidate(dictated(torch.tensor([3.0]), torch.ones(1, 1)))

    a, b = saved.penalty(_tensor(0.0)), restored.penalty(_tensor(0.0))
    assert a is not None
    assert b is not None
    assert torch.equal(a, b)
