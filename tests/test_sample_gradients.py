"""Gradients of single samples, squared and one by one: they agree with a plain loop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import toys
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.protocols import Batch, Context, SequenceSpec
from clbench.sample_gradients import WeightConsolidation, squared_gradients
from clbench.scenario import OutputLayout, Scenario
from clbench_copytask.elman import Elman
from clbench_copytask.lstm import Lstm
from clbench_copytask.recurrent import RecurrentParams
from clbench_vision.classification import Classification
from clbench_vision.mlp import Mlp, MlpParams

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
    "mlp": (Mlp(MlpParams(hidden_sizes=(5,)), PICTURES, LAYOUT), _picture_batch()),
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


def test_predicted_targets_are_those_that_the_task_s_own_outputs_stand_for() -> None:
    net, batch = CASES["linear"]
    biases = torch.tensor([9.0, 0.0, 0.0, 0.0, 0.0, 1.0])  # 9 is of task 0, 1 of task 1
    params = {"W": torch.zeros(6, 4).double(), "b": biases.double()}
    learner: Any = SimpleNamespace(net=net, layout=LAYOUT, objective=Classification())

    found = WeightConsolidation(params, cast(Any, None), learner, Context()).predicted(batch)

    assert batch.targets.unique().tolist() == [0, 1, 2]
    assert found.targets.tolist() == [2] * 7
    assert torch.equal(found.inputs, batch.inputs)
    assert found.task_id == 1


@pytest.mark.parametrize(("case", "layer", "weight"), [("mlp", "h1", "W1"), ("elman", "h", "W_hh")])
def test_units_that_are_masked_in_a_task_have_none_from_it(
    case: str, layer: str, weight: str
) -> None:
    consolidation, batch = _consolidation(case)
    objective: Any = toys.CrossEntropy() if batch.window is None else toys.Squares()
    learner: Any = SimpleNamespace(net=CASES[case][0], layout=LAYOUT, objective=objective)
    gains = {layer: torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0]).double()}
    active = {name: tensor.abs() for name, tensor in consolidation.params.items()}
    masked = replace(consolidation, params=active, learner=learner, forward=Context(gains=gains))

    squares = masked.squared_gradients(batch)[weight].sum(1)

    assert (squares > 0).tolist() == [True, False, True, False, True]


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


def _consolidation(case: str) -> tuple[WeightConsolidation, Batch]:
    net, batch = CASES[case]
    initial: Mapping[str, Tensor] = net.initial(torch.Generator().manual_seed(1))
    params = {name: tensor.double() for name, tensor in initial.items()}
    learner: Any = SimpleNamespace(net=net, layout=LAYOUT)
    return WeightConsolidation(params, cast(Any, None), learner, Context()), batch


def _squared_norm(outputs: Tensor) -> Tensor:
    return outputs.square().sum(-1)


@pytest.mark.parametrize("gradients_on", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_gradients_of_single_samples_are_those_of_batches_of_one(
    case: str, gradients_on: bool
) -> None:
    consolidation, batch = _consolidation(case)
    leaves = {n: t.clone().requires_grad_() for n, t in consolidation.params.items()}
    expected = []
    for n in range(7):
        norm = _squared_norm(consolidation.outputs(leaves, _one(batch, n))).sum()
        expected.append(torch.autograd.grad(norm, list(leaves.values()), materialize_grads=True))

    with torch.set_grad_enabled(gradients_on):
        found = []
        for gradients in consolidation.sample_gradients(batch, _squared_norm):
            assert torch.is_grad_enabled() is gradients_on
            found.append(gradients)

    assert len(found) == 7
    for gradients, wanted in zip(found, expected, strict=True):
        assert list(gradients) == list(leaves)
        for gradient, one in zip(gradients.values(), wanted, strict=True):
            assert not gradient.requires_grad
            torch.testing.assert_close(gradient, one, rtol=1e-9, atol=1e-12)
    assert not any(tensor.requires_grad for tensor in consolidation.params.values())


def test_generated_parameters_get_gradients_of_their_own() -> None:
    own, batch = _consolidation("elman")
    embedding = torch.ones((), dtype=torch.float64, requires_grad=True)
    generated = replace(own, params={n: embedding * t for n, t in own.params.items()})

    for one, same in zip(
        generated.sample_gradients(batch, _squared_norm),
        own.sample_gradients(batch, _squared_norm),
        strict=True,
    ):
        for name, gradient in one.items():
            assert torch.equal(gradient, same[name])
    assert embedding.grad is None


def test_a_number_for_each_sample_may_use_the_mask_of_the_whole_batch() -> None:
    consolidation, batch = _consolidation("elman, masked")
    mask = batch.mask
    assert mask is not None

    by_step = consolidation.sample_gradients(batch, lambda y: mask * _squared_norm(y))
    summed = consolidation.sample_gradients(batch, lambda y: (mask * _squared_norm(y)).sum(0))

    for one, same in zip(by_step, summed, strict=True):
        for name, gradient in one.items():
            torch.testing.assert_close(gradient, same[name], rtol=1e-9, atol=1e-12)


def test_numbers_of_another_shape_are_refused() -> None:
    consolidation, batch = _consolidation("elman")

    with pytest.raises(ClbenchError) as caught:
        next(consolidation.sample_gradients(batch, lambda y: y.square().sum()))

    assert str(caught.value) == (
        "`of` has to give a number for each sample, of shape (7,) or (2, 7); "
        "from outputs (2, 7, 3) it made ()"
    )
