"""Records + thresholds -> verdicts. Only full-budget records count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clbench.metrics import SUMMARIES, Aggregate, aggregate
from clbench.records import Record
from clbench.store import Store
from clbench.suite import Row, Suite, Threshold


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold of one row, judged.

    Attributes:
        row: ``task/method``.
        threshold: What the row must reach.
        observed: Mean over the seeds that have a good full-budget record; None without any.
        wanted: Number of seeds of the suite.
        status: ``holds``, ``fails``, or ``missing`` (no good record, or not of every seed).
        note: Seeds that have a record without a result, and why; empty otherwise.
    """

    row: str
    threshold: Threshold
    observed: Aggregate | None
    wanted: int
    status: Literal["holds", "fails", "missing"]
    note: str


def judge(suite: Suite, store: Store) -> tuple[Check, ...]:
    """All thresholds of a suite, against the records of a store.

    Raises:
        RecordError: A record that counts is damaged.
    """
    return tuple(
        _check(row, threshold, store) for row in suite.rows for threshold in row.thresholds
    )


def _check(row: Row, threshold: Threshold, store: Store) -> Check:
    records = {config.seed: store.find(config) for config in row.cells}
    values = [
        value
        for record in records.values()
        if record is not None and (value := _value(record, threshold)) is not None
    ]
    observed = aggregate(values)
    note = _note(records)
    if observed is None:
        return Check(row.key, threshold, None, len(row.cells), "missing", note)
    reaches = (
        observed.mean >= threshold.bound
        if threshold.relation == ">="
        else observed.mean <= threshold.bound
    )
    return Check(
        row.key, threshold, observed, len(row.cells), "holds" if reaches else "fails", note
    )


def _value(record: Record, threshold: Threshold) -> float | None:
    if record.result is None:
        return None
    result = record.result
    return SUMMARIES[threshold.metric](result.R, result.initial, result.metric.better)


def _note(records: dict[int, Record | None]) -> str:
    """Which seeds have a record without a result, and why."""
    parts = [
        f"seed {seed}: {record.status}"
        for seed, record in records.items()
        if record is not None and record.status != "ok"
    ]
    return "; ".join(parts)


def to_rich(checks: Sequence[Check]) -> RenderableType:
    """The checks as a table."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("row", "threshold", "observed", "seeds", "status"):
        is_long = heading == "status"
        grid.add_column(heading, header_style="bold", overflow="fold", no_wrap=not is_long)
    for check in checks:
        threshold = check.threshold
        observed = "–" if check.observed is None else f"{check.observed.mean:.2f}"
        seeds = f"{check.observed.n if check.observed else 0} of {check.wanted}"
        status = Text(check.status, style=_COLOURS[check.status])
        if check.note:
            status.append(f" ({check.note})", style="dim")
        wanted = f"{threshold.metric} {threshold.relation} {threshold.bound:g}"
        grid.add_row(check.row, wanted, observed, seeds, status)
    counts = {name: sum(check.status == name for check in checks) for name in _COLOURS}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return Group(grid, Text(""), Text(summary or "the suite has no thresholds"))


_COLOURS = {"holds": "green", "fails": "red", "missing": "yellow"}
