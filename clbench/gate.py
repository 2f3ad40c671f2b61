"""Records + thresholds, or reference records -> verdicts. Only full-budget records count.

A threshold is a number of the suite. Against reference records, each row's *during* and *final* (of
streams: *online*) get a threshold from the reference itself, so that nothing is tuned by hand::

    bound = reference mean - margin - t_{0.95, m-1} s sqrt(1/n + 1/m)

with m reference seeds of sample standard deviation s, and n seeds of ours (plus instead of minus
where lower scores are better). It is a one-sided test, at the level 5 %, of the hypothesis that our
mean is not worse than the reference's by more than the margin; s is taken from the reference alone,
so that a broken method cannot hide behind its own scatter. With a single reference seed nothing is
known of the scatter, and the last term is 0. The margin is the ledger's, for the row or for all, or
1 % of the reference mean where the suite names no ledger. A row whose configuration has changed is
compared with what the reference has of the row, and its checks say so (`clbench.references`).
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal
from xml.etree import ElementTree

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clbench import grids
from clbench.errors import ClbenchError
from clbench.metrics import SUMMARIES, Aggregate, aggregate, name_of
from clbench.published import Ledger
from clbench.records import Record
from clbench.references import References
from clbench.registry import Registry
from clbench.significance import variance
from clbench.staleness import changed
from clbench.store import Store
from clbench.student import quantile
from clbench.suite import Row
from clbench.thresholds import Threshold

COMPARED = ("during_accuracy", "final_accuracy", "online_accuracy")
"""What is compared with reference records."""

BROKEN = ("failed", "timed-out", "out-of-memory")
"""How a seed ends that no mean over the others makes up for."""

FALLBACK_MARGIN = 0.01
"""Fraction of the reference mean that serves as margin where there is no ledger."""

DIGITS = 5
"""Significant ones of means and bounds, unless these differ in later ones."""


Status = Literal["holds", "fails", "missing", "unmeasured"]


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold of one row, judged.

    Attributes:
        row: ``task/method``.
        threshold: What the row must reach.
        origin: Where the threshold is from: ``suite``, or the reference with its mean and seeds.
        observed: Mean over the seeds that have a good full-budget record; None without any.
        wanted: Number of seeds of the suite.
        status: ``holds``; ``fails``: the mean does not reach the threshold, or a seed has ended
            without a result (`BROKEN`); ``missing``: there is neither a good record nor a broken
            seed; ``unmeasured``: there are good records, and they do not have the metric (too few
            tasks, for example).
        note: Seeds that have a record without a result, and why; plugins whose code has changed
            since; empty otherwise.
    """

    row: str
    threshold: Threshold
    origin: str
    observed: Aggregate | None
    wanted: int
    status: Status
    note: str


def judge(rows: Sequence[Row], store: Store, registry: Registry | None = None) -> tuple[Check, ...]:
    """All thresholds of a suite's rows, against the records of a store.

    With a registry the notes tell of records that plugins have made with other code.

    Raises:
        RecordError: A record that counts is damaged.
    """
    return tuple(
        _check(row, threshold, "suite", _records(row, store), registry)
        for row in rows
        for threshold in row.thresholds
    )


def compare(
    suite: str,
    rows: Sequence[Row],
    store: Store,
    reference: Store,
    ledger: Ledger | None,
    registry: Registry | None = None,
) -> tuple[Check, ...]:
    """The rows that have reference records, against thresholds made from these.

    Args:
        suite: Name of the suite.
        rows: The rows to compare.
        store: Our records.
        reference: Records to be no worse than: those of the same question, whatever versions they
            were made with, or else those of the same row.
        ledger: Gives the margins.
        registry: As in `judge`.

    Raises:
        RecordError: A record that counts is damaged.
        ClbenchError: The reference has no record of any of the rows, or is the store itself.
    """
    if reference.root.resolve() == store.root.resolve():
        raise ClbenchError(f"{reference.root} cannot be its own reference")
    if not reference.root.is_dir():
        raise ClbenchError(f"there is no folder {reference.root}")
    references = References.read(reference)
    checks = [
        check
        for row in rows
        if row.excluded is None
        for check in _compare_row(suite, row, _records(row, store), references, ledger, registry)
    ]
    if not checks:
        raise ClbenchError(f"{reference.root} has no full-budget record of these rows")
    return tuple(checks)


def uncompared(rows: Sequence[Row], checks: Sequence[Check]) -> list[str]:
    """The rows of a comparison that the reference has no record of."""
    compared = {check.row for check in checks}
    return [row.key for row in rows if row.excluded is None and row.key not in compared]


