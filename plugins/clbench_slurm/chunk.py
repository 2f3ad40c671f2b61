"""What a job does: the groups of its chunk, each in a worker process of its own.

The job's first process only watches. So the signal that Slurm sends before the time limit never
meets a cell in the middle of a step, and a cell that takes its process down takes nothing else.
Records are handed over through the folder of the run as they come, and in the job's result at the
end. A job that is requeued runs the cells that have no record yet, each from its last checkpoint.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from clbench.devices import Device, gpus
from clbench.executor import WORKER_DIED, Progress
from clbench.files import written_whole
from clbench.local_pool import run_pool
from clbench.matrix import Cell, Group
from clbench.records import Record, from_text, to_text
from clbench.worker import reporter, run_here


@dataclass(frozen=True, slots=True)
class Chunk:
    """The work of one job.

    Attributes:
        groups: What to run.
        folder: Of the run, seen by the jobs and by who sent them.
        jobs: Groups at once.
        timeout: Seconds that a group may take; None: as long as it likes.
        checkpoint_seconds: Time between two checkpoints of a cell.
        device: Where cells compute.
    """

    groups: Sequence[Group]
    folder: Path
    jobs: int
    timeout: float | None
    checkpoint_seconds: float
    device: Device

    @property
    def cells(self) -> list[Cell]:
        """Those of all groups."""
        return [cell for group in self.groups for cell in group]

    def __call__(self) -> list[Record]:
        """Run the cells that have no record in the folder yet; all records."""
        outbox = _Outbox(self.folder)
        left = [self._without_record(group) for group in self.groups]
        todo = [group for group in left if group]
        seconds, device = self.checkpoint_seconds, self.device
        work = partial(run_here, checkpoint_seconds=seconds, device=device)
        with tempfile.TemporaryDirectory(prefix="clbench-") as name:
            jobs = min(self.jobs, len(todo)) or 1
            folder, count = Path(name), gpus(device)
            run_pool(todo, outbox, _never, work, jobs, self.timeout, folder, count)
        done = [find(self.folder, cell) for cell in self.cells]
        return [*filter(None, done), *outbox.died]

    def _without_record(self, group: Group) -> Group:
        return tuple(cell for cell in group if find(self.folder, cell) is None)

    def checkpoint(self) -> Any:
        """What submitit puts into the queue again: the same, as the cells keep their state."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _never() -> bool:
    return False


class _Outbox:
    """Hands over what happens in a job; keeps to itself the records of workers that died.

    Those may have died of the end of the job, which is then requeued.
    """

    def __init__(self, folder: Path) -> None:
        self.died: list[Record] = []
        self._folder, self._report = folder, reporter(folder)

    def started(self, cell: Cell) -> None:
        _mark(self._folder, cell).touch()

    def progressed(self, progress: Progress) -> None:
        self._report(progress)

    def finished(self, cell: Cell, record: Record) -> None:
        if record.failure is not None and record.failure.type == WORKER_DIED:
            self.died.append(record)
        else:
            with written_whole(_path(self._folder, cell), durable=True) as file:
                file.write(to_text(record).encode())


def find(folder: Path, cell: Cell) -> Record | None:
    """The record of a cell in the folder of a run, if it has ended.

    Raises:
        RecordError: There is one, and it is damaged.
    """
    path = _path(folder, cell)
    return from_text(path.read_text(encoding="utf-8"), path) if path.exists() else None


def has_started(folder: Path, cell: Cell) -> bool:
    """Whether a job has begun with a cell."""
    return _mark(folder, cell).exists()


def _path(folder: Path, cell: Cell) -> Path:
    return folder / "records" / f"{cell.config.id}.json"


def _mark(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.config.id}.started"
