"""Live tracking: what a tracker is, and what tells it of a cell while the cell runs.

A tracker shows the numbers of a record before there is a record, and decides none of them: it is no
part of a configuration, is never asked anything, and if it raises it is told no more and the cell
goes on. Trackers live in the process that runs the cell, whatever engine began it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from clbench.config import CellConfig, Choice
from clbench.errors import in_one_line
from clbench.matrix import Cell
from clbench.metrics import SUMMARIES, Metric, names
from clbench.params import Params, read
from clbench.records import Record
from clbench.registry import Registry

if TYPE_CHECKING:
    from clbench.curves import CurveKeeper


@dataclass(frozen=True, slots=True)
class Start:
    """A cell that begins to learn, or goes on after it was cut off.

    Attributes:
        suite: Name of the suite that asked for it.
        row: Row of the suite, ``task/method``.
        config: All that determines the result; `config.id` names the record.
        metric: Of every score.
        num_tasks: How many tasks, K.
        total: Training steps of the whole cell.
        done: Training steps at its last checkpoint; 0 where it begins from the beginning. What a
            tracker was told up to there stands; what it was told after that is told again.
    """

    suite: str
    row: str
    config: CellConfig
    metric: Metric
    num_tasks: int
    total: int
    done: int


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a learning curve, as the record keeps it.

    Attributes:
        step: Training steps of the whole cell so far, from 1.
        task: Task being learnt, from 0 (in joint training: 0).
        loss: Mean task loss since the previous point.
        score: Training score of the batch at the point, before the step on it, in the metric's
            unit.
    """

    step: int
    task: int
    loss: float
    score: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Scores on the test sets: a row of R.

    Attributes:
        step: Training steps of the whole cell so far.
        task: Task learnt last, from 0; None before any learning.
        scores: (K,), in the metric's unit; None where not measured.
    """

    step: int
    task: int | None
    scores: tuple[float | None, ...]


class Tracker(Protocol):
    """Whoever is told of a cell while it runs. Constructed as ``Tracker(params)``.

    It is constructed when the command begins, to see whether it can work here (if not, it raises
    `clbench.errors.ClbenchError`), and once for each cell, where the cell runs. The constructor
    writes nothing. Each tracker of a cell is told, in this order::

        tracker.started(start)
        tracker.evaluated(evaluation)       # before any learning, unless the cell goes on
        for i in range(K):
            tracker.learnt(points)          # now and then
            tracker.evaluated(evaluation)   # R[i], if anything of it is measured
        tracker.finished(record, summary)   # unless the process is ended from outside

    All is told before the checkpoint that holds it is written. So a tracker that returns when what
    it was told is safe has no gap after any cut, and nothing twice if it heeds `Start.done`.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]

    def __init__(self, params: Any) -> None: ...

    def started(self, start: Start) -> None:
        """The data are made, and the cell begins or goes on; without data nothing is told."""

    def learnt(self, points: Sequence[Point]) -> None:
        """New points of the learning curve, in order of their steps, each told once.

        About a hundred per task, and a thousand in all where tasks are many; told a few times a
        second at most.
        """

    def evaluated(self, evaluation: Evaluation) -> None:
        """The test sets of all tasks have been scored."""

    def finished(self, record: Record, summary: Mapping[str, float]) -> None:
        """The cell has ended well, or has failed.

        Where several cells fail in lockstep, each of them then begins anew with a new tracker.

        Args:
            record: What will be kept, unless the cell begins anew.
            summary: Name of a table's column -> value, such as ``final_accuracy``, as far as
                measured; empty where there is no result.
        """


@dataclass(slots=True)
class Tracking:
    """Tells the trackers of a cell what happens, and lets none of them do any harm.

    Attributes:
        suite: Of the cell.
        row: Of the cell.
        trackers: Name -> tracker that is still told.
        notes: What went wrong.
    """

    suite: str = ""
    row: str = ""
    trackers: dict[str, Tracker] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _told: int = field(init=False, default=0)
    _is_on: bool = field(init=False, default=False)

    @classmethod
    def of(cls, cell: Cell, registry: Registry) -> Tracking:
        """The tracking that a cell asks for."""
        tracking = cls(cell.suite, cell.row)
        for choice in cell.trackers:
            try:
                tracking.trackers[choice.name] = _build(choice, registry)
            except (Exception, SystemExit) as error:
                tracking._note(choice.name, "at its construction", error)
        return tracking

    def started(
        self, config: CellConfig, metric: Metric, num_tasks: int, total: int, done: int
    ) -> None:
        """The cell begins, or goes on after so many training steps."""
        self._told, self._is_on = done, True
        start = Start(self.suite, self.row, config, metric, num_tasks, total, done)
        self._tell("started", start)

    def learnt(self, before: int, curve: CurveKeeper) -> None:
        """The curve of a task has come further; `before` are the cell's steps before the task."""
        if not self.trackers:
            return
        kept = curve.curve()
        points = tuple(
            Point(before + iteration, kept.task, loss, score)
            for iteration, loss, score in zip(kept.iterations, kept.loss, kept.score, strict=True)
            if before + iteration > self._told
        )
        if points:
            self._told = points[-1].step
            self._tell("learnt", points)

    def evaluated(self, step: int, task: int | None, scores: Sequence[float | None]) -> None:
        """Scores after so many steps; those before a checkpoint have been told."""
        if step >= self._told and any(score is not None for score in scores):
            self._tell("evaluated", Evaluation(step, task, tuple(scores)))

    def finished(self, record: Record) -> Record:
        """The cell has ended with a record; the record with notes of what went wrong here."""
        if self._is_on:
            self._tell("finished", record, summary(record))
        if not self.notes or record.provenance is None:
            return record
        notes = (*record.provenance.notes, *self.notes)
        provenance = record.provenance.model_copy(update={"notes": notes})
        return record.model_copy(update={"provenance": provenance})

    def _tell(self, what: str, *values: object) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                getattr(tracker, what)(*values)
            except (Exception, SystemExit) as error:
                del self.trackers[name]
                self._note(name, f"in '{what}'", error)

    def _note(self, name: str, where: str, error: BaseException) -> None:
        note = f"tracker '{name}' failed {where} and was told no more ({in_one_line(error)})"
        self.notes.append(note.encode(errors="replace").decode())  # half characters, of file names


def _build(choice: Choice, registry: Registry) -> Tracker:
    loaded = registry.find("tracker", choice.name).load()
    tracker: Tracker = loaded(read(loaded.Params, choice.params))
    return tracker


def summary(record: Record) -> dict[str, float]:
    """Name of a table's column -> value, as far as a record has it: ``final_accuracy`` and others.

    A score that is no accuracy is named by its metric: ``final_mse``.
    """
    result = record.result
    if result is None:
        return {}
    values = {name: SUMMARIES[key](result) for name, key in names(result.metric.name).items()}
    return {name: value for name, value in values.items() if value is not None}
