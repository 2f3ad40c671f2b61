"""Two sides -> is one better? Full-budget records paired by seed, metric by metric and row by row.

The sides A and B are two methods of a suite, or two folders of records of the same questions. Per
row and metric: a paired t-test with the 95 % interval of the mean difference A - B, and Wilcoxon's
signed-rank test from six pairs on (with five its smallest two-sided p is 1/16). The p values are
corrected by Holm's rule over the rows of a metric, intervals are not. With a margin, equivalence is
tested too, by two one-sided t-tests. A single pair allows no test.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clbench import grids
from clbench.config import CellConfig
from clbench.errors import ClbenchError, UnknownNameError
from clbench.gate import COMPARED
from clbench.metrics import SUMMARIES, better
from clbench.records import Record
from clbench.references import References, alike, sets, started
from clbench.significance import LEVEL, Difference, holm, minus, paired
from clbench.store import Store
from clbench.suite import Row, Suite

WILCOXON_FROM = 6
"""Pairs from which on Wilcoxon's test can reach the level of 5 %."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """The good records of two sides that belong together.

    Attributes:
        row: What is compared, ``task`` or ``task/method``.
        first: Seed -> record of A.
        second: Seed -> record of B.
    """

    row: str
    first: Mapping[int, Record]
    second: Mapping[int, Record]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the pairs of a row say of a metric.

    Attributes:
        row: What is compared.
        metric: Key of `clbench.metrics.SUMMARIES`.
        n: Pairs, seeds with a value on both sides.
        first, second: Means over the pairs; None without any.
        difference: Mean difference A - B with its error; None below two pairs.
        p: Of the paired t-test, corrected over the rows; None below two pairs.
        p_wilcoxon: Of Wilcoxon's test, corrected likewise; None below six pairs.
        p_equivalent: That the difference is as large as the margin, corrected likewise; None
            without margin.
        verdict: ``A better``, ``B better``, ``equivalent``, ``no difference shown``, or why there
            is no test.
    """

    row: str
    metric: str
    n: int
    first: float | None
    second: float | None
    difference: Difference | None
    p: float | None
    p_wilcoxon: float | None
    p_equivalent: float | None
    verdict: str


def of_methods(suite: Suite, store: Store, first: str, second: str) -> list[Pairing]:
    """Two methods of a suite on all tasks that both have, or two rows of one task.

    Args:
        suite: The suite.
        store: Has the records.
        first: ``method`` or ``task/method``.
        second: The same.

    Raises:
        ClbenchError: There is no such method or row, the two have no task in common, or one of them
            has no good full-budget record of any.
        RecordError: A record is damaged.
    """
    ours, others = _rows(suite, first), _rows(suite, second)
    tasks = [task for task in ours if task in others]
    if not tasks:
        raise ClbenchError(f"'{first}' and '{second}' have no task of '{suite.name}' in common")
    pairings = [
        Pairing(task, _of_row(ours[task], store), _of_row(others[task], store)) for task in tasks
    ]
    sides = {first: [p.first for p in pairings], second: [p.second for p in pairings]}
    without = [f"'{name}'" for name, found in sides.items() if not any(found)]
    if without:
        raise ClbenchError(
            f"{store.root} has no full-budget record of {' or '.join(without)} of '{suite.name}', "
            "of the versions that are installed"
        )
    return pairings


def _rows(suite: Suite, name: str) -> dict[str, Row]:
    """Task -> row of a method, of which a name may choose one."""
    included = [row for row in suite.rows if row.excluded is None]
    found = {row.task: row for row in included if name in (row.key, row.method)}
    if not found:
        what = "row" if "/" in name else "method"
        known = {row.key if "/" in name else row.method for row in included}
        raise UnknownNameError(what, name, known)
    return found


def _of_row(row: Row, store: Store) -> dict[int, Record]:
    found = {config.seed: store.find(config) for config in row.cells}
    return {seed: r for seed, r in found.items() if r is not None and r.status == "ok"}


