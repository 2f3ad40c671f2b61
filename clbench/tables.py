"""Records + published ledger -> one table, in every format (`clbench.render`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clbench.config import CellConfig
from clbench.metrics import SUMMARIES, Aggregate, Better, aggregate
from clbench.published import Ledger, Number, Verdict, is_by_interval, verdict
from clbench.records import MetricInfo, Record
from clbench.scenario import Scenario
from clbench.store import Store
from clbench.suite import Row, Suite


@dataclass(frozen=True, slots=True)
class Line:
    """One row of a table.

    Attributes:
        key: ``task/method``.
        task, method: Keys of the suite.
        label: Of the method.
        summaries: Name of `clbench.metrics.SUMMARIES` -> aggregate over seeds, None unmeasured.
        published: The published values, by ``during``, ``final`` and ``online``.
        published_told: What a reader must know of them; empty where there are none.
        not_comparable: Why ours cannot be compared with them; empty where they can.
        verdict: On the published values; None where there are none.
        is_by_interval: Whether it is ``reproduced`` by the interval and not by the margin.
        status: ``ok``, or what is not: ``2 of 3 seeds`` (the others have no record), ``2 of 3
            seeds, others timed-out``, ``failed: ValueError``, ``missing``, ``stale``,
            ``excluded: why``.
        num_seeds: Seeds with a good record.
        minutes: Mean wall time of a cell; None without a good record.
        parameters: Trained numbers; None without a good record.
        budget: Fraction of the full budget.
        scores: Name of a summary -> seed -> its value, of the seeds where it was measured.
        better: Direction of improvement of the scores.
        decimals: Digits of the scores after the point.
    """

    key: str
    task: str
    method: str
    label: str
    summaries: dict[str, Aggregate | None]
    published: Mapping[str, Number]
    published_told: str
    not_comparable: str
    verdict: Verdict | None
    is_by_interval: bool
    status: str
    num_seeds: int
    minutes: float | None
    parameters: int | None
    budget: float
    scores: Mapping[str, Mapping[int, float]]
    better: Better
    decimals: int


@dataclass(frozen=True, slots=True)
class Section:
    """The rows under one heading."""

    heading: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class ResultsTable:
    """A suite's results.

    Attributes:
        suite: Its name.
        title: Its title, or its name.
        unit: Of the scores; empty where it is not the same in all rows, or no record tells it.
        margin: Of the verdicts; None without a ledger.
        own_margins: Key of a row -> its margin, of those that have another.
        source: Of the published values; empty without a ledger.
        budget: Fraction of the full budget that the records were made with.
        is_stream: Whether its rows are task-free streams, which have other metrics.
        sections: By heading, in the order of the suite.
    """

    suite: str
    title: str
    unit: str
    margin: float | None
    own_margins: Mapping[str, float]
    source: str
    budget: float
    is_stream: bool
    sections: tuple[Section, ...]

    @property
    def lines(self) -> list[Line]:
        """The rows under all headings."""
        return [line for section in self.sections for line in section.lines]


def collect(
    suite: Suite,
    store: Store,
    ledger: Ledger | None,
    *,
    budget: float = 1.0,
    rows: Sequence[Row] | None = None,
    seeds: Sequence[int] | None = None,
) -> ResultsTable:
    """The table of a suite.

    Args:
        suite: Says which rows there are, and in which order.
        store: Has the records.
        ledger: Has the published values.
        budget: Which records count.
        rows: Some of the suite's rows; None: all.
        seeds: Some of the suite's seeds; None: all.

    Raises:
        RecordError: A record that counts is damaged.
    """
    wanted = set(suite.seeds if seeds is None else seeds)
    found = [
        (row, _records(row, store, budget, wanted))
        for row in (suite.rows if rows is None else rows)
    ]
    is_missing = any(record is None for _, records in found for _, record in records)
    stale = _answered_questions(store) if is_missing else {}
    measured = [r.result.metric for _, records in found for _, r in records if r and r.result]
    units = {metric.unit for metric in measured}
    sections: dict[str, list[Line]] = {}
    for row, records in found:
        line = _line(row, records, ledger, budget, stale, measured[0] if measured else None)
        sections.setdefault(row.task_label, []).append(line)
    unit = units.pop() if len(units) == 1 else ""
    return ResultsTable(
        suite=suite.name,
        title=suite.title or suite.name,
        unit=unit,
        margin=ledger.margin if ledger else None,
        own_margins=_own_margins(ledger, [row.key for row, _ in found]) if ledger else {},
        source=ledger.source if ledger else "",
        budget=budget,
        is_stream=any(
            config.scenario is Scenario.TASK_FREE for row in suite.rows for config in row.cells
        ),
        sections=tuple(Section(heading, tuple(lines)) for heading, lines in sections.items()),
    )


def _own_margins(ledger: Ledger, keys: Sequence[str]) -> dict[str, float]:
    entries = [(key, ledger.rows[key]) for key in keys if key in ledger.rows]
    return {key: entry.margin for key, entry in entries if entry.margin is not None}


def _answered_questions(store: Store) -> dict[str, str]:
    """Question -> id of a good record, for finding records of other versions."""
    records, _ = store.scan()
    return {record.config.question: record.id for record in records if record.status == "ok"}


def _records(
    row: Row, store: Store, budget: float, seeds: set[int]
) -> list[tuple[CellConfig, Record | None]]:
    """The cells of a row at a budget, each with its record."""
    cells = [
        config.model_copy(update={"budget": budget}) for config in row.cells if config.seed in seeds
    ]
    return [(cell, store.find(cell)) for cell in cells]


def _line(
    row: Row,
    records: Sequence[tuple[CellConfig, Record | None]],
    ledger: Ledger | None,
    budget: float,
    stale: dict[str, str],
    usual: MetricInfo | None,
) -> Line:
    good = [r for _, r in records if r is not None and r.status == "ok"]
    scores = {name: _scores(name, good) for name in SUMMARIES}
    summaries = {name: aggregate(list(found.values())) for name, found in scores.items()}
    entry = ledger.rows.get(row.key) if ledger else None
    metric = good[0].result.metric if good and good[0].result else usual
    better: Better = metric.better if metric else "higher"
    ours = {name: summaries[f"{name}_accuracy"] for name in ("during", "final", "online")}
    found = verdict(ours, entry, ledger.margin, better, budget) if ledger else None
    times = [record.timing.total for record in good if record.timing]
    return Line(
        key=row.key,
        task=row.task,
        method=row.method,
        label=row.method_label,
        summaries=summaries,
        published=entry.numbers if entry else {},
        published_told=entry.told if entry else "",
        not_comparable=entry.not_comparable if entry else "",
        verdict=found,
        is_by_interval=(
            ledger is not None
            and found == "reproduced"
            and is_by_interval(ours, entry, ledger.margin)
        ),
        status=_status(row, records, stale),
        num_seeds=len(good),
        minutes=sum(times) / len(times) / 60 if times else None,
        parameters=good[0].result.num_parameters["trained"] if good and good[0].result else None,
        budget=budget,
        scores=scores,
        better=better,
        decimals=2 if metric is None or metric.name == "accuracy" else 5,
    )


def _scores(name: str, records: Sequence[Record]) -> dict[int, float]:
    """Seed -> value of a summary, where it was measured."""
    found = {}
    for record in records:
        assert record.result is not None  # good records have one
        value = SUMMARIES[name](record.result)
        if value is not None:
            found[record.config.seed] = value
    return found


def _status(
    row: Row, records: Sequence[tuple[CellConfig, Record | None]], stale: dict[str, str]
) -> str:
    """``ok``, or what is not."""
    if row.excluded is not None:
        return f"excluded: {row.excluded}"
    counts: Counter[str] = Counter()
    for cell, record in records:
        if record is None:
            counts["stale" if cell.question in stale else "missing"] += 1
        elif record.status == "skipped" and record.failure:
            counts[f"skipped: {record.failure.message}"] += 1
        elif record.status == "failed" and record.failure:
            counts[f"failed: {record.failure.type}"] += 1
        else:
            counts[record.status] += 1
    total, good = len(records), counts.pop("ok", 0)
    if good == total:
        return "ok"
    rest = ", ".join(counts)
    if good == 0:
        return rest
    return f"{good} of {total} seeds" + (f", others {rest}" if set(counts) != {"missing"} else "")
