"""Axes, marks and lines of plots."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from clbench.report import plots
from clbench.report.plots import Series


@pytest.mark.parametrize(
    ("values", "unit", "low", "high", "is_log", "ticks"),
    [
        ([20.0, 99.0], "%", 0, 100, False, [0, 20, 40, 60, 80, 100]),
        ([51.0, 99.0], "%", 50, 100, False, [50, 60, 70, 80, 90, 100]),
        ([0.0, 3.7], "", 0, 4, False, [0, 1, 2, 3, 4]),
        ([0.02, 30.0], "", 0.01, 100, True, [0.01, 0.1, 1, 10, 100]),
        ([2.0, 2.0], "", 0, 2, False, [0, 0.5, 1, 1.5, 2]),
        ([0.0], "", 0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ([-1.0, -1.0], "", -1, 0, False, [-1, -0.8, -0.6, -0.4, -0.2, 0]),
    ],
)
def test_axes_are_round_and_logarithmic_where_values_differ_widely(
    values: list[float], unit: str, low: float, high: float, is_log: bool, ticks: list[float]
) -> None:
    axis = plots.axis(values, unit)

    assert (axis.low, axis.high, axis.is_log) == (pytest.approx(low), pytest.approx(high), is_log)
    assert axis.ticks() == pytest.approx(ticks)


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios() -> None:
    axis = plots.axis([0.01, 100.0])

    assert [axis.fraction(value) for value in (0.01, 1, 100)] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize(
    ("value", "text"),
    [(20_000, "20k"), (1.5e6, "1.5M"), (0.05, "0.05"), (0, "0"), (1e-17, "0"), (-3.0, "-3")],
)
def test_numbers_at_axes_are_short(value: float, text: str) -> None:
    assert plots.number(value) == text


def test_marks_at_the_ends_of_lines_are_kept_apart_and_inside() -> None:
    ends = (99.0, 99.0, 99.0, 1.0, 1.0)
    series = [
        Series(f"line {k}", f"<{k}>", "red", 0, ((1.0, 50.0), (2.0, y))) for k, y in enumerate(ends)
    ]

    svg = plots.lines(series, title="t", x_label="x", y_label="y", y_axis=plots.axis(ends, "%"))

    marks = re.findall(r'class="mark" x="[\d.]+" y="([\d.]+)">&lt;(\d)&gt;', svg)
    heights = [float(y) for y, _ in marks]
    assert sorted(name for _, name in marks) == ["0", "1", "2", "3", "4"]
    assert min(b - a for a, b in pairwise(heights)) >= plots.MARK_HEIGHT - 0.1
    assert min(heights) >= plots.TOP
    assert max(heights) <= plots.HEIGHT - plots.BOTTOM + 4


def test_of_very_many_lines_some_marks_are_left_out() -> None:
    series = [Series("s", str(k), "red", 0, ((1.0, float(k)),)) for k in range(100)]

    svg = plots.lines(
        series, title="t", x_label="x", y_label="y", y_axis=plots.axis([0.0, 99.0], "%")
    )

    assert 10 <= svg.count('class="mark"') <= 15
