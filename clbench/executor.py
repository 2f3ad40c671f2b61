"""Cells -> records: what an executor is. The engine itself is a plugin (`clbench.local`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

from clbench.matrix import Cell, Group
from clbench.params import Params
from clbench.records import Record

WORKER_DIED = "ProcessExpired"
"""Type of the failure of a cell whose worker was ended from outside; it can go on another time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running cell is.

    Attributes:
        cell_id: Which one.
        task: Task being learnt, from 0.
        num_tasks: How many tasks, K.
        done: Training steps done, of the whole cell.
        total: Training steps of the whole cell.
        loss: Mean task loss lately; None before the first step.
        score: Mean training score lately, in the metric's unit; None before the first step.
        resumed_at: Training steps of the checkpoint that it goes on from; 0: from none.
    """

    cell_id: str
    task: int
    num_tasks: int
    done: int
    total: int
    loss: float | None = None
    score: float | None = None
    resumed_at: int = 0


class Listener(Protocol):
    """Who is told what happens, in the process that called the executor."""

    def started(self, cell: Cell) -> None:
        """A cell has begun."""

    def progressed(self, progress: Progress) -> None:
        """A running cell has come further; at most a few times a second per cell."""

    def finished(self, cell: Cell, record: Record) -> None:
        """A cell has ended, in whatever way."""


class Executor(Protocol):
    """An engine that runs groups of cells. Constructed as ``Executor(params)``.

    A group is a single cell, or several that run in one process, in lockstep. It is begun, ended,
    limited in time and memory and cut off as one; listeners are told of each of its cells.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]

    def __init__(self, params: Any) -> None: ...

    def execute(
        self,
        groups: Sequence[Group],
        listener: Listener,
        should_stop: Callable[[], bool],
    ) -> None:
        """Run every group; each cell ends in one `Listener.finished` call, whatever happens to it.

        An exception, a killed process or a time-out becomes a failed record; the others go on.
        When `should_stop` turns true, no further group is begun and running ones are ended
        without a record. Keyboard interrupts end all workers before they are raised on.
        """


@runtime_checkable
class Previewing(Protocol):
    """An executor that can say beforehand what it would send elsewhere."""

    def preview(self, groups: Sequence[Group]) -> str:
        """What running these groups would send, as text for ``--dry-run``."""


@runtime_checkable
class KnowsWorkers(Protocol):
    """An executor that knows how many groups it runs at once.

    Cells are put into groups by themselves only as far as every worker has one.
    """

    @property
    def num_workers(self) -> int | None:
        """How many; None where these parameters do not tell."""
