"""The figures of a part of the page: matrices and plots of the rows under one heading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from clbench.records import Curve, MetricInfo, Result
from clbench.report import plots
from clbench.report.entries import Entry
from clbench.report.plots import Series
from clbench.report.summaries import matrix_means, over_points, principal_plane

MOST_NAMED = 12
"""Tasks up to which their numbers stand in the learning curves."""


MEANINGS = {
    "active_": "fraction of activity that is not 0",
    "dead_": "fraction of units that no test sample activates",
    "cosine_": "mean cosine of the mean activity on two tasks",
    "jaccard_": "mean overlap of the most active units on two tasks",
    "duty_cycle_entropy_": "entropy of duty cycles over the largest possible",
    "inactive_units": "fraction of activity that is exactly 0",
    "weight_l": "norm of the weights",
    "gradient_l0": "fraction of gradients that are not 0",
    "gradient_l": "norm of the gradient",
}
"""How the name of a recorded statistic begins -> what it is."""


@dataclass(frozen=True, slots=True)
class Heat:
    """A matrix to be coloured: the text of each cell, and how far it is from worst to best."""

    cells: tuple[tuple[tuple[str, float | None], ...], ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """Plots or a matrix: of one row, or of something that the caption names, of all rows (None)."""

    body: Markup | Heat
    entry: Entry | None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Figures of one kind, with a sentence that says how to read them.

    Attributes:
        title: What they show.
        text: How to read them.
        figures: The figures.
        legend: The rows, where a figure is of several.
    """

    title: str
    text: str
    figures: tuple[Figure, ...]
    legend: tuple[Entry, ...] = ()


def groups(measured: Sequence[Entry]) -> tuple[Group, ...]:
    """All figures of some rows that have good records; groups without figures are left out."""
    if not measured:
        return ()
    metric = measured[0].results[0].metric
    found = (
        Group(
            f"{metric.name.capitalize()} matrices" if metric.name == "accuracy" else "Matrices",
            f"Row: after learning this task. Column: {_with_unit(metric)} on that task. Mean over "
            "the seeds; the stronger the colour, the better.",
            tuple(_heats(measured)),
        ),
        Group(
            "Each task over the course of training",
            "One line per task, with the number of the task at its end: the score on it after "
            "learning it and after each later task. Mean over the seeds; the band goes from the "
            "lowest to the highest seed.",
            tuple(_task_lines(measured)),
        ),
        Group(
            "Learning curves",
            "Loss and score of training batches, task after task. Mean over the seeds; the band "
            "goes from the lowest to the highest seed.",
            tuple(_curves(measured)),
        ),
        Group(
            "Task by task through the stream",
            "Predictions before each update, as means over the samples of each task. The numbers "
            "at the lines are those of the methods; the band goes from the lowest to the highest "
            "seed.",
            tuple(_online(measured)),
            tuple(entry for entry in measured if entry.results[0].online),
        ),
        Group(
            "What the nets tell of themselves",
            "Recorded for each task. The numbers at the lines are those of the methods; the band "
            "goes from the lowest to the highest seed.",
            tuple(_statistics(measured)),
            tuple(entry for entry in measured if any(r.statistics for r in entry.results)),
        ),
        Group(
            "Task embeddings",
            "What a hypernetwork has learnt to tell its tasks apart by, on the plane of its two "
            "largest principal components; of the first seed. Both axes have the same scale.",
            tuple(_embeddings(measured)),
        ),
    )
    return tuple(group for group in found if group.figures)


def _heats(entries: Sequence[Entry]) -> Iterator[Figure]:
    means = [(entry, matrix_means([r.R for r in entry.results])) for entry in entries]
    known = [value for _, rows in means for row in rows for value in row if value is not None]
    for entry, rows in means:
        if any(value is not None for row in rows for value in row):
            metric = entry.results[0].metric
            axis = plots.axis(known, metric.unit)
            cells = tuple(tuple(_heat(value, axis, metric) for value in row) for row in rows)
            yield Figure(Heat(cells), entry)


def _heat(value: float | None, axis: plots.Axis, metric: MetricInfo) -> tuple[str, float | None]:
    if value is None:
        return "–", None
    place = axis.fraction(value)
    text = f"{value:.1f}" if metric.unit == "%" else f"{value:.3g}"
    return text, place if metric.better == "higher" else 1 - place


def _with_unit(metric: MetricInfo) -> str:
    return f"{metric.name}, {metric.unit}" if metric.unit else metric.name


def _ramp(index: int, count: int) -> str:
    """Colours of tasks, from the first to the last."""
    share = 100 * index / max(1, count - 1)
    return f"color-mix(in oklab, var(--late) {share:.0f}%, var(--early))"


def _task_lines(entries: Sequence[Entry]) -> Iterator[Figure]:
    found = [(entry, _lines_of_tasks(entry)) for entry in entries]
    drawn = [(entry, series) for entry, series in found if any(len(s.points) > 1 for s in series)]
    metric = entries[0].results[0].metric
    axis = _common_axis(drawn, metric.unit)
    for entry, series in drawn:
        plot = plots.lines(
            series,
            title=f"{metric.name} of each task, {entry.line.label}",
            x_label="tasks learnt",
            y_label=_with_unit(metric),
            y_axis=axis,
        )
        yield Figure(plot, entry)


