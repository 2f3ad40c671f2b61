"""Suite + table + records -> what the page shows: plain values and plots, no layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clbench import columns
from clbench.gate import BROKEN
from clbench.report import figures, plots
from clbench.report.entries import Entry
from clbench.report.figures import Group
from clbench.store import Store
from clbench.suite import Row, Suite
from clbench.tables import Line, ResultsTable

_LOGARITHMIC = {True: ", logarithmic", False: ""}


@dataclass(frozen=True, slots=True)
class Span:
    """From one score to another, as fractions of a common axis, and the difference in words."""

    entry: Entry
    start: float
    end: float
    change: str


@dataclass(frozen=True, slots=True)
class Part:
    """What stands under one heading of the table.

    Attributes:
        heading: The heading.
        shown: Its rows but the excluded ones.
        excluded: The rows that the suite leaves out.
        spans: From during to final, of the rows that have both.
        scale: What the axis of the spans is.
        groups: Figures, of the kinds that there are.
        score: Column of the table that stands beside the cost.
    """

    heading: str
    shown: tuple[Entry, ...]
    excluded: tuple[Entry, ...]
    spans: tuple[Span, ...]
    scale: str
    groups: tuple[Group, ...]
    score: str

    @property
    def measured(self) -> list[Entry]:
        """The rows that have a good record."""
        return [entry for entry in self.shown if entry.results]


@dataclass(frozen=True, slots=True)
class Contents:
    """The whole page.

    Attributes:
        suite: What was asked.
        table: What came out, over the seeds.
        columns: Heading -> text of a row, as in every other form of the table.
        counts: What is counted at the top of the page -> how many.
        parts: By heading, in the order of the table.
    """

    suite: Suite
    table: ResultsTable
    columns: Mapping[str, Callable[[Line], str]]
    counts: Mapping[str, int]
    parts: tuple[Part, ...]


def gather(
    suite: Suite, rows: Sequence[Row], seeds: Sequence[int], table: ResultsTable, store: Store
) -> Contents:
    """What the page shows of some rows and seeds of a suite.

    Raises:
        RecordError: A record that counts is damaged.
    """
    numbers = {method: k for k, method in enumerate(dict.fromkeys(r.method for r in suite.rows), 1)}
    by_key = {row.key: row for row in rows}
    parts = []
    for section in table.sections:
        twins: Counter[str] = Counter()
        entries = []
        for line in section.lines:
            cells = [
                config.model_copy(update={"budget": table.budget})
                for config in by_key[line.key].cells
                if config.seed in seeds
            ]
            found = {cell.seed: store.find(cell) for cell in cells}
            records = {seed: record for seed, record in found.items() if record is not None}
            number, twin = numbers[line.method], twins[line.method]
            entries.append(Entry(line, number, twin, tuple(cells), records))
            twins[line.method] += not entries[-1].is_excluded
        parts.append(_part(section.heading, entries, table))
    return Contents(
        suite,
        table,
        {one.heading: one.text for one in columns.wide(table)},
        count(table),
        tuple(parts),
    )


def count(table: ResultsTable) -> dict[str, int]:
    """What is counted at the top of the page -> number of rows; zeros only where they say much."""
    lines = table.lines
    asked = [line for line in lines if not line.status.startswith("excluded")]
    measured = [line for line in asked if line.num_seeds]
    found = {"measured": len(measured)}
    for verdict in ("reproduced", "better", "below", "not comparable"):
        found[verdict] = sum(
            line.verdict == verdict and not line.is_by_interval for line in measured
        )
    found["reproduced by its interval alone"] = sum(line.is_by_interval for line in measured)
    found["nothing published"] = sum(line.verdict is None for line in measured)
    found["incomplete"] = sum(line.status != "ok" for line in measured)
    found["with a failure"] = sum(any(word in line.status for word in BROKEN) for line in asked)
    found["without a result"] = len(asked) - len(measured)
    found["excluded"] = len(lines) - len(asked)
    always = ["measured", "without a result"]
    always += ["reproduced", "below"] if table.margin is not None else []
    return {name: number for name, number in found.items() if number or name in always}


def _part(heading: str, entries: Sequence[Entry], table: ResultsTable) -> Part:
    shown = tuple(entry for entry in entries if not entry.is_excluded)
    measured = [entry for entry in shown if entry.results]
    spans, scale = _spans(measured, table)
    return Part(
        heading=heading,
        shown=shown,
        excluded=tuple(entry for entry in entries if entry.is_excluded),
        spans=spans,
        scale=scale,
        groups=figures.groups(measured),
        score="online" if table.is_stream else "final",
    )


def _spans(entries: Sequence[Entry], table: ResultsTable) -> tuple[tuple[Span, ...], str]:
    """From the score during learning to that after all of it, of the rows that have both."""
    ends = []
    for entry in entries:
        during = entry.line.summaries["during_accuracy"]
        final = entry.line.summaries["final_accuracy"]
        if during and final:
            ends.append((entry, during.mean, final.mean))
    axis = plots.axis([value for _, *pair in ends for value in pair], table.unit)
    spans = tuple(
        Span(
            entry,
            axis.fraction(start),
            axis.fraction(end),
            _difference(end - start, entry.line.decimals),
        )
        for entry, start, end in ends
    )
    scale = f"From {plots.number(axis.low)} to {plots.number(axis.high)}"
    return spans, f"{scale}{' ' if table.unit else ''}{table.unit}{_LOGARITHMIC[axis.is_log]}."


def _difference(value: float, decimals: int) -> str:
    """With its sign, unless it is rounded to zero."""
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"
