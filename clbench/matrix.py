"""Suite -> the cells to run: method x task x seed, less the excluded ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

from clbench.config import CellConfig, Choice
from clbench.errors import ClbenchError, suggestion
from clbench.suite import Row, Suite


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        suite: Name of the suite.
        row: ``task/method``.
        config: What determines the result (its `id` names the record).
        trackers: Who is told of the run while it goes on; they determine nothing.
        anew: A name for the command, if its cells are to take up no checkpoint of another one.
    """

    suite: str
    row: str
    config: CellConfig
    trackers: tuple[Choice, ...] = ()
    anew: str = ""


Group: TypeAlias = tuple[Cell, ...]
"""Cells that run in one process: a single one, or several in lockstep (`clbench.groups`)."""


def expand(
    suite: Suite,
    only: Sequence[str] = ("*",),
    seeds: Sequence[int] | None = None,
    budget: float = 1.0,
) -> tuple[Cell, ...]:
    """The cells of the rows that match a glob of `only`, at a fraction of the full budget.

    Raises:
        ClbenchError: A glob matches no row, or a seed is not one of the suite's.
    """
    chosen = check_seeds(suite, seeds)
    return tuple(
        Cell(suite.name, row.key, config.model_copy(update={"budget": budget}))
        for row in select(suite, only)
        for config in row.cells
        if config.seed in chosen
    )


def select(suite: Suite, only: Sequence[str]) -> tuple[Row, ...]:
    """The rows that match a glob: of ``task/method``, or of a task or method where it has no ``/``.

    Raises:
        ClbenchError: A glob matches no row.
    """
    for glob in only:
        if not any(_matches(row, glob) for row in suite.rows):
            names = [row.key for row in suite.rows]
            if "/" not in glob:
                names = [*{row.task: 0 for row in suite.rows}, *{r.method: 0 for r in suite.rows}]
            raise ClbenchError(
                f"no row of suite '{suite.name}' matches '{glob}'{suggestion(glob, names)}\n"
                f"    known: {', '.join(names)}"
            )
    return tuple(row for row in suite.rows if any(_matches(row, glob) for glob in only))


def _matches(row: Row, glob: str) -> bool:
    names = [row.key] if "/" in glob or glob == "*" else [row.task, row.method]
    return any(fnmatchcase(name, glob) for name in names)


def check_seeds(suite: Suite, seeds: Sequence[int] | None) -> tuple[int, ...]:
    """The seeds asked for, or all of the suite's.

    Raises:
        ClbenchError: One is not among the suite's.
    """
    if seeds is None:
        return suite.seeds
    for seed in seeds:
        if seed not in suite.seeds:
            listed = ", ".join(map(str, suite.seeds))
            raise ClbenchError(f"seed {seed} is not one of suite '{suite.name}': {listed}")
    return tuple(seeds)


def parse_seeds(text: str) -> tuple[int, ...]:
    """``"0-4,7"`` as numbers.

    Raises:
        ClbenchError: It is not a list of whole numbers and ranges, or has one twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,18})(?:-(\d{1,18}))?\s*", part)
        if match is None:
            raise ClbenchError(f"expected seeds such as '0-4,7', found '{text}'")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first >= 10_000:
            raise ClbenchError(f"the range '{part.strip()}' of seeds is empty or too long")
        seeds += range(first, last + 1)
    if len(set(seeds)) < len(seeds):
        raise ClbenchError(f"a seed is given twice in '{text}'")
    return tuple(seeds)


def parse_budget(text: str, suite: Suite) -> float:
    """A fraction in (0, 1], or the name of one of the suite's budgets.

    Raises:
        ClbenchError: It is neither.
    """
    if text in suite.budgets:
        return suite.budgets[text]
    try:
        value = float(text)
    except ValueError:
        known = ", ".join(suite.budgets) or "none"
        raise ClbenchError(
            f"unknown budget '{text}'{suggestion(text, suite.budgets)}\n"
            f"    expected a fraction in (0, 1] or one of suite '{suite.name}': {known}"
        ) from None
    if not 0 < value <= 1:
        raise ClbenchError(f"expected a budget in (0, 1], found {text}")
    return value


def training_steps(config: CellConfig) -> int | None:
    """Training steps of a cell, all tasks together; None where they depend on the data's size."""
    if config.training.iterations is None:
        return None
    num_tasks = config.task.params.get("num_tasks")
    per_task = config.training.steps(0, config.budget)
    return per_task * num_tasks if isinstance(num_tasks, int) else None