def _common_axis(found: Sequence[tuple[Entry, Sequence[Series]]], unit: str) -> plots.Axis:
    """The axis that plots of several rows share, so that they can be compared."""
    return plots.axis(plots.heights(one for _, series in found for one in series), unit)


def _lines_of_tasks(entry: Entry) -> list[Series]:
    """Columns of R from the diagonal down, those of them that were measured."""
    found, K = [], len(entry.results[0].R)
    for j in range(K):
        seeds = [
            {float(i + 1): v for i in range(j, K) if (v := result.R[i][j]) is not None}
            for result in entry.results
        ]
        points, band = over_points(seeds)
        if points:
            found.append(Series(f"task {j + 1}", str(j + 1), _ramp(j, K), 0, points, band))
    return found


def _curves(entries: Sequence[Entry]) -> Iterator[Figure]:
    """Loss and score of training; of streams what is recorded per task says more."""
    trained = [e for e in entries if e.results[0].curves and e.results[0].online is None]
    losses = [(entry, _curve_series(entry, lambda curve: curve.loss)) for entry in trained]
    scores = [(entry, _curve_series(entry, lambda curve: curve.score)) for entry in trained]
    metric = entries[0].results[0].metric
    loss_axis, score_axis = _common_axis(losses, ""), _common_axis(scores, metric.unit)
    for (entry, loss), (_, score) in zip(losses, scores, strict=True):
        above = _curve("loss", "loss", entry, loss, loss_axis)
        below = _curve(metric.name, _with_unit(metric), entry, score, score_axis)
        yield Figure(above + below, entry)


def _curve_series(entry: Entry, values: Callable[[Curve], Sequence[float]]) -> list[Series]:
    """One line per task, one task after another."""
    series: list[Series] = []
    start = 0
    for curves in zip(*(result.curves for result in entry.results), strict=True):
        seeds = [
            dict(zip([float(start + k) for k in curve.iterations], values(curve), strict=True))
            for curve in curves
        ]
        points, band = over_points(seeds)
        name = str(curves[0].task + 1)
        series.append(Series(f"task {name}", "", entry.colour, 0, points, band))
        start += curves[0].iterations[-1]
    return series


def _curve(
    name: str, y_label: str, entry: Entry, series: Sequence[Series], axis: plots.Axis
) -> Markup:
    ends = [0.0, *(one.points[-1][0] for one in series)]
    is_named = 1 < len(series) <= MOST_NAMED
    spans = [(a, b, str(k)) for k, (a, b) in enumerate(pairwise(ends), 1)] if is_named else []
    return plots.lines(
        series,
        title=f"training {name}, {entry.line.label}",
        x_label="training steps" + (", tasks numbered above" if spans else ""),
        y_label=y_label,
        y_axis=axis,
        spans=spans,
    )


def _online(entries: Sequence[Entry]) -> Iterator[Figure]:
    streams = [entry for entry in entries if entry.results[0].online]
    if not streams:
        return
    metric = streams[0].results[0].metric
    yield from _by_task(
        streams, f"online {metric.name}", metric.unit, lambda r: r.online.score if r.online else ()
    )
    yield from _by_task(streams, "online loss", "", lambda r: r.online.loss if r.online else ())
    yield from _by_task(
        streams, "plasticity", "", lambda r: r.online.plasticity if r.online else ()
    )


def _statistics(entries: Sequence[Entry]) -> Iterator[Figure]:
    names = dict.fromkeys(
        name for entry in entries for result in entry.results for name in result.statistics
    )
    for name in names:
        yield from _by_task(entries, _explained(name), "", _statistic(name))


def _explained(name: str) -> str:
    """A statistic with what it means, where that is known here."""
    meaning = next((text for start, text in MEANINGS.items() if name.startswith(start)), "")
    return f"{name}: {meaning}" if meaning else name


def _statistic(name: str) -> Callable[[Result], Sequence[float]]:
    return lambda result: result.statistics.get(name, ())


def _by_task(
    entries: Sequence[Entry], name: str, unit: str, values: Callable[[Result], Sequence[float]]
) -> Iterator[Figure]:
    """A line per row over the tasks, of a quantity that is recorded for each of them, if it is."""
    series = []
    for entry in entries:
        seeds = [
            {float(k): value for k, value in enumerate(values(result), 1)}
            for result in entry.results
        ]
        points, band = over_points(seeds)
        if points:
            label = entry.line.label
            series.append(Series(label, entry.mark, entry.colour, entry.dash, points, band))
    if series:
        plot = plots.lines(
            series,
            title=name,
            x_label="task",
            y_label=unit,
            y_axis=plots.axis(plots.heights(series), unit),
        )
        yield Figure(plot, None, name)


def _embeddings(entries: Sequence[Entry]) -> Iterator[Figure]:
    for entry in entries:
        found = entry.results[0].artefacts.get("task_embeddings")
        if not found:
            continue
        points, shares = principal_plane(found)
        K = len(points)
        plot = plots.plane(
            points,
            [str(j + 1) for j in range(K)],
            title=f"task embeddings, {entry.line.label}",
            labels=(_component(1, shares[0]), _component(2, shares[1])),
            colours=[_ramp(j, K) for j in range(K)],
        )
        yield Figure(plot, entry)


def _component(number: int, share: float) -> str:
    return f"component {number}, {100 * share:.0f} % of variance"
