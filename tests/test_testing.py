"""The contract tests catch plugins that break their promises, and say which promise it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
import toys
from contracts import broken_promises
from torch import Tensor

from clbench.config import Regime, Training
from clbench.protocols import (
    Batch,
    Context,
    Learner,
    MainNet,
    NamedTensors,
    Observation,
    Query,
    Tally,
    TaskFamily,
)
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import (
    FamilyContract,
    LearnerContract,
    NetContract,
    RegularizerContract,
)
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams

FAMILY = toys.Pictures(toys.TwoParams())
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)


# learners


class _Learners(LearnerContract):
    learner: ClassVar[Callable[..., Learner]]

    def build(self) -> Learner:
        training = Training(iterations=1, learning_rate=0.1)
        context = toys.pictures_context(LAYOUT, training=training)
        return type(self).learner(FineTuningParams(), context)

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        stream = FAMILY.tasks(0, Scenario.TASK_IL)[task_id].train_stream(torch.Generator())
        return [replace(stream.next(4), task_id=task_id) for _ in range(count)]


class _DrawsGlobally(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        self.parameters.values.add_(0.01 * torch.randn(()))
        return super().observe(batch)


class _LearnsInPredict(FineTuning):
    def predict(self, query: Query) -> Tensor:
        self.parameters.values.mul_(0.9)
        return super().predict(query)


class _ForgetsItsMoments(FineTuning):
    def state(self) -> dict[str, Any]:
        return super().state() | {"optimiser": {}}


class _CountsItsTasks(FineTuning):
    """Its outputs are scaled by the tasks that have begun."""

    begun = 0

    def begin_task(self, task_id: int) -> None:
        super().begin_task(task_id)
        self.begun += 1

    def predict(self, query: Query) -> Tensor:
        return self.begun * super().predict(query)


class _CountsItsTasksLate(_CountsItsTasks):
    """Only from the third on."""

    def predict(self, query: Query) -> Tensor:
        return max(1, self.begun - 1) * FineTuning.predict(self, query)


class _TellsTheOutputsAfterTheStep(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        observation = super().observe(batch)
        return replace(observation, outputs=self.predict(batch))


class _LearnsNothing(FineTuning):
    def step(self) -> None:
        pass


class _IsAttached(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        observation = super().observe(batch)
        return replace(observation, loss=observation.loss.clone().requires_grad_())


class _HasAttachedOutputs(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        observation = super().observe(batch)
        return replace(observation, outputs=observation.outputs.clone().requires_grad_())


class _SlowsDown(FineTuning):
    def __init__(self, params: FineTuningParams, context: Any) -> None:
        super().__init__(params, context)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        self.parameters.gradients.div_(self.steps)
        super().step()

    def graph_obstacle(self) -> str | None:
        return None

    def state(self) -> dict[str, Any]:
        return super().state() | {"steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.steps = state["steps"]


class _TakesMixedTasksForTheFirst(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        return super().observe(replace(batch, task_id=0))


class _IsNeverGivenMixedTasks(_TakesMixedTasksForTheFirst):
    regimes: ClassVar[frozenset[Regime]] = frozenset({"sequential"})

    def observe(self, batch: Batch) -> Observation:
        return FineTuning.observe(self, batch)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (FineTuning, []),
        (_TakesMixedTasksForTheFirst, ["a batch of two tasks gives other outputs than each"]),
        (_IsNeverGivenMixedTasks, []),
        (_DrawsGlobally, ["learning depends on something besides its context"]),
        (_LearnsInPredict, ["predict changed the learner's state"]),
        (_ForgetsItsMoments, ["the restored learner went another way"]),
        (_CountsItsTasks, ["predictions are others directly after `restore`"]),
        (_CountsItsTasksLate, ["the restored learner comes to other predictions"]),
        (_TellsTheOutputsAfterTheStep, ["the outputs are not those before the step"]),
        (_LearnsNothing, ["nothing was learnt"]),
        (_IsAttached, ["the loss is not detached"]),
        (_HasAttachedOutputs, ["the outputs are not detached"]),
        (_SlowsDown, ["steps are said to be alike and are not"]),
    ],
)
def test_a_learner_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    contract = type("Contract", (_Learners,), {"learner": staticmethod(broken)})

    assert set(expected) <= set(broken_promises(contract))
    assert bool(expected) == bool(broken_promises(contract))


@pytest.mark.parametrize(
    ("contract", "method"),
    [
        (RegularizerContract, "build(self)"),
        (LearnerContract, "build(self)"),
        (FamilyContract, "build(self)"),
        (NetContract, "build(self)"),
    ],
)
def test_a_method_that_a_contract_needs_is_named(contract: Any, method: str) -> None:
    mine = type("TestMine", (contract,), {})()

    with pytest.raises(NotImplementedError) as caught:
        mine.build()

    assert str(caught.value) == f"TestMine needs a method {method}"


# families and nets


class _IgnoresItsSeed(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return super().tasks(7, scenario)


class _SeedsWhatAllShare(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        torch.manual_seed(data_seed)
        return super().tasks(int(torch.randint(100, ())), scenario)


class _Telling:
    """A task whose test batches say which task it is."""

    def __init__(self, inner: Any) -> None:
        self.train_size, self.train_stream = inner.train_size, inner.train_stream
        self._inner = inner

    def test_batches(self) -> list[Batch]:
        return [replace(batch, task_id=0) for batch in self._inner.test_batches()]


class _TellsTheTask(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return [_Telling(task) for task in super().tasks(data_seed, scenario)]


class _HasATaskTooFew(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return super().tasks(data_seed, scenario)[:-1]


class _Fractions(toys.CrossEntropy):
    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        total, scored = super().tally(outputs, batch)
        return Tally(total / 100, scored)


class _TalliesFractions(toys.Pictures):
    objective = _Fractions()


class _TestsNothing(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        tasks = super().tasks(data_seed, scenario)
        return [*tasks[:-1], replace(tasks[-1], is_stream=True)]


class _ComparesEachWithAll(toys.CrossEntropy):
    """Its targets are a column, which the losses straighten and the tally does not."""

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return super().losses(outputs, replace(batch, targets=batch.targets[:, 0]))


class _CountsSamples(_ComparesEachWithAll):
    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        return Tally(super().tally(outputs, batch).total, len(batch.targets))


class _GivesColumns(toys.Pictures):
    objective = _ComparesEachWithAll()

    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        tasks = super().tasks(data_seed, scenario)
        data = [replace(task.data, targets=task.data.targets[:, None]) for task in tasks]
        return [toys.StoredTask(one) for one in data]


class _GivesColumnsAndCountsSamples(_GivesColumns):
    objective = _CountsSamples()


class _CountsLabelsOn(toys.Pictures):
    """Global labels in task-il, from the second task on."""

    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return super().tasks(data_seed, Scenario.CLASS_IL)


class _Fixed(toys.StoredTask):
    def train_stream(self, generator: torch.Generator) -> toys.Shuffled:
        return super().train_stream(torch.Generator().manual_seed(7))


class _HasAFixedOrder(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return [_Fixed(task.data) for task in super().tasks(data_seed, scenario)]


class _EndsItsSweeps(toys.Shuffled):
    def next(self, size: int) -> Batch:
        return super().next(min(size, 40))


class _Ending(toys.StoredTask):
    def train_stream(self, generator: torch.Generator) -> toys.Shuffled:
        return _EndsItsSweeps(self.data, self.axis, generator)

    @property
    def train_size(self) -> int:
        return 41


class _HasStreamsThatEnd(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return [_Ending(task.data) for task in super().tasks(data_seed, scenario)]


_SHARED = """random numbers were drawn from what the whole process shares (torch): another run may \
give another result; draw from the generators that plugins are given"""
_GLOBAL_LABELS = """the objective of the task family '_CountsLabelsOn', asked for the losses of 10 \
samples of task 1, raised IndexError: Target 3 is out of bounds. on outputs (10, 2) and targets \
(10,) from 2 to 3"""


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (toys.Pictures, []),
        (_GivesColumns, ["36 scored of 6 targets: they are broadcast"]),
        (
            _GivesColumnsAndCountsSamples,
            ["with guesses the accuracy is 300 %: targets are broadcast"],
        ),
        (_CountsLabelsOn, [_GLOBAL_LABELS]),
        (_HasAFixedOrder, ["the stream ignores its generator"]),
        (_HasStreamsThatEnd, ["asked for 41 samples, the stream gave 40"]),
        (_TalliesFractions, ["with right outputs alone the accuracy is 1, not 100 %"]),
        (
            _TestsNothing,
            [
                *["task 2 has no test samples"] * 2,
                "the task family '_TestsNothing' gave no test samples of task 2 (of 3, from 0)",
            ],
        ),
        (_IgnoresItsSeed, ["the data seed is ignored"]),
        (_SeedsWhatAllShare, [_SHARED]),
        (_TellsTheTask, ["the runner, not the task, says which task it is"]),
        (
            _HasATaskTooFew,
            [
                "the task family '_HasATaskTooFew' made another number of tasks (2) than its spec "
                "says (3)",
                "the spec promises another number of tasks",
            ],
        ),
    ],
)
def test_a_family_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    class Contract(FamilyContract):
        def build(self) -> TaskFamily:
            family: TaskFamily = broken(toys.TwoParams())
            return family

    assert broken_promises(Contract) == expected


class _DrawsItsWeightsGlobally(toys.Linear):
    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {name: torch.randn(shape) for name, shape in self.shapes.items()}


class _ScalesItsWeights(toys.Linear):
    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        for tensor in params.values():
            tensor.detach().mul_(1.5)
        return super().__call__(params, query, context)


class _ShiftsItsInputs(toys.Linear):
    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        query.inputs.sub_(0.5)
        return super().__call__(params, query, context)


class _LeavesAWeightOut(toys.Linear):
    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        last = list(params)[-1]
        still = {n: t.detach() if n == last else t for n, t in params.items()}
        return super().__call__(still, query, context)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (toys.Linear, []),
        (_DrawsItsWeightsGlobally, ["the same generator gave different parameters"]),
        (_ScalesItsWeights, ["two passes on the same inputs differ"]),
        (_ShiftsItsInputs, ["a pass changed its inputs in place"]),
        (_LeavesAWeightOut, ["b has no gradient"]),
    ],
)
def test_a_net_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    class Contract(NetContract):
        def build(self) -> MainNet:
            net: MainNet = broken(toys.NoParams(), FAMILY.spec, LAYOUT)
            return net

        def query(self) -> Query:
            return Query(inputs=torch.rand(4, 1, 4, 4, generator=torch.Generator()), task_id=1)

    assert set(expected) <= set(broken_promises(Contract))
    assert bool(expected) == bool(broken_promises(Contract))
