"""File -> Suite. Every mistake in a suite file is found here, before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from clbench.config import CellConfig
from clbench.registry import Registry


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a row must reach: ``final_accuracy >= 97``.

    Attributes:
        metric: Name of a summary metric (`clbench.metrics.SUMMARIES`).
        relation: ``>=`` or ``<=``.
        bound: In the unit of the metric.
    """

    metric: str
    relation: str
    bound: float


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: one method on one task, over all seeds.

    Attributes:
        task: Key of the task in the suite.
        method: Key of the method in the suite.
        task_label: Heading the row stands under.
        method_label: Label of the row.
        cells: One resolved configuration per seed, in the order of the suite's seeds, at full
            budget.
        excluded: Why the row is not run; None where it is.
        thresholds: What its full-budget records must reach.
    """

    task: str
    method: str
    task_label: str
    method_label: str
    cells: tuple[CellConfig, ...]
    excluded: str | None
    thresholds: tuple[Threshold, ...]

    @property
    def key(self) -> str:
        """``task/method``, what ``--only`` globs match."""
        return f"{self.task}/{self.method}"


@dataclass(frozen=True, slots=True)
class Suite:
    """A checked suite file.

    Attributes:
        path: The file.
        name: The ``suite`` key.
        title, question, source: Free text of the file, empty where absent.
        published: Name of a ledger under ``results/published/``, or None.
        seeds: Model seeds.
        budgets: Name -> fraction of the full budget.
        rows: Task by task in the order of the file, method by method within a task.
    """

    path: Path
    name: str
    title: str
    question: str
    source: str
    published: str | None
    seeds: tuple[int, ...]
    budgets: Mapping[str, float]
    rows: tuple[Row, ...]


def load(path: Path, registry: Registry) -> Suite:
    """The suite in a file.

    Raises:
        SuiteError: With every mistake of the file, each with its line.
    """
    raise NotImplementedError