def of_folders(first: Store, second: Store) -> list[Pairing]:
    """The rows of which both folders have good records of the same questions, whatever versions.

    Where a folder has records of several versions, those of most seeds count (`references.sets`). A
    row has the name that its first record in the first folder was made for.

    Raises:
        ClbenchError: There are none, a folder is not there, or the two are the same.
        RecordError: A record is damaged.
    """
    if first.root.resolve() == second.root.resolve():
        raise ClbenchError(f"{first.root} and {second.root} are the same folder")
    for store in (first, second):
        if not store.root.is_dir():
            raise ClbenchError(f"there is no folder {store.root}")
    ours, others = References.read(first).answers, References.read(second).answers
    rows: dict[tuple[str, int], tuple[list[Record], list[Record]]] = {}
    kinds: dict[str, list[CellConfig]] = {}
    for question in sorted(ours.keys() & others.keys()):
        config = ours[question][-1].config
        asked = config.model_copy(update={"seed": 0, "data_seed": 0}).question
        known = kinds.setdefault(asked, [])
        same = [i for i, c in enumerate(known) if alike(c, config, versions=False)]
        number = same[0] if same else len(known)
        known += [] if same else [config]
        sides = rows.setdefault((asked, number), ([], []))
        sides[0].extend(ours[question])
        sides[1].extend(others[question])
    if not rows:
        raise ClbenchError(
            f"{first.root} and {second.root} have no full-budget records of the same questions"
        )
    named: dict[str, list[Pairing]] = {}
    for _, (a, b) in sorted(rows.items()):
        name = _name(min(a, key=started))  # a copy of the suite may have asked for further seeds
        named.setdefault(name, []).append(Pairing(name, sets(a)[0], sets(b)[0]))
    return [
        replace(one, row=f"{name} ({number})") if len(found) > 1 else one
        for name, found in sorted(named.items())
        for number, one in enumerate(found, start=1)
    ]


def _name(record: Record) -> str:
    if record.provenance is None:
        return f"{record.config.task.name}/{record.config.learner.name}"
    return f"{record.provenance.suite}: {record.provenance.row}"


def compare(
    pairings: Sequence[Pairing], metrics: Sequence[str] | None, margin: float | None
) -> list[Finding]:
    """The findings on every row, metric by metric.

    Args:
        pairings: The rows.
        metrics: Keys of `clbench.metrics.SUMMARIES`; None: those of *during*, *final* and *online*
            that were measured.
        margin: Differences smaller than this do not matter, in the unit of the metric; None: no
            test of equivalence.

    Raises:
        UnknownNameError: There is no such metric.
    """
    for name in metrics or ():
        if name not in SUMMARIES:
            raise UnknownNameError("metric", name, SUMMARIES)
    found: list[Finding] = []
    for metric in metrics or COMPARED:
        of_metric = [_estimate(pairing, metric, margin) for pairing in pairings]
        if metrics is not None or any(finding.first is not None for finding in of_metric):
            found += _judged(of_metric, pairings, margin)
    return sorted(found, key=lambda finding: [p.row for p in pairings].index(finding.row))


def _estimate(pairing: Pairing, metric: str, margin: float | None) -> Finding:
    """Without verdict, and with p values of this row alone."""
    ours, others = _values(pairing.first, metric), _values(pairing.second, metric)
    seeds = [seed for seed in ours if seed in others]
    first, second = [ours[seed] for seed in seeds], [others[seed] for seed in seeds]
    n, difference = len(seeds), paired(first, second)
    return Finding(
        row=pairing.row,
        metric=metric,
        n=n,
        first=sum(first) / n if n else None,
        second=sum(second) / n if n else None,
        difference=difference,
        p=None if difference is None else difference.p,
        p_wilcoxon=_wilcoxon(first, second),
        p_equivalent=(
            None if difference is None or margin is None else difference.p_equivalent(margin)
        ),
        verdict="",
    )


def _values(records: Mapping[int, Record], metric: str) -> dict[int, float]:
    found = {seed: SUMMARIES[metric](r.result) for seed, r in records.items() if r.result}
    return {seed: value for seed, value in found.items() if value is not None}


def _wilcoxon(first: Sequence[float], second: Sequence[float]) -> float | None:
    differences = [minus(a, b) for a, b in zip(first, second, strict=True)]
    if len(differences) < WILCOXON_FROM or not any(differences):
        return None
    from scipy import stats

    return float(stats.wilcoxon(differences).pvalue)


def _judged(
    findings: Sequence[Finding], pairings: Sequence[Pairing], margin: float | None
) -> list[Finding]:
    """With p values corrected over the rows, and verdicts."""
    ps = _corrected([finding.p for finding in findings])
    signed = _corrected([finding.p_wilcoxon for finding in findings])
    equivalent = _corrected([finding.p_equivalent for finding in findings])
    judged = []
    for finding, pairing, p, p_wilcoxon, p_equivalent in zip(
        findings, pairings, ps, signed, equivalent, strict=True
    ):
        one = replace(finding, p=p, p_wilcoxon=p_wilcoxon, p_equivalent=p_equivalent)
        judged.append(replace(one, verdict=_verdict(one, pairing, margin)))
    return judged


