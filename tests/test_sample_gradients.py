"""Squared gradients of single samples: both ways agree with a plain loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import toys
from torch import Tensor

from clbench.protocols import Batch, Context, SequenceSpec
from clbench.sample_gradients import WeightConsolidation, squared_gradients
from clbench.scenario import OutputLayout, Scenario
from clbench_copytask.elman import Elman
from clbench_copytask.lstm import Lstm
from clbench_copytask.recurrent import RecurrentParams

LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 2, 3)
SEQUENCES = SequenceSpec(kind="sequence", input_shape=(4,), outputs_per_task=3, num_tasks=2)
PICTURES = SequenceSpec(
    kind="classification", input_shape=(1, 2, 2), outputs_per_task=3, num_tasks=2
)


def _sequence_batch(masked: bool) -> Batch:
    generator = torch.Generator().manual_seed(0)
    mask = torch.tensor([[1.0] * 7, [1.0, 0.0] * 3 + [1.0]]).double() if masked else None
    return Batch(
        inputs=torch.rand(5, 7, 4, generator=generator).double(),
        targets=torch.rand(2, 7, 3, generator=generator).double(),
        task_id=1,
        window=slice(3, 5),
        mask=mask,
    )


def _picture_batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        inputs=torch.rand(7, 1, 2, 2, generator=generator).double(),
        targets=torch.randint(3, (7,), generator=generator),
        task_id=1,
    )


def _one(batch: Batch, n: int) -> Batch:
    index: Any = slice(n, n + 1) if batch.window is None else (slice(None), slice(n, n + 1))
    mask = None if batch.mask is None else batch.mask[index]
    return replace(batch, inputs=batch.inputs[index], targets=batch.targets[index], mask=mask)


CASES = {
    "elman": (Elman(RecurrentParams(hidden_size=5), SEQUENCES, LAYOUT), _sequence_batch(False)),
    "elman, masked": (
        Elman(RecurrentParams(hidden_size=5), SEQUENCES, LAYOUT),
        _sequence_batch(True),
    ),
    "lstm": (Lstm(RecurrentParams(hidden_size=5), SEQUENCES, LAYOUT), _sequence_batch(False)),
    "lstm, masked": (
        Lstm(RecurrentParams(hidden_size=5), SEQUENCES, LAYOUT),
        _sequence_batch(True),
    ),
    "linear": (toys.Linear(toys.NoParams(), PICTURES, LAYOUT), _picture_batch()),
}


@pytest.mark.parametrize("case", CASES)
def test_they_are_those_of_one_backward_pass_per_sample(case: str) -> None:
    net, batch = CASES[case]
    objective: Any = toys.CrossEntropy() if batch.window is None else toys.Squares()
    initial: Mapping[str, Tensor] = net.initial(torch.Generator().manual_seed(1))
    params = {name: tensor.double().requires_grad_() for name, tensor in initial.items()}
    expected = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
    for n in range(7):
        one = _one(batch, n)
        outputs = LAYOUT.select(net(params, one, Context()), 1)
        gradients = torch.autograd.grad(objective.losses(outputs, one).sum(), list(params.values()))
        for name, gradient in zip(params, gradients, strict=True):
            expected[name] += gradient.square()

    squares = squared_gradients(net, params, batch, Context(), LAYOUT, objective)

    assert squares.keys() == expected.keys()
    for name, square in squares.items():
        torch.testing.assert_close(square, expected[name].detach(), rtol=1e-9, atol=1e-12)


def test_the_heads_of_other_tasks_have_none() -> None:
    net, batch = CASES["elman"]
    params = {n: t.double() for n, t in net.initial(torch.Generator().manual_seed(1)).items()}

    squares = squared_gradients(net, params, batch, Context(), LAYOUT, toys.Squares())

    assert squares["W_out"][:3].abs().max() == 0
    assert squares["W_out"][3:].min() > 0


@pytest.mark.parametrize("case", CASES)
def test_the_outputs_at_the_end_of_a_task_are_its_own_and_have_gradients(case: str) -> None:
    net, batch = CASES[case]
    initial: Mapping[str, Tensor] = net.initial(torch.Generator().manual_seed(1))
    params = {name: tensor.double().requires_grad_() for name, tensor in initial.items()}
    learner: Any = SimpleNamespace(net=net, layout=LAYOUT)
    consolidation = WeightConsolidation(params, cast(Any, None), learner, Context())

    outputs = consolidation.outputs(params, batch)
    outputs.square().sum().backward()

    assert torch.equal(outputs, LAYOUT.select(net(params, batch, Context()), batch.task_id))
    assert outputs.shape[-1] == 3
    assert all(tensor.grad is not None for tensor in params.values())
