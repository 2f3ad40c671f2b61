"""Figures: where their lines stand, and what stands at them."""

from __future__ import annotations

import re

import pytest
from reports import gather

from clbench.report import figures, plots
from clbench.report.entries import Entry
from clbench.report.plots import Series
from clbench.store import Store
from clbench.suite import Suite


@pytest.fixture
def entry(suite: Suite, store: Store) -> Entry:
    """The row a/plain, of three tasks of ten steps with a point at every fifth."""
    return gather(suite, store).parts[0].shown[0]


def _places(series: list[Series]) -> list[tuple[float, ...]]:
    return [tuple(x for x, _ in one.points) for one in series]


def test_learning_curves_follow_one_another(entry: Entry) -> None:
    series = figures._curve_series(entry, lambda curve: curve.loss)

    assert _places(series) == [(5, 10), (15, 20), (25, 30)]


def test_the_score_on_a_task_begins_where_it_has_been_learnt(entry: Entry) -> None:
    assert _places(figures._lines_of_tasks(entry)) == [(1, 2, 3), (2, 3), (3,)]


@pytest.mark.parametrize(
    ("num_tasks", "is_numbered"), [(1, False), (2, True), (12, True), (13, False)]
)
def test_a_few_tasks_are_numbered_above_their_curves(
    num_tasks: int, is_numbered: bool, entry: Entry
) -> None:
    series = [Series("s", "", "red", 0, ((float(k), 1.0),)) for k in range(1, num_tasks + 1)]

    plot = figures._curve("loss", "loss", entry, series, plots.axis([0.0, 1.0]))

    assert ("training steps, tasks numbered above" in plot) is is_numbered
    assert plot.count('class="end"') == (num_tasks if is_numbered else 0)


def test_of_whole_numbers_no_part_stands_at_the_axis() -> None:
    def ticks(xs: tuple[float, ...]) -> list[str]:
        series = [Series("s", "", "red", 0, tuple((x, 1.0) for x in xs))]
        axis = plots.axis([0.0, 1.0])
        plot = plots.lines(series, title="t", x_label="tasks", y_label="", y_axis=axis)
        return re.findall(r'class="tick middle"[^>]*>([^<]*)<', plot)

    assert ticks((1.0, 2.0, 3.0)) == ["1", "2", "3"]
    assert ticks((1.0, 2.5, 3.0)) == ["1", "1.5", "2", "2.5", "3"]


def test_both_axes_of_a_plane_have_the_same_scale() -> None:
    corners = [(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)]

    plot = plots.plane(corners, ["a", "b", "c"], title="t", labels=("x", "y"), colours=["red"] * 3)

    (ax, ay), (bx, _), (_, cy) = (
        (float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', plot)
    )
    assert bx - ax == pytest.approx(ay - cy, abs=0.2)  # coordinates have one digit
    assert bx - ax > 50