def _corrected(ps: Sequence[float | None]) -> list[float | None]:
    """Holm's rule over the tests that there are."""
    known = iter(holm([p for p in ps if p is not None]))
    return [None if p is None else next(known) for p in ps]


def _verdict(finding: Finding, pairing: Pairing, margin: float | None) -> str:
    if finding.difference is None or finding.p is None:
        return "no test: 1 pair" if finding.n else "no pairs"
    is_equivalent = finding.p_equivalent is not None and finding.p_equivalent < LEVEL
    within = f" within {margin:g}" if margin is not None else ""
    if finding.p >= LEVEL:
        return f"equivalent{within}" if is_equivalent else "no difference shown"
    record = next(iter(pairing.first.values()))
    assert record.result is not None  # there are pairs
    is_up = better(finding.metric, record.result.metric.better) == "higher"
    side = "A" if (finding.difference.mean > 0) == is_up else "B"
    return f"{side} better{f',{within}' if is_equivalent else ''}"


_HEADINGS = ("row", "metric", "pairs", "A", "B", "A - B", "95 % interval", "p", "verdict")
_NUMBERS = _HEADINGS[2:-1]


def to_rich(findings: Sequence[Finding], first: str, second: str, width: int) -> RenderableType:
    """The findings as a table, or as a list where that does not go into `width` columns.

    A legend follows.
    """
    rows = [
        (
            finding.row,
            finding.metric.removesuffix("_accuracy"),
            str(finding.n),
            _number(finding.first),
            _number(finding.second),
            _number(_gap(finding)),
            _interval(finding),
            _probability(finding.p),
        )
        for finding in findings
    ]
    verdicts = [
        Text(finding.verdict, style="" if finding.verdict[1:8] != " better" else "cyan")
        for finding in findings
    ]
    full = [(*row, verdict) for row, verdict in zip(rows, verdicts, strict=True)]
    grid = grids.fitting(_HEADINGS, full, width, right=_NUMBERS)
    if grid is None:
        grid = Table.grid()
        for (row, metric, *numbers), verdict in zip(rows, verdicts, strict=True):
            said = dict(zip(_NUMBERS, numbers, strict=True))
            grid.add_row(Text.assemble(f"{row}, {metric}: ", verdict))
            for names in (("A", "B", "A - B"), ("95 % interval", "p", "pairs")):
                grid.add_row("  " + ", ".join(f"{name} {said[name]}" for name in names))
    notes = [
        f"A: {first}. B: {second}. Means over pairs of equal seeds; paired t-test, p corrected by "
        "Holm's rule over the rows of a metric, intervals not corrected. 'No difference shown' is "
        "not 'no difference'."
    ]
    with_ranks = [finding for finding in findings if finding.p_wilcoxon is not None]
    if with_ranks:
        ps = ", ".join(f"{f.row} {f.metric} {_probability(f.p_wilcoxon)}" for f in with_ranks)
        notes.append(f"Wilcoxon's signed-rank test, corrected likewise: {ps}.")
    if all(finding.difference is None for finding in findings):
        is_paired = any(finding.n for finding in findings)
        without = "a single pair" if is_paired else "no seed of both sides"
        notes.append(f"No test is possible with {without}: run more seeds.")
    return Group(grid, Text(""), *(Text(note, style="dim") for note in notes))


def _gap(finding: Finding) -> float | None:
    if finding.first is None or finding.second is None:
        return None
    return minus(finding.first, finding.second)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _interval(finding: Finding) -> str:
    if finding.difference is None:
        return "–"
    low, high = finding.difference.interval
    return f"{low:.4g} to {high:.4g}"


def _probability(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def to_json(findings: Sequence[Finding]) -> str:
    """A list of objects, one per row and metric, None where a value is unknown."""
    objects = [
        {
            "row": finding.row,
            "metric": finding.metric,
            "n_pairs": finding.n,
            "mean_a": finding.first,
            "mean_b": finding.second,
            "difference": _gap(finding),
            "difference_ci": list(finding.difference.interval) if finding.difference else None,
            "p": finding.p,
            "p_wilcoxon": finding.p_wilcoxon,
            "p_equivalent": finding.p_equivalent,
            "verdict": finding.verdict,
        }
        for finding in findings
    ]
    return json.dumps(objects, indent=1, ensure_ascii=False) + "\n"
