"""What the tests of executors share: cells of some length, and a listener that remembers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import suite_files

from clbench.executor import Progress
from clbench.matrix import Cell, Group, expand
from clbench.records import Record, Result
from clbench.registry import Registry
from clbench.runner import run
from clbench.suite import load

SUITE = suite_files.of_copies("""\
seeds: [0, 1, 2]
methods:
  si: {learner: fine-tuning, regularizers: {si: {si_lambda: 0.1}}}
""")


class Told:
    """What a listener is told; `when` is called with each report."""

    def __init__(self, when: Callable[[Progress], None] | None = None) -> None:
        self.begun: list[str] = []
        self.reports: list[Progress] = []
        self.records: dict[str, Record] = {}
        self._when = when

    def started(self, cell: Cell) -> None:
        self.begun.append(cell.config.id)

    def progressed(self, progress: Progress) -> None:
        self.reports.append(progress)
        if self._when:
            self._when(progress)

    def finished(self, cell: Cell, record: Record) -> None:
        assert cell.config.id not in self.records
        self.records[cell.config.id] = record


def cells(registry: Registry, folder: Path, iterations: int) -> tuple[Cell, ...]:
    """Three cells of two tasks of so many steps."""
    path = folder / "tiny.yaml"
    path.write_text(SUITE.replace("iterations: 10", f"iterations: {iterations}"))
    return expand(load(path, registry))


def singles(cells: Iterable[Cell]) -> list[Group]:
    """Every cell as a group of its own."""
    return [(cell,) for cell in cells]


def alone(cell: Cell, registry: Registry) -> Result:
    """The result of a cell that runs in this process."""
    result, _ = run(cell.config, registry, lambda progress: None)
    return result
