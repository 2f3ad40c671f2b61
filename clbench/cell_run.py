"""The run of one cell, piece by piece: building, training, evaluating, checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, count
from typing import Any, Protocol, TypeAlias

import torch

from clbench import samples, scoring
from clbench.checkpoints import Checkpoints
from clbench.config import CellConfig, Choice
from clbench.curves import CurveKeeper, DivergedError
from clbench.errors import ClbenchError
from clbench.executor import Progress
from clbench.families import datasets
from clbench.mixing import MixedStream
from clbench.moving import MovedStream
from clbench.params import read
from clbench.promises import check_watches
from clbench.protocols import (
    CPU,
    Batch,
    BatchStream,
    HasArtefacts,
    Learner,
    LearnerContext,
    MainNet,
    Query,
    Regularizer,
    SequenceSpec,
    State,
    Task,
    TaskFamily,
)
from clbench.randomness import generator
from clbench.records import Curve, Online
from clbench.registry import Kind, Registry
from clbench.scenario import OutputLayout
from clbench.tracking import Tracking

Report: TypeAlias = Callable[[Progress], None]
Rows: TypeAlias = list[list[float | None]]

CONSOLIDATION_BATCH = 256
"""Samples at once when a task is consolidated."""
_ANOTHER = "\n    was it installed anew meanwhile, or is it another on this machine?"
_TOGETHER = ("train", "total")  # clocks of what runs in lockstep do at the same time


class HasState(Protocol):
    """Whatever a checkpoint can hold."""

    def state(self) -> State:
        """Everything that `restore` needs."""


class Keeper(HasState, Protocol):
    """What keeps more of a run than scores."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


