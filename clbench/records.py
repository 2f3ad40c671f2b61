"""Record: what one cell gave, and its JSON form."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from clbench.config import CellConfig
from clbench.params import Params

FORMAT: Literal[1] = 1

Status = Literal["ok", "failed", "timed-out", "out-of-memory", "skipped"]


class MetricInfo(Params):
    """The metric of R, as stored (see `clbench.metrics.Metric`)."""

    name: str
    unit: str
    better: Literal["higher", "lower"]


class Curve(Params):
    """Learning of one task, sampled at about a hundred points."""

    task: int
    """Task id (in joint training: 0)."""
    iterations: tuple[int, ...]
    """Steps taken on the task, at each point."""
    loss: tuple[float, ...]
    """Mean task loss since the previous point."""
    score: tuple[float, ...]
    """Training score of the batch at each point, before the step on it, in the metric's unit."""


class Online(Params):
    """Prediction before update, of a task-free stream: means over the samples of each task."""

    loss: tuple[float, ...]
    """(K,): mean loss."""
    score: tuple[float, ...]
    """(K,): score in the metric's unit."""


class Result(Params):
    """What a cell measured; equal for equal configurations on equal hardware."""

    metric: MetricInfo
    R: tuple[tuple[float | None, ...], ...]
    """(K, K): score on task j after learning task i; None where not measured."""
    initial: tuple[float | None, ...]
    """(K,): score on each task before any learning (for forward transfer)."""
    curves: tuple[Curve, ...]
    num_parameters: dict[str, int]
    """``trained``: numbers that learning changes; ``main_net``: those of the main net."""
    iterations: int
    """Training steps in all."""
    online: Online | None = None
    """Given for task-free streams, and only for them."""


class Timing(Params):
    """Seconds of wall time by what they were spent on."""

    data: float
    train: float
    consolidate: float
    evaluate: float
    total: float


class Failure(Params):
    """Why a cell has no result."""

    type: str
    message: str
    traceback: str


class Provenance(Params):
    """Where and with what a record was made; never part of its identity."""

    suite: str
    row: str
    started: str
    """UTC, ISO 8601."""
    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    python: str
    platform: str
    cpu: str
    device: str
    threads: int
    peak_memory_mib: float | None


class Record(Params):
    """One cell's outcome; one JSON file."""

    format: Literal[1] = FORMAT
    status: Status
    config: CellConfig
    result: Result | None = None
    """Given exactly where status is ``ok``."""
    failure: Failure | None = None
    """Given where status is anything else."""
    timing: Timing | None = None
    provenance: Provenance | None = Field(default=None)

    @property
    def id(self) -> str:
        """Of the configuration."""
        return self.config.id
