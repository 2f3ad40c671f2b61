"""A row of the table together with its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clbench.config import CellConfig
from clbench.records import Record, Result
from clbench.tables import Line

COLOURS = 8
"""Colours of methods in the page (``--k0`` and so on); further methods have broken lines."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table, with its records.

    Attributes:
        line: The row.
        number: Of the method in the suite, from 1: the same in every section, with one colour.
        twin: How many rows above it under the same heading are of the same method.
        cells: Its cells at the budget of the report, one per seed.
        records: Seed -> record, of the cells that have one.
    """

    line: Line
    number: int
    twin: int
    cells: tuple[CellConfig, ...]
    records: Mapping[int, Record]

    @property
    def mark(self) -> str:
        """A few characters that stand for the row wherever its colour does."""
        return f"{self.number}{'abcdefgh'[self.twin % 8] if self.twin else ''}"

    @property
    def colour(self) -> str:
        """A CSS colour."""
        return f"var(--k{(self.number - 1) % COLOURS})"

    @property
    def dash(self) -> int:
        """Pattern of lines."""
        return ((self.number - 1) // COLOURS + self.twin) % 4

    @property
    def is_excluded(self) -> bool:
        """Whether the suite leaves it out."""
        return not self.cells and self.line.status.startswith("excluded")

    @property
    def results(self) -> list[Result]:
        """Of the good records."""
        return [record.result for record in self.records.values() if record.result]

    @property
    def failures(self) -> list[tuple[int, Record]]:
        """Seed and record of the cells that failed or were skipped."""
        return [(seed, record) for seed, record in self.records.items() if record.failure]

    @property
    def peak_memory(self) -> float | None:
        """Largest memory of a worker, in MiB, as far as it was recorded."""
        found = [r.provenance.peak_memory_mib for r in self.records.values() if r.provenance]
        return max((mib for mib in found if mib is not None), default=None)

    @property
    def notes(self) -> list[str]:
        """What went wrong without changing a result."""
        return [
            f"seed {seed}: {note}"
            for seed, record in self.records.items()
            if record.provenance
            for note in record.provenance.notes
        ]

    @property
    def software(self) -> list[str]:
        """What the records were made with, each combination once."""
        found = [r.provenance for r in self.records.values() if r.provenance]
        return list(
            dict.fromkeys(
                "\n".join(
                    [p.platform, f"Python {p.python}"]
                    + [f"{name} {number}" for name, number in sorted(p.packages.items())]
                )
                for p in found
            )
        )

    @property
    def config(self) -> dict[str, Any]:
        """What all its cells have in common: everything but the seeds."""
        return self.cells[0].model_dump(mode="json", exclude={"seed", "data_seed"})
