"""Writes the curves and the test scores of cells to event files of TensorBoard.

A cell is one run of TensorBoard, in the folder ``SUITE/TASK/METHOD/seed-SEED-ID``. ID is the
beginning of the record's name, since cells of another budget, or of a suite that was edited, have
the same suite, row and seed. What is written, over the training steps of the whole cell:

* ``train/loss``: mean task loss since the point before
* ``train/METRIC``: training score of the batch at the point, before the step on it
* ``test_METRIC/task_j``: ``R[i, j]`` when task i has been learnt; at step 0 before any learning
* ``when_finished/NAME``: ``final_accuracy`` and the other columns of a table
* ``configuration``: text; suite, row, record, and all that determines the result
* ``status``: text; how the cell ended

A cell that goes on after a cut goes on in its run: what was written after its checkpoint is purged
and written again. So does one that is run anew by ``--force``, whose old run is hidden.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import yaml
from pydantic import AfterValidator, Field

from clbench.cache import expand
from clbench.errors import ClbenchError
from clbench.params import Params
from clbench.records import Record
from clbench.tracking import Evaluation, Point, Start

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def _absolute(folder: str) -> str:
    """Where the command was given, which need not be where the cell runs."""
    return str(expand(folder).absolute())


def _check_writable(folder: Path) -> None:
    """Find out beforehand what every cell would find out."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        what = "is not to be written to" if there.is_dir() else "is no folder"
        raise ClbenchError(f"tracker 'tensorboard': {there} {what}")


class TensorBoardParams(Params):
    """Parameters of the TensorBoard tracker."""

    folder: Annotated[str, AfterValidator(_absolute), Field(validate_default=True)] = "runs"
    """Folder of all runs, which ``tensorboard --logdir`` shows."""


class TensorBoardTracker:
    """See the module's text."""

    Params: ClassVar[type[Params]] = TensorBoardParams
    version: ClassVar[int] = 1

    _writer: SummaryWriter
    _metric: str

    def __init__(self, params: TensorBoardParams) -> None:
        if find_spec("tensorboard") is None:
            raise ClbenchError(
                "tracker 'tensorboard' needs tensorboard: pip install 'clbench[tensorboard]'"
            )
        self._folder = Path(params.folder)
        self._step = 0
        _check_writable(self._folder)

    def started(self, start: Start) -> None:
        """Open the run; see `clbench.tracking.Tracker`."""
        from torch.utils.tensorboard import SummaryWriter  # here: the command needs none

        run = Path(start.suite, start.row, f"seed-{start.config.seed}-{start.config.id[:8]}")
        self._step, self._metric = start.done, start.metric.name
        first = start.done + 1 if start.done else 0  # step of what is told next
        self._writer = SummaryWriter(str(self._folder / run), purge_step=first)
        if not start.done:
            self._writer.add_text("configuration", _configuration(start), 0)
        self._writer.flush()

    def learnt(self, points: Sequence[Point]) -> None:
        """Write points of the learning curve."""
        for point in points:
            self._writer.add_scalar("train/loss", point.loss, point.step)
            self._writer.add_scalar(f"train/{self._metric}", point.score, point.step)
            self._step = point.step
        self._writer.flush()

    def evaluated(self, evaluation: Evaluation) -> None:
        """Write the scores on all tasks."""
        for j, score in enumerate(evaluation.scores):
            if score is not None:
                self._writer.add_scalar(f"test_{self._metric}/task_{j}", score, evaluation.step)
        self._step = evaluation.step
        self._writer.flush()

    def finished(self, record: Record, summary: Mapping[str, float]) -> None:
        """Write the summary, and close the run."""
        for name, value in summary.items():
            self._writer.add_scalar(f"when_finished/{name}", value, self._step)
        cause = f": {record.failure.message}" if record.failure else ""
        self._writer.add_text("status", record.status + cause, self._step)
        self._writer.close()


def _configuration(start: Start) -> str:
    """What the run is of, as a block of YAML in Markdown."""
    about = {"suite": start.suite, "row": start.row, "record": f"{start.config.id}.json"}
    values = about | start.config.model_dump(mode="json")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return "\n".join(f"    {line}" for line in text.splitlines())