def _compare_row(
    suite: str,
    row: Row,
    records: Mapping[int, Record | None],
    references: References,
    ledger: Ledger | None,
    registry: Registry | None,
) -> Iterator[Check]:
    made, is_same_question = references.sets_of(suite, row.key, row.cells)
    chosen, *others = made or [{}]
    found = list(chosen.values())
    for metric in COMPARED:
        reference = [value for record in found if (value := _value(record, metric)) is not None]
        if not reference or found[0].result is None:
            continue
        ours = sum(_value(record, metric) is not None for record in records.values() if record)
        margin = _margin(row, ledger, sum(reference) / len(reference))
        measured = found[0].result.metric
        name = name_of(metric, measured.name)
        threshold = from_reference(metric, name, reference, max(1, ours), margin, measured.better)
        origin = _origin(reference) + ("" if is_same_question else ", asked differently")
        if others:
            origin += f", {len(others)} other {'version' if is_same_question else 'configuration'}"
            origin += f"{'s' if len(others) > 1 else ''} left out"
        yield _check(row, threshold, origin, records, registry)


def _margin(row: Row, ledger: Ledger | None, mean: float) -> float:
    if ledger is None:
        return FALLBACK_MARGIN * abs(mean)
    entry = ledger.rows.get(row.key)
    return (entry.margin if entry else None) or ledger.margin


def from_reference(
    metric: str, name: str, reference: Sequence[float], n: int, margin: float, better: str
) -> Threshold:
    """The threshold that reference values of m seeds give for a mean over n seeds.

    See the module's text for the rule.
    """
    m = len(reference)
    mean = sum(reference) / m
    allowance = margin
    if m > 1:
        error = math.sqrt(variance(reference) * (1 / n + 1 / m))
        allowance += quantile(0.95, m - 1) * error
    if better == "higher":
        return Threshold(metric, name, ">=", mean - allowance)
    return Threshold(metric, name, "<=", mean + allowance)


def _origin(reference: Sequence[float]) -> str:
    seeds = "1 seed" if len(reference) == 1 else f"{len(reference)} seeds"
    return f"reference {sum(reference) / len(reference):.5g}, {seeds}"


def _records(row: Row, store: Store) -> dict[int, Record | None]:
    """Seed -> its record."""
    return {config.seed: store.find(config) for config in row.cells}


def _check(
    row: Row,
    threshold: Threshold,
    origin: str,
    records: Mapping[int, Record | None],
    registry: Registry | None,
) -> Check:
    values = [
        value
        for record in records.values()
        if record is not None and (value := _value(record, threshold.metric)) is not None
    ]
    observed = aggregate(values)
    ends = {record.status for record in records.values() if record is not None}
    status: Status = "unmeasured" if "ok" in ends else "missing"
    if ends & set(BROKEN):
        status = "fails"
    elif observed is not None:
        status = "holds" if threshold.holds(observed.mean) else "fails"
    note = _note(records, registry)
    return Check(row.key, threshold, origin, observed, len(row.cells), status, note)


def _value(record: Record, metric: str) -> float | None:
    if record.result is None:
        return None
    return SUMMARIES[metric](record.result)


def _note(records: Mapping[int, Record | None], registry: Registry | None) -> str:
    """Which seeds have a record without a result, and why; which plugins have other code now."""
    parts = [
        f"seed {seed}: {record.status}"
        for seed, record in records.items()
        if record is not None and record.status != "ok"
    ]
    if registry is not None:
        good = [record for record in records.values() if record and record.status == "ok"]
        names = {name for record in good for name in changed(record, registry)}
        parts += [f"made with other code of {', '.join(sorted(names))}"] if names else []
    return "; ".join(parts)


_HEADINGS = ("row", "threshold", "from", "observed", "seeds", "status")


def to_rich(checks: Sequence[Check], width: int) -> RenderableType:
    """The checks as a table, or as a list where that does not go into `width` columns."""
    rows = [
        (check.row, wanted(check), check.origin, mean_of(check), seeds_of(check))
        for check in checks
    ]
    texts = [_status(check) for check in checks]
    full = [(*row, text) for row, text in zip(rows, texts, strict=True)]
    grid = grids.fitting(_HEADINGS, full, width)
    if grid is None:
        grid = Table.grid()
        for (row, threshold, origin, observed, seeds), text in zip(rows, texts, strict=True):
            grid.add_row(Text.assemble(f"{row}: ", text))
            grid.add_row(f"  {threshold} ({origin})")
            grid.add_row(f"  observed {observed}, {seeds} seeds")
    counts = {name: sum(check.status == name for check in checks) for name in _COLOURS}
    summary = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return Group(grid, Text(""), Text(summary))


def _status(check: Check) -> Text:
    status = Text(check.status, style=_COLOURS[check.status])
    return status.append(f" ({check.note})", style="dim") if check.note else status


def command(path: Path, rows: Sequence[str], root: Path) -> str:
    """What makes the records of some rows of a suite, at full budget, as one types it."""
    only = [word for row in rows for word in ("--only", row)]
    return shlex.join(["clbench", "run", str(path), *only, "--results", str(root)])


