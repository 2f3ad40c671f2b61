"""The contract tests catch plugins that break their promises, and say which promise it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
import toys
from torch import Tensor

from clbench.config import Training
from clbench.executor import Executor, Listener
from clbench.local_pool import LocalExecutor, LocalParams
from clbench.matrix import Cell, Group
from clbench.protocols import (
    Batch,
    Context,
    Learner,
    MainNet,
    NamedTensors,
    Observation,
    Query,
    Regularizer,
    TaskFamily,
)
from clbench.records import Record
from clbench.registry import Registry
from clbench.runner import run_cell
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import (
    ExecutorContract,
    FamilyContract,
    LearnerContract,
    NetContract,
    RegularizerContract,
    TrackerContract,
)
from clbench.tracking import Start, Tracker
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams

FAMILY = toys.Pictures(toys.TwoParams())
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)


def _broken_promises(contract: Any) -> list[str]:
    """What the tests of a contract say, those that fail."""
    found = []
    for name in dir(contract):
        if name.startswith("test_"):
            try:
                getattr(contract(), name)()
            except AssertionError as error:
                found.append(str(error).splitlines()[0])
    return found


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


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (FineTuning, []),
        (_DrawsGlobally, ["learning depends on something besides its context"]),
        (_LearnsInPredict, ["predict changed the learner's state"]),
        (_ForgetsItsMoments, ["the restored learner went another way"]),
        (_TellsTheOutputsAfterTheStep, ["the outputs are not those before the step"]),
        (_LearnsNothing, ["nothing was learnt"]),
        (_IsAttached, ["the loss is not detached"]),
    ],
)
def test_a_learner_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    contract = type("Contract", (_Learners,), {"learner": staticmethod(broken)})

    assert set(expected) <= set(_broken_promises(contract))
    assert bool(expected) == bool(_broken_promises(contract))


# regularizers


class _Pull:
    """A sound regularizer: half the squared distance to the last anchor."""

    watches: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.anchor: dict[str, Tensor] = {}

    def begin(self, params: NamedTensors) -> None: ...

    def penalty(self, params: NamedTensors) -> Tensor | None:
        if not self.anchor:
            return None
        return sum(
            ((params[n] - t).square().sum() for n, t in self.anchor.items()), torch.zeros(())
        )

    def consolidate(self, consolidation: Any) -> None:
        self.anchor = {name: tensor.clone() for name, tensor in consolidation.items()}

    def state(self) -> dict[str, Any]:
        return {"anchor": dict(self.anchor)}

    def restore(self, state: dict[str, Any]) -> None:
        self.anchor = dict(state["anchor"])


class _MissesTheAnchor(_Pull):
    def penalty(self, params: NamedTensors) -> Tensor | None:
        found = super().penalty(params)
        return None if found is None else found + 1.0


class _PullsFromTheStart(_Pull):
    def begin(self, params: NamedTensors) -> None:
        self.anchor = dict(params)


class _HasNoGradient(_Pull):
    def penalty(self, params: NamedTensors) -> Tensor | None:
        found = super().penalty({name: tensor.detach() for name, tensor in params.items()})
        return None if found is None else found + 0.0 * params["w"].sum()


class _RestoresNothing(_Pull):
    def restore(self, state: dict[str, Any]) -> None:
        self.anchor = {name: torch.zeros_like(tensor) for name, tensor in state["anchor"].items()}

    def consolidate(self, consolidation: Any) -> None:
        if not self.anchor:
            super().consolidate(consolidation)


class _IsAVector(_Pull):
    def penalty(self, params: NamedTensors) -> Tensor | None:
        found = super().penalty(params)
        return None if found is None else found.reshape(1)


class _Regularizers(RegularizerContract):
    regularizer: ClassVar[Callable[[], Any]]

    def build(self) -> Regularizer:
        built: Regularizer = type(self).regularizer()
        return built

    def params(self, seed: int) -> dict[str, Tensor]:
        return {"w": torch.randn(3, generator=torch.Generator().manual_seed(seed))}

    def learn(self, regularizer: Regularizer, params: Any) -> None:
        regularizer.consolidate(params)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_Pull, []),
        (_MissesTheAnchor, ["the penalty is not zero at the anchor"]),
        (_PullsFromTheStart, ["there is a penalty before any task has ended"]),
        (_HasNoGradient, ["the penalty has no gradient"]),
        (_RestoresNothing, ["the restored regularizer went another way"]),
        (_IsAVector, ["the penalty is not one number"]),
    ],
)
def test_a_regularizer_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    contract = type("Contract", (_Regularizers,), {"regularizer": staticmethod(broken)})

    assert _broken_promises(contract) == expected


# families and nets


class _IgnoresItsSeed(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return super().tasks(7, scenario)


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


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (toys.Pictures, []),
        (_IgnoresItsSeed, ["the data seed is ignored"]),
        (_TellsTheTask, ["the runner, not the task, says which task it is"]),
        (_HasATaskTooFew, ["the spec promises another number of tasks"]),
    ],
)
def test_a_family_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    class Contract(FamilyContract):
        def build(self) -> TaskFamily:
            family: TaskFamily = broken(toys.TwoParams())
            return family

    assert _broken_promises(Contract) == expected


class _DrawsItsWeightsGlobally(toys.Linear):
    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {name: torch.randn(shape) for name, shape in self.shapes.items()}


class _ScalesItsWeights(toys.Linear):
    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        for tensor in params.values():
            tensor.detach().mul_(1.5)
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

    assert set(expected) <= set(_broken_promises(Contract))
    assert bool(expected) == bool(_broken_promises(Contract))


# executors


class _InThisProcess:
    """A sound executor; the broken ones change one of its parts."""

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        registry = Registry.discover()
        for group in groups:
            if should_stop():
                return
            for cell in group:
                listener.started(cell)
            for cell in group:
                listener.finished(cell, self.run(cell, registry))

    def run(self, cell: Cell, registry: Registry) -> Record:
        return run_cell(cell, registry, lambda progress: None)


class _NeverStops(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        super().execute(groups, listener, lambda: False)


class _StopsAtNoOnesWish(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        super().execute(groups[:2], listener, should_stop)


class _FinishesAfterAStop(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        for cell in itertools.chain(*groups):
            listener.started(cell)
        for cell in itertools.chain(*groups):
            listener.finished(cell, self.run(cell, Registry.discover()))
            if should_stop():
                listener.finished(groups[-1][-1], self.run(groups[-1][-1], Registry.discover()))
                return


class _StartsNothing(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        for cell in itertools.chain(*groups):
            listener.finished(cell, self.run(cell, Registry.discover()))


class _FinishesTwice(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        super().execute(groups, listener, should_stop)
        if not should_stop():
            listener.finished(groups[0][0], self.run(groups[0][0], Registry.discover()))


class _StartsTwice(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        if not should_stop():
            listener.started(groups[0][0])
        super().execute(groups, listener, should_stop)


class _RunsWithHalfTheBudget(_InThisProcess):
    def run(self, cell: Cell, registry: Registry) -> Record:
        half = replace(cell, config=cell.config.model_copy(update={"budget": 0.5}))
        found = super().run(half, registry)
        return found.model_copy(update={"config": cell.config})


class _MixesUpItsRecords(_InThisProcess):
    def run(self, cell: Cell, registry: Registry) -> Record:
        record = super().run(cell, registry)
        other = cell.config.model_copy(update={"seed": cell.config.seed + 1})
        return record.model_copy(update={"config": other})


class _RaisesWhatACellRaises(_InThisProcess):
    def run(self, cell: Cell, registry: Registry) -> Record:
        record = super().run(cell, registry)
        assert record.failure is None, "the cell raised"
        return record


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_InThisProcess, set()),
        (
            _NeverStops,
            {
                "the executor began a cell although told to stop",
                "the executor went on to the end although told to stop",
            },
        ),
        (_StopsAtNoOnesWish, {"not every cell was started once"}),
        (_FinishesAfterAStop, {"a cell got a record after the executor was told to stop"}),
        (_StartsNothing, {"a cell was finished that had not been started"}),
        (_FinishesTwice, {"a cell was finished twice"}),
        (_StartsTwice, {"not every cell was started once"}),
        (_RunsWithHalfTheBudget, {"a record has another result than the runner's"}),
        (_MixesUpItsRecords, {"a cell got the record of another"}),
        (_RaisesWhatACellRaises, {"the cell raised"}),
    ],
)
def test_an_executor_that_breaks_a_promise_is_caught(broken: Any, expected: set[str]) -> None:
    class Contract(ExecutorContract):
        def build(self) -> Executor:
            executor: Executor = broken()
            return executor

    found = set(_broken_promises(Contract))

    assert expected <= found
    assert bool(expected) == bool(found)


class TestLocalExecutor(ExecutorContract):
    def build(self) -> Executor:
        return LocalExecutor(LocalParams(jobs=2))


# trackers


class _Deaf:
    """A sound tracker: it hears what it is told, and does nothing."""

    def started(self, start: Start) -> None: ...
    def learnt(self, points: Any) -> None: ...
    def evaluated(self, evaluation: Any) -> None: ...
    def finished(self, record: Record, summary: Any) -> None: ...


class _KnowsOnlyGoodEnds(_Deaf):
    def finished(self, record: Record, summary: Any) -> None:
        self.final = summary["final_accuracy"]


class _ChangesTheNumbers(_Deaf):
    def started(self, start: Start) -> None:
        object.__setattr__(start.config.training, "learning_rate", 1.0)


class _BeginsOnceOnly(_Deaf):
    def started(self, start: Start) -> None:
        if start.done:
            raise ValueError("there is a run already")


class _IsAlone(_Deaf):
    running: ClassVar[int] = 0

    def started(self, start: Start) -> None:
        type(self).running += 1
        if self.running > 1:
            raise ValueError("there is another cell")

    def finished(self, record: Record, summary: Any) -> None:
        type(self).running -= 1


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_Deaf, None),
        (_KnowsOnlyGoodEnds, "in 'finished' and was told no more (KeyError: 'final_accuracy')"),
        (_ChangesTheNumbers, "the tracker changed a result"),
        (_BeginsOnceOnly, "in 'started' and was told no more (ValueError: there is a run already)"),
        (_IsAlone, "in 'started' and was told no more (ValueError: there is another cell)"),
    ],
)
def test_a_tracker_that_breaks_a_promise_is_caught(broken: Any, expected: str | None) -> None:
    class Contract(TrackerContract):
        def build(self) -> Tracker:
            tracker: Tracker = broken()
            return tracker

    found = _broken_promises(Contract)

    assert any(promise.endswith(expected) for promise in found) if expected else found == []
