"""One cell -> one record: the continual-learning loop, and nothing else."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

import torch
from torch import Tensor

from clbench import provenance
from clbench.config import CellConfig, Choice, Regime
from clbench.errors import ClbenchError, UnavailableError
from clbench.executor import Progress
from clbench.matrix import Cell
from clbench.mixing import MixedStream
from clbench.observing import ActivityKeeper, StreamKeeper
from clbench.params import read
from clbench.protocols import (
    Batch,
    BatchStream,
    Learner,
    LearnerContext,
    MainNet,
    Objective,
    Observation,
    Query,
    Regularizer,
    SequenceSpec,
    Task,
    TaskFamily,
)
from clbench.randomness import generator
from clbench.records import Curve, Failure, MetricInfo, Online, Record, Result, Status, Timing
from clbench.registry import Kind, Registry
from clbench.scenario import OutputLayout, Scenario

Report = Callable[[Progress], None]

POINTS = 100
"""Points of a learning curve per task."""
MOST_POINTS = 1000
"""Points of the learning curves of all tasks together."""
REPORT_SECONDS = 0.25
"""Time between two reports of a running cell."""


class DivergedError(ClbenchError):
    """The loss became infinite or not a number."""


def run_cell(cell: Cell, registry: Registry, report: Report) -> Record:
    """Run one cell; whatever happens inside it becomes a record.

    Args:
        cell: What to run.
        registry: Where its plugins are found.
        report: Told of the progress, a few times a second.

    Returns:
        A record of status ``ok``, ``skipped`` (the data is not here), ``out-of-memory`` or
        ``failed`` (with the traceback).
    """
    started = datetime.now(timezone.utc)
    result: Result | None = None
    timing: Timing | None = None
    failure: Failure | None = None
    status: Status = "ok"
    try:
        result, timing = run(cell.config, registry, report)
    except UnavailableError as error:
        status, failure = "skipped", _failure(error)
    except MemoryError as error:
        status, failure = "out-of-memory", _failure(error)
    except (Exception, SystemExit) as error:
        status, failure = "failed", _failure(error)
    return Record(
        status=status,
        config=cell.config,
        result=result,
        failure=failure,
        timing=timing,
        provenance=provenance.collect(cell.suite, cell.row, started),
    )


def _failure(error: BaseException) -> Failure:
    text = "".join(traceback.format_exception(error))
    return Failure(type=type(error).__name__, message=str(error), traceback=text)


def run(config: CellConfig, registry: Registry, report: Report) -> tuple[Result, Timing]:
    """Run one configuration.

    Raises:
        Exception: Whatever a plugin raises.
        DivergedError: A loss is infinite or not a number.
    """
    run = _Run(config, registry, report)
    with run.clock("total"):
        result = run.result()
    return result, Timing(**run.seconds)


@dataclass(slots=True)
class _Run:
    """The run of one configuration."""

    config: CellConfig
    registry: Registry
    report: Report
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(
            ("data", "train", "consolidate", "evaluate", "total"), 0.0
        )
    )
    family: TaskFamily = field(init=False)
    layout: OutputLayout = field(init=False)
    net: MainNet = field(init=False)
    tasks: Sequence[Task] = field(init=False)
    tests: list[list[Batch]] = field(init=False)
    curves: list[Curve] = field(init=False, default_factory=list)
    online: Online | None = field(init=False, default=None)
    statistics: dict[str, tuple[float, ...]] = field(init=False, default_factory=dict)
    done: int = field(init=False, default=0)
    total: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        config = self.config
        self.family = self._build("task", config.task)
        spec = self.family.spec
        self.layout = OutputLayout(
            config.scenario, config.heads, spec.num_tasks, spec.outputs_per_task
        )
        self.net = self._net(spec, self.layout, {})

    def _build(self, kind: Kind, choice: Choice, *arguments: object) -> Any:
        loaded = self.registry.find(kind, choice.name).load()
        return loaded(read(loaded.Params, choice.params), *arguments)

    def _net(self, spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]) -> MainNet:
        model = self.config.model
        params = {**model.params, **changes}
        net: MainNet = self._build(
            "model", model.model_copy(update={"params": params}), spec, layout
        )
        return net

    def _regularizers(self, net: MainNet) -> tuple[Regularizer, ...]:
        return tuple(self._build("regularizer", choice, net) for choice in self.config.regularizers)

    def learner(self, *purpose: str | int) -> Learner:
        """A fresh learner, whose draws are those of `purpose`."""
        config = self.config
        context = LearnerContext(
            spec=self.family.spec,
            net=self.net,
            layout=self.layout,
            objective=self.family.objective,
            training=config.training,
            regularizers=self._regularizers(self.net),
            build_net=self._net,
            build_regularizers=self._regularizers,
            generator=lambda name: generator(config.seed, *purpose, name),
            model_seed=config.seed,
        )
        learner: Learner = self._build("learner", config.learner, context)
        return learner

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the time spent inside to one of the times of the record."""
        begin = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begin

    def result(self) -> Result:
        """Make the data, learn under the regime, and gather what was measured."""
        with self.clock("data"):
            self.tasks = self.family.tasks(self.config.data_seed, self.config.scenario)
            self.tests = [list(task.test_batches()) for task in self.tasks]
        self.total = sum(map(self.steps, self.tasks))
        is_stream = self.config.scenario is Scenario.TASK_FREE
        learn = _stream if is_stream else _REGIMES[self.config.regime]
        learner = self.learner()
        initial = self.evaluate(learner)
        R = learn(self, learner)
        metric = self.family.objective.metric
        own = sum(torch.Size(shape).numel() for shape in self.net.shapes.values())
        return Result(
            metric=MetricInfo(name=metric.name, unit=metric.unit, better=metric.better),
            R=tuple(map(tuple, R)),
            initial=tuple(initial),
            curves=tuple(self.curves),
            num_parameters={"trained": learner.num_parameters, "main_net": own},
            iterations=self.done,
            online=self.online,
            statistics=self.statistics,
        )

    def steps(self, task: Task) -> int:
        """Training steps that the task gets."""
        return self.config.training.steps(task.train_size, self.config.budget)

    def evaluate(self, learner: Learner) -> list[float | None]:
        """The score on the test set of every task, with the id withheld where it must be."""
        with self.clock("evaluate"):
            return [self._score(learner, j) for j in range(len(self.tasks))]

    def _score(self, learner: Learner, task_id: int) -> float | None:
        told = task_id if self.config.scenario.gives_task_id_at_test else None
        total, scored = 0.0, 0
        for batch in self.tests[task_id]:
            query = Query(inputs=batch.inputs, task_id=told, window=batch.window)
            tally = self.family.objective.tally(learner.predict(query), batch)
            total, scored = total + tally.total, scored + tally.scored
        return total / scored if scored else None

    def queries(self, task_id: int) -> list[Query]:
        """The test set of a task without its targets, with the id withheld where it must be."""
        told = task_id if self.config.scenario.gives_task_id_at_test else None
        return [
            Query(inputs=batch.inputs, task_id=told, window=batch.window)
            for batch in self.tests[task_id]
        ]

    def train(
        self,
        learner: Learner,
        task_id: int,
        stream: BatchStream,
        steps: int,
        keep: Callable[[Observation, Batch], None] | None = None,
    ) -> None:
        """Let the learner observe `steps` batches, and keep the learning curve.

        Whatever else is to be kept of each step is told to `keep`.
        """
        points = min(POINTS, max(1, MOST_POINTS // len(self.tasks)))
        curve = _CurveKeeper(task_id, steps, points, self.family.objective)
        size = self.config.training.batch_size
        reported = 0.0
        with self.clock("train"):
            for step in range(1, steps + 1):
                batch = stream.next(size)
                observation = learner.observe(batch)
                self.done += 1
                curve.add(step, observation, batch)
                if keep is not None:
                    keep(observation, batch)
                now = time.perf_counter()
                if now - reported >= REPORT_SECONDS:
                    reported = now
                    self._report(task_id, curve)
        self._report(task_id, curve)
        self.curves.append(curve.curve())

    def _report(self, task_id: int, curve: _CurveKeeper) -> None:
        loss = curve.losses[-1] if curve.losses else None
        score = curve.scores[-1] if curve.scores else None
        progress = Progress(
            self.config.id, task_id, len(self.tasks), self.done, self.total, loss, score
        )
        self.report(progress)

    def consolidate(self, learner: Learner, task_id: int) -> None:
        """Tell the learner that a task has ended, with the task's training data at hand."""
        stream = self.stream(task_id, "consolidation")
        with self.clock("consolidate"):
            learner.end_task(task_id, _TaskData(stream, self.tasks[task_id].train_size))

    def stream(self, task_id: int, purpose: str) -> BatchStream:
        """Training samples of one task with its id where the scenario gives it."""
        told = task_id if self.config.scenario.gives_task_id_at_train else None
        order = generator(self.config.seed, purpose, task_id)
        return _NamedStream(self.tasks[task_id].train_stream(order), told)

    def mixed_stream(self, num_tasks: int) -> MixedStream:
        """Training samples of the first `num_tasks` tasks, mixed."""
        streams = [
            task.train_stream(generator(self.config.seed, "order", j))
            for j, task in enumerate(self.tasks[:num_tasks])
        ]
        drawing = generator(self.config.seed, "mixing", num_tasks)
        return MixedStream(streams, drawing, self.config.scenario.gives_task_id_at_train)


_Rows = list[list[float | None]]


def _sequential(run: _Run, learner: Learner) -> _Rows:
    """One task after another; the score on every task after each."""
    return _one_by_one(run, learner, lambda i: run.stream(i, "order"))


def _cumulative(run: _Run, learner: Learner) -> _Rows:
    """One task after another, each together with the data of all tasks before it."""
    return _one_by_one(run, learner, lambda i: run.mixed_stream(i + 1))


def _one_by_one(run: _Run, learner: Learner, stream: Callable[[int], BatchStream]) -> _Rows:
    R: _Rows = []
    activity = ActivityKeeper(run.net, learner)
    for i, task in enumerate(run.tasks):
        learner.begin_task(i)
        run.train(learner, i, stream(i), run.steps(task))
        if i + 1 < len(run.tasks):
            run.consolidate(learner, i)
        R.append(run.evaluate(learner))
        with run.clock("evaluate"):
            activity.end_task(run.queries(i))
    with run.clock("evaluate"):
        activity.end([run.queries(i) for i in range(len(run.tasks))])
    run.statistics = activity.statistics()
    return R


def _independent(run: _Run, learner: Learner) -> _Rows:
    """Every task from scratch, by a learner of its own: only the diagonal means anything."""
    K = len(run.tasks)
    R: _Rows = [[None] * K for _ in range(K)]
    for i, task in enumerate(run.tasks):
        fresh = learner if i == 0 else run.learner("task", i)
        fresh.begin_task(i)
        run.train(fresh, i, run.stream(i, "order"), run.steps(task))
        R[i][i] = run.evaluate(fresh)[i]
    return R


def _joint(run: _Run, learner: Learner) -> _Rows:
    """All tasks at once, for as many steps as all tasks together: only a last row."""
    K = len(run.tasks)
    learner.begin_task(0)
    run.train(learner, 0, run.mixed_stream(K), run.total)
    R: _Rows = [[None] * K for _ in range(K - 1)]
    return [*R, run.evaluate(learner)]


_REGIMES: dict[Regime, Callable[[_Run, Learner], _Rows]] = {
    "sequential": _sequential,
    "independent": _independent,
    "joint": _joint,
    "cumulative": _cumulative,
}


def _stream(run: _Run, learner: Learner) -> _Rows:
    """Samples without task ids or boundaries: what counts is the prediction before each step.

    The learner is told nothing but the samples; the tasks are windows of the score only.
    """
    keeper = StreamKeeper(learner, run.net, run.layout, run.family.objective)
    for i, task in enumerate(run.tasks):
        keeper.begin_task()
        run.train(learner, i, run.stream(i, "order"), run.steps(task), keep=keeper.add)
        keeper.end_task()
    run.online, run.statistics = keeper.online(), keeper.statistics()
    return [[None] * len(run.tasks) for _ in run.tasks]


class _CurveKeeper:
    """Keeps points of the curve of training losses and scores."""

    def __init__(self, task_id: int, steps: int, points: int, objective: Objective) -> None:
        self.losses: list[float] = []
        self.scores: list[float] = []
        self._iterations: list[int] = []
        self._task_id, self._steps = task_id, steps
        self._every = max(1, steps // points)
        self._objective = objective
        self._loss: Tensor | None = None
        self._since = 0

    def add(self, step: int, observation: Observation, batch: Batch) -> None:
        """Take in a step (from 1); loss and score are read at the points of the curve only."""
        self._loss = observation.loss if self._loss is None else self._loss + observation.loss
        if step % self._every == 0 or step == self._steps:
            tally = self._objective.tally(observation.outputs, batch)
            self._add_point(step, tally.total / tally.scored)

    def _add_point(self, step: int, score: float) -> None:
        total, count = float(self._loss or 0.0), step - self._since
        if not math.isfinite(total):
            raise DivergedError(
                f"the loss of task {self._task_id} is {total} "
                f"between steps {self._since + 1} and {step}"
            )
        self._iterations.append(step)
        self.losses.append(total / count)
        self.scores.append(score)
        self._loss, self._since = None, step

    def curve(self) -> Curve:
        return Curve(
            task=self._task_id,
            iterations=tuple(self._iterations),
            loss=tuple(self.losses),
            score=tuple(self.scores),
        )


@dataclass(frozen=True, slots=True)
class _NamedStream:
    """A stream of one task that says which task it is, where the scenario allows."""

    inner: BatchStream
    task_id: int | None

    def next(self, size: int) -> Batch:
        batch = self.inner.next(size)
        return batch if self.task_id is None else replace(batch, task_id=self.task_id)

    def state(self) -> dict[str, Any]:
        return self.inner.state()

    def restore(self, state: dict[str, Any]) -> None:
        self.inner.restore(state)


CONSOLIDATION_BATCH = 256
"""Samples at once when a task is consolidated."""


@dataclass(frozen=True, slots=True)
class _TaskData:
    """`clbench.protocols.TaskData` over a fresh stream."""

    stream: BatchStream
    num_samples: int

    def batches(self, num_samples: int) -> Iterator[Batch]:
        while num_samples > 0:
            size = min(CONSOLIDATION_BATCH, num_samples)
            num_samples -= size
            yield self.stream.next(size)
