"""Suite -> the cells to run: method x task x seed, less the excluded ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clbench.config import CellConfig
from clbench.suite import Suite


@dataclass(frozen=True, slots=True)
class Cell:
    """One run.

    Attributes:
        suite: Name of the suite.
        row: ``task/method``.
        config: What determines the result (its `id` names the record).
    """

    suite: str
    row: str
    config: CellConfig


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
    raise NotImplementedError
