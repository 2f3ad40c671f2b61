"""The columns of results tables: their names, headings, texts and values; order and best rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clbench.errors import UnknownNameError
from clbench.metrics import SUMMARIES, Aggregate, better
from clbench.published import Number
from clbench.significance import LEVEL, holm, paired, welch
from clbench.tables import Line, ResultsTable, Section


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: As given to ``--columns``; for metrics the key of `clbench.metrics.SUMMARIES`.
        heading: Over the column.
        text: What stands in a line.
        value: The same as a plain value for JSON, CSV and sorting; None where there is none.
        is_text: Whether it holds words rather than numbers.
    """

    name: str
    heading: str
    text: Callable[[Line], str]
    value: Callable[[Line], Any]
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """How a table is to be shown.

    Attributes:
        columns: Those asked for; None: those that the format shows by itself.
        best: Pairs of a line's key and a column's name that are marked; None: nothing is to be.
    """

    columns: tuple[Column, ...] | None = None
    best: frozenset[tuple[str, str]] | None = None

    def is_best(self, line: Line, column: Column) -> bool:
        """Whether a value is marked."""
        return self.best is not None and (line.key, column.name) in self.best


DEFAULT = View()
"""The columns of each format, nothing marked."""


def known(table: ResultsTable) -> dict[str, Column]:
    """All columns that a table can have, by name."""
    headings = {name: heading for heading, name in {**_OF_TASKS, **_OF_STREAMS}.items()}
    headings |= {name: heading for heading, name in _main(table).items()}
    found = [_metric(name, headings.get(name, _spaced(name))) for name in SUMMARIES]
    for what in ("during", "final", "online"):
        found.append(_published_number(what))
    return {column.name: column for column in (*found, *_OTHERS)}


def choose(table: ResultsTable, names: Sequence[str]) -> tuple[Column, ...]:
    """The columns of some names, in their order.

    Raises:
        UnknownNameError: One is not a column's.
    """
    columns = known(table)
    for name in names:
        if name not in columns:
            raise UnknownNameError("column", name, columns)
    return tuple(columns[name] for name in names)


def arranged(table: ResultsTable, order: str) -> ResultsTable:
    """The table with the rows under each heading in the order of a column.

    Args:
        table: Any table.
        order: Name of a column; with ``-`` before it the largest comes first. Rows without a value
            come last, and rows of equal value keep their order.

    Raises:
        UnknownNameError: It is not the name of a column.
    """
    (column,) = choose(table, [order.removeprefix("-")])

    def arrange(section: Section) -> Section:
        with_value = [line for line in section.lines if column.value(line) is not None]
        without = [line for line in section.lines if column.value(line) is None]
        with_value.sort(key=column.value, reverse=order.startswith("-"))
        return replace(section, lines=(*with_value, *without))

    return replace(table, sections=tuple(arrange(section) for section in table.sections))


def best(table: ResultsTable) -> frozenset[tuple[str, str]]:
    """The values that are better than those of every other method of their task, by a test.

    Two-sided, 5 %, corrected by Holm's rule over the other methods: paired by seed where both
    methods have the same seeds, Welch's otherwise. A method with a single seed allows no test, and
    one without a result no comparison: then nothing of its task is marked. Methods that cannot
    have a metric, by their regime, are not compared in it.

    Args:
        table: With all rows of the suite.

    Returns:
        Pairs of a line's key and the name of a metric.
    """
    lines: dict[str, list[Line]] = {}
    for line in table.lines:
        if not line.status.startswith("excluded"):
            lines.setdefault(line.task, []).append(line)
    return frozenset(
        (winner.key, metric)
        for group in lines.values()
        if all(line.num_seeds for line in group)
        for metric in SUMMARIES
        if (winner := _winner(group, metric)) is not None
    )


BEST = (
    "Bold: better than every other method of the task that has the metric (paired t-test by seed, "
    f"Welch's where seeds differ; {100 * LEVEL:g} %, corrected by Holm's rule); nothing where a "
    "method of the task has no result."
)
"""What marks mean, for the notes under a table."""


def _winner(lines: Sequence[Line], metric: str) -> Line | None:
    measured = [line for line in lines if line.scores.get(metric)]
    if len(measured) < 2:
        return None
    sign = 1 if better(metric, measured[0].better) == "higher" else -1
    ordered = sorted(measured, key=lambda line: -sign * _mean_of(line, metric))
    differences = [_difference(ordered[0], other, metric) for other in ordered[1:]]
    ps = [1.0 if found is None or sign * found.mean <= 0 else found.p for found in differences]
    return ordered[0] if max(holm(ps)) < LEVEL else None


def _mean_of(line: Line, metric: str) -> float:
    found = line.summaries[metric]
    assert found is not None  # it has scores
    return found.mean


def _difference(first: Line, second: Line, metric: str) -> Any:
    ours, others = first.scores[metric], second.scores[metric]
    if set(ours) == set(others):
        return paired([ours[seed] for seed in ours], [others[seed] for seed in ours])
    return welch(list(ours.values()), list(others.values()))


# what formats show by themselves


def wide(table: ResultsTable) -> list[Column]:
    """Of a page, and of a terminal with room for everything."""
    main = [_metric(name, heading) for heading, name in _main(table).items()]
    found = _OF_STREAMS if table.is_stream else _OF_TASKS
    further = [_plain(name, heading) for heading, name in found.items()]
    return [*main, *_judged(table), *further, MINUTES, PARAMETERS]