@dataclass(slots=True)
class CellRun:
    """The run of one configuration: what the loops of `clbench.regimes` are made of.

    Attributes:
        config: What to run.
        registry: Where its plugins are found.
        report: Told of the progress, a few times a second.
        checkpoints: Where to leave checkpoints; None: nowhere.
        saved: What is in the checkpoint to go on from; None: nothing.
        tracking: Told of what is learnt; by default it tells nobody.
        sibling: The run of another seed of the same cell, to share data with.
        share: Part of the time of what several runs do together that counts as this run's.
        lockstep: Cells that began together, with this one.
        device: Where it computes.
        width: Cells that took their latest training step together, with this one.
        rows: The rows of R so far.
        total: Training steps in all.
        resumed_at: Training steps of the checkpoint that it goes on from; 0: from none.
    """

    config: CellConfig
    registry: Registry
    report: Report
    checkpoints: Checkpoints | None = None
    saved: State | None = None
    tracking: Tracking = field(default_factory=Tracking)
    sibling: CellRun | None = None
    share: float = 1.0
    lockstep: int = 1
    device: torch.device = CPU
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
    artefacts: dict[str, tuple[tuple[float, ...], ...]] = field(init=False, default_factory=dict)
    width: int = field(init=False, default=1)
    rows: Rows = field(init=False, default_factory=list)
    done: int = field(init=False, default=0)
    total: int = field(init=False, default=0)
    resumed_at: int = field(init=False, default=0)
    _begun: dict[str, float] = field(init=False, default_factory=dict)
    _keeper: Keeper | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        config = self.config
        self.family = self.sibling.family if self.sibling else self._family()
        spec = self.family.spec
        self.layout = OutputLayout(
            config.scenario, config.heads, spec.num_tasks, spec.outputs_per_task
        )
        self.net = self._net(spec, self.layout, {})

    def _build(self, kind: Kind, choice: Choice, /, *arguments: object, **parts: object) -> Any:
        registered = self.registry.find(kind, choice.name)
        loaded, plugin = registered.load(), registered.plugin
        asked = self.config.plugins.get(plugin.distribution)
        if (loaded.version, plugin.version) != (choice.version, asked):
            raise ClbenchError(
                f"{kind} '{choice.name}' is here at version {loaded.version}, of "
                f"{plugin.distribution} {plugin.version}; asked for is version {choice.version}, "
                f"of {plugin.distribution} {asked}{_ANOTHER}"
            )
        return loaded(read(loaded.Params, choice.params), *arguments, **parts)

    def _family(self) -> TaskFamily:
        task = self.config.task
        found = datasets(task, self.registry)
        for dataset in found.values():
            plugin = dataset.plugin
            asked = self.config.plugins.get(plugin.distribution)
            if plugin.version != asked:
                raise ClbenchError(
                    f"dataset '{dataset.name}' is here of {plugin.distribution} {plugin.version}; "
                    f"asked for is that of {plugin.distribution} {asked}{_ANOTHER}"
                )
        loaded = {field: dataset.load() for field, dataset in found.items()}
        family: TaskFamily = self._build("task", task, **loaded)
        return family

    def _net(self, spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]) -> MainNet:
        model = self.config.model
        params = {**model.params, **changes}
        net: MainNet = self._build(
            "model", model.model_copy(update={"params": params}), spec, layout
        )
        return net

    def _regularizers(self, net: MainNet) -> tuple[Regularizer, ...]:
        made = []
        for choice in self.config.regularizers:
            made.append(self._build("regularizer", choice, net))
            check_watches(f"regularizer '{choice.name}'", made[-1])
        return tuple(made)

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
            device=self.device,
            generator=lambda name: generator(config.seed, *purpose, name),
            model_seed=config.seed,
        )
        learner: Learner = self._build("learner", config.learner, context)
        return learner

    @contextmanager
    def clock(self, name: str) -> Iterator[None]:
        """Add the time spent inside to one of the times of the record."""
        self._begun[name] = time.perf_counter()
        yield
        self.seconds[name] = self._spent(name)
        del self._begun[name]

    def _spent(self, name: str) -> float:
        """Seconds so far, with those of a clock that is running."""
        begun = self._begun.get(name)
        if begun is None:
            return self.seconds[name]
        share = self.share if name in _TOGETHER else 1.0
        return self.seconds[name] + share * (time.perf_counter() - begun)

    def prepare(self) -> None:
        """Make the data, and tell the trackers that the cell begins.

        Raises:
            ClbenchError: The tasks are not as many as the family's spec says, or one that is to be
                tested has no test samples; or the sibling's tasks have other steps, so they cannot
                be taken together.
        """
        with self.clock("data"):
            if self.sibling and self.sibling.config.data_seed == self.config.data_seed:
                self.tasks, self.tests = self.sibling.tasks, self.sibling.tests
            else:
                self.tasks, self.tests = samples.made(
                    self.family,
                    self.config.task.name,
                    self.layout,
                    self.config.data_seed,
                    self.device,
                )
        steps = [self.steps(i) for i in range(len(self.tasks))]
        if self.sibling and steps != [self.sibling.steps(i) for i in range(len(self.tasks))]:
            raise ClbenchError(
                f"the tasks of seed {self.config.seed} have other numbers of training steps "
                f"than those of seed {self.sibling.config.seed}"
            )
        self.total = sum(steps)
        self.resumed_at = self.saved["done"] if self.saved else 0
        metric = self.family.objective.metric
        self.tracking.started(self.config, metric, len(self.tasks), self.total, self.resumed_at)

    def steps(self, task_id: int) -> int:
        """Training steps that the task gets."""
        size = self.tasks[task_id].train_size
        return self.config.training.steps(size, self.config.budget)

    def evaluate(self, learner: Learner) -> list[float | None]:
        """The score on the test set of every task, with the id withheld where it must be."""
        with self.clock("evaluate"):
            return [self._score(learner, j) for j in range(len(self.tasks))]

    def _score(self, learner: Learner, task_id: int) -> float | None:
        told = task_id if self.config.scenario.gives_task_id_at_test else None
        rows, objective = self.layout.rows(told), self.family.objective
        total, scored = 0.0, 0
        for batch in self.tests[task_id]:
            outputs = scoring.predicted(learner, batch, told, rows.stop - rows.start)
            tally = objective.tally(outputs, batch)
            total, scored = total + tally.total, scored + tally.scored
            if outputs.isnan().any() or not math.isfinite(total):
                raise DivergedError(
                    f"an output on the test set of task {task_id} is infinite or not a number "
                    f"by training step {self.done}"
                )
        if not scored:
            return None
        scoring.check_range(objective.metric, total / scored, scored, task_id)
        return total / scored

    def queries(self, task_id: int) -> list[Query]:
        """The test set of a task without its targets, with the id withheld where it must be."""
        told = task_id if self.config.scenario.gives_task_id_at_test else None
        return [
            Query(inputs=batch.inputs, task_id=told, window=batch.window)
            for batch in self.tests[task_id]
        ]

    def resume(self, learner: Learner | None, keeper: Keeper | None) -> None:
        """Take back what a checkpoint holds of the whole run.

        Args:
            learner: Takes back its state where the checkpoint was made at the end of a task; None
                where every task has a learner of its own.
            keeper: Keeps what is recorded besides scores, if anything does.
        """
        self._keeper = keeper
        saved = self.saved
        if saved is None:
            return
        self.rows = [list(row) for row in saved["rows"]]
        self.curves = [Curve(**curve) for curve in saved["curves"]]
        self.done = saved["done"]
        for name, seconds in saved["seconds"].items():
            self.seconds[name] += seconds
        if keeper is not None:
            keeper.restore(saved["keeper"])
        if saved["step"] == 0 and learner is not None:
            learner.restore(saved["learner"])

    def keep_artefacts(self, learner: Learner) -> None:
        """Keep what the learner of all tasks shows of itself, if it shows anything."""
        if isinstance(learner, HasArtefacts):
            self.artefacts = {
                name: tuple(map(tuple, matrix.tolist()))
                for name, matrix in learner.artefacts().items()
            }

    def save_task_end(self, learner: Learner | None) -> None:
        """Tell the trackers its row, and leave a checkpoint at the end of a task.

        The argument `learner` is as in `resume`.
        """
        self.tracking.evaluated(self.done, len(self.rows) - 1, self.rows[-1])
        if self.checkpoints:
            self.save(0, learner)

    def save(self, step: int, learner: Learner | None, **parts: HasState) -> None:
        """Leave a checkpoint: after `step` steps on a task with its parts, or 0 at its end."""
        assert self.checkpoints is not None  # or nobody asks
        self.checkpoints.save(
            {
                "step": step,
                "rows": self.rows,
                "curves": [curve.model_dump() for curve in self.curves],
                "done": self.done,
                "left": self.total - self.done,
                "lockstep": self.lockstep,
                "width": self.width,
                "seconds": {name: self._spent(name) for name in self.seconds},
                "keeper": self._keeper.state() if self._keeper else None,
                "learner": learner.state() if learner else None,
                **{name: part.state() for name, part in parts.items()},
            }
        )

    def tell(self, task_id: int, curve: CurveKeeper, before: int) -> None:
        """Report the progress; `before` are the steps on earlier tasks."""
        self.tracking.learnt(before, curve)
        loss = curve.losses[-1] if curve.losses else None
        score = curve.scores[-1] if curve.scores else None
        total, resumed_at = self.total, self.resumed_at
        progress = Progress(
            self.config.id, task_id, len(self.tasks), self.done, total, loss, score, resumed_at
        )
        self.report(progress)

    def consolidate(self, learner: Learner, task_id: int) -> None:
        """Tell the learner that a task has ended, with the task's training data at hand."""
        purposes = chain(["consolidation"], map("consolidation-{}".format, count(2)))

        def fresh() -> BatchStream:
            return self.stream(task_id, next(purposes))

        with self.clock("consolidate"):
            learner.end_task(task_id, _TaskData(fresh, self.tasks[task_id].train_size))

    def stream(self, task_id: int, purpose: str) -> BatchStream:
        """Training samples of one task with its id where the scenario gives it."""
        told = task_id if self.config.scenario.gives_task_id_at_train else None
        order = generator(self.config.seed, purpose, task_id)
        return self._here(_NamedStream(self.tasks[task_id].train_stream(order), told))

    def mixed_stream(self, num_tasks: int, *purpose: str | int) -> BatchStream:
        """Training samples of the first `num_tasks` tasks, mixed, in the orders of `purpose`."""
        streams = [
            task.train_stream(generator(self.config.seed, *purpose, "order", j))
            for j, task in enumerate(self.tasks[:num_tasks])
        ]
        drawing = generator(self.config.seed, "mixing", num_tasks)
        told = self.config.scenario.gives_task_id_at_train
        return self._here(MixedStream(streams, drawing, told))

    def _here(self, stream: BatchStream) -> BatchStream:
        """The stream with its batches on the device of the cell."""
        return stream if self.device == CPU else MovedStream(stream, self.device)


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


@dataclass(frozen=True, slots=True)
class _TaskData:
    """`clbench.protocols.TaskData`, with a fresh stream for each call."""

    fresh: Callable[[], BatchStream]
    num_samples: int

    def batches(self, num_samples: int) -> Iterator[Batch]:
        stream = self.fresh()
        while num_samples > 0:
            size = min(CONSOLIDATION_BATCH, num_samples)
            num_samples -= size
            yield stream.next(size)
