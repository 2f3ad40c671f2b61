"""The plain learner: the order of its step, clipping, and exact restoring."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
import toys
from torch import Tensor

from clbench.config import Sgd, Training
from clbench.mixing import MixedStream
from clbench.protocols import Batch, Context, LearnerContext, NamedTensors, Query
from clbench.randomness import generator
from clbench.scenario import OutputLayout, Scenario
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams

LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)


class Spy:
    """A penalty of 10 times the sum of all parameters; writes down what it is shown."""

    def __init__(self, *watches: Any) -> None:
        self.watches = frozenset(watches)
        self.seen: list[tuple[str, dict[str, Tensor], dict[str, Tensor]]] = []

    def begin(self, params: NamedTensors) -> None:
        self.begun = {name: tensor.clone() for name, tensor in params.items()}

    def penalty(self, params: NamedTensors) -> Tensor:
        self.seen.append(("penalty", {}, {}))
        return 10 * torch.stack([tensor.sum() for tensor in params.values()]).sum()

    def after_task_gradient(self, gradients: NamedTensors, look_ahead: NamedTensors) -> None:
        self._see("task-gradient", gradients, look_ahead)

    def after_step(self, gradients: NamedTensors, steps: NamedTensors) -> None:
        self._see("step", gradients, steps)

    def _see(self, name: str, gradients: NamedTensors, steps: NamedTensors) -> None:
        self.seen.append(
            (
                name,
                {n: t.clone() for n, t in gradients.items()},
                {n: t.clone() for n, t in steps.items()},
            )
        )

    def consolidate(self, consolidation: Any) -> None:
        self.seen.append(("consolidate", {}, {}))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def _context(*regularizers: Any, **training: Any) -> LearnerContext:
    values = {"iterations": 1, "learning_rate": 0.5, "optimizer": Sgd()} | training
    return toys.pictures_context(
        LAYOUT, training=Training.model_validate(values), regularizers=regularizers
    )


def _batches(count: int, task_id: int = 1, seed: int = 0) -> list[Batch]:
    task = toys.Pictures(toys.TwoParams()).tasks(seed, Scenario.TASK_IL)[task_id]
    stream = task.train_stream(torch.Generator().manual_seed(seed))
    return [replace(stream.next(8), task_id=task_id) for _ in range(count)]


class Data:
    """The training data of the ended task."""

    num_samples = 16

    def batches(self, num_samples: int) -> Iterator[Batch]:
        yield from _batches(num_samples // 8, seed=9)


def _gradient(
    context: LearnerContext, weights: dict[str, Tensor], batch: Batch
) -> dict[str, Tensor]:
    leaves = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
    outputs = LAYOUT.select(context.net(leaves, batch, Context()), batch.task_id)
    loss = context.objective.losses(outputs, batch).mean()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def test_a_step_shows_the_task_gradient_before_and_the_total_step_after_the_penalty() -> None:
    spy = Spy("task-gradient", "step")
    context = _context(spy)
    learner = FineTuning(FineTuningParams(), context)
    (batch,) = _batches(1)
    expected = _gradient(context, spy.begun, batch)

    learner.begin_task(1)
    observation = learner.observe(batch)

    (first, task, ahead), (second, _, _), (third, total, steps) = spy.seen
    assert (first, second, third) == ("task-gradient", "penalty", "step")
    for name, gradient in expected.items():
        torch.testing.assert_close(task[name], gradient)
        torch.testing.assert_close(ahead[name], -0.5 * gradient)
        torch.testing.assert_close(total[name], gradient + 10)
        torch.testing.assert_close(steps[name], -0.5 * (gradient + 10))
    assert observation.loss.item() == pytest.approx(
        torch.nn.functional.cross_entropy(observation.outputs, batch.targets).item()
    )
    assert not observation.outputs.requires_grad


def test_the_total_gradient_is_clipped_penalties_included_and_the_task_gradient_is_not() -> None:
    spy = Spy("task-gradient", "step")
    context = _context(spy, clip_grad_norm=0.1)
    learner = FineTuning(FineTuningParams(), context)
    (batch,) = _batches(1)
    expected = _gradient(context, spy.begun, batch)

    learner.observe(batch)

    _, task, _ = spy.seen[0]
    _, total, _ = spy.seen[2]
    torch.testing.assert_close(task, expected)
    norm = torch.cat([tensor.flatten() for tensor in total.values()]).norm()
    assert norm.item() == pytest.approx(0.1, rel=1e-3)


def test_regularizers_that_watch_nothing_are_shown_nothing() -> None:
    spy = Spy()

    FineTuning(FineTuningParams(), _context(spy)).observe(_batches(1)[0])

    assert [name for name, _, _ in spy.seen] == ["penalty"]


def test_of_a_mixed_batch_in_class_il_the_outputs_of_its_tasks_alone_learn() -> None:
    layout = OutputLayout(Scenario.CLASS_IL, "per-task", 3, 2)
    training = Training(iterations=1, optimizer=Sgd())
    learner = FineTuning(FineTuningParams(), toys.pictures_context(layout, training=training))
    tasks = toys.Pictures(toys.TwoParams()).tasks(0, Scenario.CLASS_IL)
    streams = [task.train_stream(generator(0, i)) for i, task in enumerate(tasks[:2])]
    before = learner.weights(None)["b"].clone()

    learner.observe(MixedStream(streams, generator(0), gives_task_id=True).next(8))

    moved = learner.weights(None)["b"] != before
    assert moved.tolist() == [True, True, True, True, False, False]


def test_moments_are_forgotten_at_each_task_unless_they_are_kept() -> None:
    def after(optimizer_state: str) -> Tensor:
        context = _context(optimizer=Sgd(momentum=0.9), optimizer_state=optimizer_state)
        learner = FineTuning(FineTuningParams(), context)
        for task_id in (0, 1):
            learner.begin_task(task_id)
            for batch in _batches(3, task_id):
                learner.observe(batch)
        return learner.predict(Query(inputs=torch.ones(1, 1, 4, 4), task_id=0))

    assert not torch.equal(after("reset"), after("kept"))


def test_predicting_changes_nothing() -> None:
    learner = FineTuning(FineTuningParams(), _context())
    before = learner.state()["parameters"]["values"]
    query = Query(inputs=torch.ones(2, 1, 4, 4), task_id=1)

    first, second = learner.predict(query), learner.predict(query)

    assert first.shape == (2, 2)
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert torch.equal(before, learner.state()["parameters"]["values"])


@pytest.mark.parametrize("path", ["task-look-ahead", "total-step"])
def test_a_restored_learner_goes_on_bit_for_bit(path: Any) -> None:
    def fresh() -> FineTuning:
        net: Any = None
        regularizers = (
            OnlineEwc(OnlineEwcParams(ewc_lambda=2.0, gamma=0.9), net),
            SynapticIntelligence(SynapticIntelligenceParams(path=path), net),
        )
        context = _context(
            *regularizers, optimizer=Sgd(momentum=0.9), learning_rate=0.05, clip_grad_norm=1.0
        )
        return FineTuning(FineTuningParams(), context)

    def first_part(learner: FineTuning) -> None:
        learner.begin_task(0)
        for batch in _batches(4, 0):
            learner.observe(batch)
        learner.end_task(0, Data())
        learner.begin_task(1)
        for batch in _batches(2, 1):
            learner.observe(batch)

    def second_part(learner: FineTuning) -> Tensor:
        for batch in _batches(3, 1, seed=4):
            learner.observe(batch)
        learner.end_task(1, Data())
        learner.begin_task(2)
        for batch in _batches(3, 2):
            learner.observe(batch)
        values: Tensor = learner.state()["parameters"]["values"]
        return values

    saved, restored = fresh(), fresh()
    first_part(saved)
    state = saved.state()
    expected = second_part(saved)

    restored.restore(state)

    assert torch.equal(second_part(restored), expected)


def test_importances_reach_the_regularizer_from_the_net_itself() -> None:
    ewc = OnlineEwc(OnlineEwcParams(ewc_lambda=2.0), None)  # type: ignore[arg-type]
    context = _context(ewc)
    learner = FineTuning(FineTuningParams(), context)
    weights = {n: t.clone() for n, t in context.net.initial(generator(0, "init")).items()}
    squares = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    for batch in _batches(2, seed=9):
        for n in range(8):
            index = slice(n, n + 1)
            one = replace(batch, inputs=batch.inputs[index], targets=batch.targets[index])
            for name, gradient in _gradient(context, weights, one).items():
                squares[name] += gradient.square() / 16

    learner.end_task(1, Data())

    fisher = ewc.state()["fisher"]
    for name, square in squares.items():
        torch.testing.assert_close(fisher[name], square)