def advice(path: Path, rows: Sequence[Row], checks: Sequence[Check], store: Store) -> str:
    """What to do about checks that have nothing to judge; empty where there are none.

    Args:
        path: The suite file, as the user names it.
        rows: The rows of the checks.
        checks: All of them.
        store: Where their records were looked for.
    """
    missing = list(dict.fromkeys(check.row for check in checks if check.status == "missing"))
    if not missing:
        return ""
    lines = []
    if not store.root.is_dir():
        lines.append(f"there is no folder {store.root}")
    elif reduced := _reduced([row for row in rows if row.key in missing], store):
        found = "is 1 record" if reduced == 1 else f"are {reduced} records"
        lines.append(f"there {found} of these rows at a reduced budget, which never count")
    elif other := _of_other_versions([row for row in rows if row.key in missing], store):
        found = "is 1 record" if other == 1 else f"are {other} records"
        lines.append(f"there {found} of these rows that other versions made, which do not count")
    lines += ["make the missing records with", f"    {command(path, missing, store.root)}"]
    return "\n".join(lines)


def _reduced(rows: Sequence[Row], store: Store) -> int:
    """How many good records of these rows have a reduced budget."""
    wanted = {config.id for row in rows for config in row.cells}
    good = [record.config for record in store.scan()[0] if record.status == "ok"]
    return sum(
        config.budget < 1 and config.model_copy(update={"budget": 1.0}).id in wanted
        for config in good
    )


def _of_other_versions(rows: Sequence[Row], store: Store) -> int:
    """How many good full-budget records answer the questions of these rows by other versions."""
    cells = [config for row in rows for config in row.cells]
    ids, questions = {cell.id for cell in cells}, {cell.question for cell in cells}
    good = [record.config for record in store.scan()[0] if record.status == "ok"]
    return sum(config.question in questions and config.id not in ids for config in good)


def to_junit(
    suite: str, checks: Sequence[Check], explanations: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The checks as a JUnit XML document: one test case each, failures and missing ones told.

    The note of a check that holds is the output of its test case.

    Args:
        suite: Its name.
        checks: All of them.
        explanations: Row -> why its red checks are red, for the body of the failure.
    """
    failures = sum(check.status == "fails" for check in checks)
    missing = sum(check.status in ("missing", "unmeasured") for check in checks)
    counts = {"tests": str(len(checks)), "failures": str(failures), "errors": str(missing)}
    root = ElementTree.Element("testsuites", {"name": "clbench", **counts})
    group = ElementTree.SubElement(root, "testsuite", {"name": suite, **counts})
    for check in checks:
        name = f"{wanted(check)} ({check.origin})"
        case = ElementTree.SubElement(
            group, "testcase", {"classname": f"{suite}.{check.row}", "name": name}
        )
        if check.status == "holds":
            if check.note:
                ElementTree.SubElement(case, "system-out").text = check.note
            continue
        message = f"observed {mean_of(check)}, {seeds_of(check)} seeds"
        message += f"; {check.note}" if check.note else ""
        tag = "failure" if check.status == "fails" else "error"
        told = ElementTree.SubElement(case, tag, {"type": check.status, "message": message})
        told.text = explanations.get(check.row)
    ElementTree.indent(root)
    text: str = ElementTree.tostring(root, encoding="unicode", xml_declaration=True)
    return text + "\n"


def to_github(
    path: Path, checks: Sequence[Check], explanations: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The checks that do not hold, as annotations of a GitHub workflow: one line each.

    Args:
        path: The suite file, which the annotations are attached to.
        checks: All of them.
        explanations: Row -> why its red checks are red.
    """
    lines = []
    for check in checks:
        if check.status == "holds":
            continue
        title = f"{check.row}: {wanted(check)} {check.status}"
        message = f"observed {mean_of(check)}, {seeds_of(check)} seeds, from: {check.origin}"
        message += f"; {check.note}" if check.note else ""
        if check.row in explanations:
            message += f"\n{explanations[check.row]}"
        properties = f"file={_property(path.as_posix())},title={_property(title)}"
        lines.append(f"::error {properties}::{_data(message)}\n")
    return "".join(lines)


def _data(text: str) -> str:
    """Text as GitHub's workflow commands want it: on one line."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def words(threshold: Threshold, digits: int = DIGITS) -> str:
    """``final_accuracy >= 97``."""
    return f"{threshold.name} {threshold.relation} {threshold.bound:.{digits}g}"


def wanted(check: Check) -> str:
    """What a row must reach, with as many digits as its mean."""
    return words(check.threshold, _digits(check))


def mean_of(check: Check) -> str:
    """The observed mean; a dash where there is none."""
    return "–" if check.observed is None else f"{check.observed.mean:.{_digits(check)}g}"


def _digits(check: Check) -> int:
    """As many as tell a mean from the bound that it does not reach."""
    if check.observed is None or check.threshold.holds(check.observed.mean):
        return DIGITS
    pair = check.observed.mean, check.threshold.bound
    return next(n for n in range(DIGITS, 18) if len({f"{value:.{n}g}" for value in pair}) > 1)


def seeds_of(check: Check) -> str:
    """``2 of 3``: seeds that have a good full-budget record, of those of the suite."""
    return f"{check.observed.n if check.observed else 0} of {check.wanted}"


_COLOURS = {"holds": "green", "fails": "red", "missing": "yellow", "unmeasured": "yellow"}