def narrow(table: ResultsTable, num_metrics: int | None = None) -> list[Column]:
    """Of a terminal without room for intervals; with its first metrics only, or all main ones."""
    main = [_plain(name, heading) for heading, name in _main(table).items()]
    return [*main[:num_metrics], *_judged(table)]


def written(table: ResultsTable) -> list[Column]:
    """Of Markdown and LaTeX."""
    published = ["online"] if table.is_stream else ["during", "final"]
    return [
        *(_metric(name, heading) for heading, name in _main(table).items()),
        SEEDS,
        *(_published_number(name) for name in published),
        VERDICT,
    ]


def _judged(table: ResultsTable) -> list[Column]:
    both = Column("published", "published", lambda line: _published(line, table), lambda line: None)
    return [SEEDS, both, VERDICT]


def _main(table: ResultsTable) -> Mapping[str, str]:
    """Heading -> summary, of the columns that every table has."""
    if table.is_stream:
        return {
            "online": "online_accuracy",
            "last task": "last_task_accuracy",
            "plasticity": "plasticity",
            "forgetting": "online_forgetting",
        }
    return {"during": "during_accuracy", "final": "final_accuracy"}


_OF_TASKS = {
    "backward": "backward_transfer",
    "forward": "forward_transfer",
    "forgetting": "forgetting",
}
_OF_STREAMS = {
    "off by one": "online_accuracy_off_by_one",
    "loss of plasticity": "loss_of_plasticity",
}


def decimals(line: Line, name: str) -> int:
    """Digits after the point of a summary."""
    return 4 if name in ("plasticity", "loss_of_plasticity") else line.decimals


def _metric(name: str, heading: str) -> Column:
    def value(line: Line) -> float | None:
        found = line.summaries[name]
        return found.mean if found else None

    def text(line: Line) -> str:
        return _interval(line.summaries[name], decimals(line, name))

    return Column(name, heading, text, value)


def _plain(name: str, heading: str) -> Column:
    """A metric without its interval."""

    def text(line: Line) -> str:
        return _mean(line.summaries[name], decimals(line, name))

    return replace(_metric(name, heading), text=text)


def _published_number(what: str) -> Column:
    def value(line: Line) -> float | None:
        found = line.published.get(what)
        return found.value if found else None

    def text(line: Line) -> str:
        return _number(line.published.get(what), line.decimals)

    return Column(f"published_{what}", f"published {what}", text, value)


def _mean(found: Aggregate | None, decimals: int) -> str:
    return "–" if found is None else _fixed(found.mean, decimals)


def _interval(found: Aggregate | None, decimals: int) -> str:
    if found is None or found.high is None:
        return _mean(found, decimals)
    return f"{_fixed(found.mean, decimals)} ±{found.high - found.mean:.{decimals}f}"


def _fixed(value: float, decimals: int) -> str:
    """With so many decimals, and without a sign where they are all 0."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}"


def _published(line: Line, table: ResultsTable) -> str:
    """``99.93 / 98.66``, during and final; of streams, online."""
    if not line.published:
        return ""
    wanted = ("online",) if table.is_stream else ("during", "final")
    return " / ".join(_number(line.published.get(name), line.decimals) or "–" for name in wanted)


def _number(number: Number | None, decimals: int) -> str:
    if number is None:
        return ""
    text = f"{number.value:.{decimals}f}"
    if float(text) != number.value:  # it has more digits than our scores are shown with
        text = f"{number.value:g}"
    return f"{'~' if number.claim == 'around' else ''}{text}"


def _verdict(line: Line) -> str:
    """The verdict, and whatever is not in order."""
    if line.num_seeds == 0:
        return line.status
    parts: list[str] = [line.verdict] if line.verdict else []
    if line.is_by_interval:
        parts.append("by its interval alone")
    if line.budget < 1 and line.verdict != "not comparable":
        parts.append(f"{percent(line.budget)} budget")
    if line.status != "ok":
        parts.append(line.status)
    return parts[0] + (f" ({'; '.join(parts[1:])})" if parts[1:] else "") if parts else ""


def percent(budget: float) -> str:
    """A budget for people."""
    return f"{100 * budget:g} %"


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _minutes(line: Line) -> str:
    return "–" if line.minutes is None else f"{line.minutes:.1f}"


def _parameters(line: Line) -> str:
    return "–" if line.parameters is None else f"{line.parameters:,}"


SEEDS = Column("seeds", "n", lambda line: str(line.num_seeds), lambda line: line.num_seeds)
VERDICT = Column("verdict", "verdict", _verdict, lambda line: line.verdict, is_text=True)
MINUTES = Column("minutes", "minutes", _minutes, lambda line: line.minutes)
PARAMETERS = Column("parameters", "parameters", _parameters, lambda line: line.parameters)
_OTHERS = (
    *(SEEDS, VERDICT, MINUTES, PARAMETERS),
    Column("status", "status", lambda line: line.status, lambda line: line.status, is_text=True),
    Column("task", "task", lambda line: line.task, lambda line: line.task, is_text=True),
    Column("method", "method", lambda line: line.method, lambda line: line.method, is_text=True),
    Column("budget", "budget", lambda line: percent(line.budget), lambda line: line.budget),
)
