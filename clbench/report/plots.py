"""Numbers -> SVG text: lines with bands, and points in a plane.

A plot is about as wide as a phone. Colours are custom properties of the page, so that both colour
schemes fit; no meaning hangs on colour, for every line ends in its mark. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 340, 210
LEFT, RIGHT, TOP, BOTTOM = 42, 30, 26, 34
MARK_HEIGHT = 11
"""Least distance between the marks of two lines."""
MOST_DOTS = 25
"""Points of a line up to which each of them gets a dot."""
LOG_FROM = 50
"""Ratio of the largest value to the least from which an axis is logarithmic."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Attributes:
        label: What it is, for a reader who points at it or cannot see it.
        mark: A few characters at its end; empty where there is one line only.
        colour: A CSS colour.
        dash: Index of the pattern of the line, 0 for an unbroken one.
        points: ``(x, y)``, x ascending.
        band: ``(x, lowest, highest)`` over the seeds; empty for a single seed.
    """

    label: str
    mark: str
    colour: str
    dash: int
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values and how it is divided."""

    low: float
    high: float
    is_log: bool = False

    def fraction(self, value: float) -> float:
        """Where a value is, from 0 (low) to 1 (high)."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return (at - low) / (high - low)

    def ticks(self) -> list[float]:
        """Round values along the axis, about five."""
        if self.is_log:
            first, last = round(math.log10(self.low)), round(math.log10(self.high))
            return [10.0**k for k in range(first, last + 1, max(1, math.ceil((last - first) / 5)))]
        step = _round_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def axis(values: Sequence[float], unit: str = "") -> Axis:
    """The axis that fits: up to 100 for percent; logarithmic where positive values differ widely.

    Percents are shown from 0, or from 50 or 90 where all of them are above.
    """
    low, high = min(values, default=0.0), max(values, default=1.0)
    if unit == "%":
        return Axis(max(start for start in (0.0, 50.0, 90.0) if start <= max(0.0, low)), 100.0)
    if low > 0 and high / low >= LOG_FROM:
        return Axis(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)), True)
    if high - low <= 1e-12 * max(1.0, abs(high)):
        low, high = (min(0.0, low), max(0.0, high)) if high else (0.0, 1.0)
    step = _round_step(high - low)
    return Axis(math.floor(low / step) * step, math.ceil(high / step) * step)


def _round_step(span: float) -> float:
    """1, 2 or 5 times a power of ten: at least a fifth of the span."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(power * k for k in (1, 2, 5, 10) if power * k >= span / 5 * (1 - 1e-9))


def number(value: float) -> str:
    """A number in few characters: ``20k``, ``0.05``, ``1e-06``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size and abs(value) < 1e9:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}" if abs(value) > 1e-12 else "0"


def heights(series: Iterable[Series]) -> list[float]:
    """Every y of lines and of their bands."""
    found = []
    for one in series:
        found += [y for _, y in one.points]
        found += [y for _, *ends in one.band for y in ends]
    return found


def lines(
    series: Sequence[Series],
    *,
    title: str,
    x_label: str,
    y_label: str,
    y_axis: Axis,
    spans: Sequence[tuple[float, float, str]] = (),
) -> Markup:
    """Lines over a common x, each with the band of its seeds.

    Args:
        series: At least one, with at least one point each.
        title: What is shown, for those who cannot see it.
        x_label: What x is; it stands under the plot.
        y_label: What y is; it stands above the plot. Empty where the caption says it.
        y_axis: Has room for every y and every band, see `axis` and `heights`.
        spans: ``(from, to, name)``: parts of x with their names, such as the tasks.
    """
    xs = [x for one in series for x, _ in one.points] + [start for start, _, _ in spans]
    x_axis = Axis(min(xs), max(xs)) if max(xs) > min(xs) else Axis(min(xs) - 1, max(xs) + 1)
    frame = _Frame(x_axis, y_axis)
    whole = all(x == round(x) for x in xs)
    ticks = [x for x in x_axis.ticks() if not whole or abs(x - round(x)) < 1e-9]
    heading = ", ".join(filter(None, [y_label, "logarithmic" if y_axis.is_log else ""]))
    parts = [frame.grid(ticks, y_axis.ticks()), _text(4, 12, heading, "axis")]
    parts += [frame.span(*span) for span in spans]
    parts += [frame.line(one) for one in series]
    parts += frame.marks(series)
    parts.append(_text(LEFT + frame.width / 2, HEIGHT - 4, x_label, "axis middle"))
    return _svg(title, _words(series), parts)


def plane(
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    *,
    title: str,
    labels: tuple[str, str],
    colours: Sequence[str],
) -> Markup:
    """Named points in a plane whose two axes have the same scale."""
    middle = [(min(values) + max(values)) / 2 for values in zip(*points, strict=True)]
    half = max(abs(value - middle[k]) for point in points for k, value in enumerate(point)) or 1.0
    height = HEIGHT - TOP - BOTTOM
    wide = half * (WIDTH - LEFT - RIGHT) / height  # one unit is equally long on both axes
    x_axis = Axis(middle[0] - 1.2 * wide, middle[0] + 1.2 * wide)
    y_axis = Axis(middle[1] - 1.2 * half, middle[1] + 1.2 * half)
    frame = _Frame(x_axis, y_axis)
    parts = [frame.grid(x_axis.ticks(), y_axis.ticks()), _text(4, 12, labels[1], "axis")]
    for (x, y), name, colour in zip(points, names, colours, strict=True):
        at = f'cx="{frame.x(x):.1f}" cy="{frame.y(y):.1f}"'
        parts.append(Markup(f'<circle class="dot" r="4" {at} style="--c:{escape(colour)}"/>'))
        parts.append(_text(frame.x(x) + 6, frame.y(y) + 4, name, "mark"))
    parts.append(_text(LEFT + frame.width / 2, HEIGHT - 4, labels[0], "axis middle"))
    words = "; ".join(
        f"{name}: {x:.3g}, {y:.3g}" for (x, y), name in zip(points, names, strict=True)
    )
    return _svg(title, words, parts)


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where values are in the plot."""

    x_axis: Axis
    y_axis: Axis

    @property
    def width(self) -> int:
        return WIDTH - LEFT - RIGHT

    def x(self, value: float) -> float:
        return LEFT + self.width * self.x_axis.fraction(value)

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * self.y_axis.fraction(value)

    def grid(self, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> Markup:
        right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
        rules = "".join(f"M{LEFT} {self.y(y):.1f}H{right}" for y in y_ticks)
        rules += "".join(f"M{self.x(x):.1f} {bottom}v4" for x in x_ticks)
        texts = [_text(LEFT - 5, self.y(y) + 3.5, number(y), "tick end") for y in y_ticks]
        texts += [_text(self.x(x), bottom + 14, number(x), "tick middle") for x in x_ticks]
        return Markup(f'<path class="rule" d="{rules}"/>') + Markup("").join(texts)

    def span(self, start: float, end: float, name: str) -> Markup:
        """A rule where a part of x ends, and the name of the part."""
        rule = f'<path class="end" d="M{self.x(end):.1f} {TOP}V{HEIGHT - BOTTOM}"/>'
        return Markup(rule) + _text(self.x((start + end) / 2), TOP - 2, name, "tick middle")

    def line(self, one: Series) -> Markup:
        at = [(self.x(x), self.y(y)) for x, y in one.points]
        parts = [f"<title>{escape(one.label)}</title>"]
        if one.band:
            over = [(self.x(x), self.y(high)) for x, _, high in one.band]
            under = [(self.x(x), self.y(low)) for x, low, _ in reversed(one.band)]
            parts.append(f'<path class="band" d="{_path(over + under)}Z"/>')
        parts.append(f'<path class="line" d="{_path(at)}"/>')
        if len(at) <= MOST_DOTS:
            parts += [f'<circle class="dot" r="2.5" cx="{x:.1f}" cy="{y:.1f}"/>' for x, y in at]
        style = f'class="dash{one.dash}" style="--c:{escape(one.colour)}"'
        return Markup(f"<g {style}>{''.join(parts)}</g>")

    def marks(self, series: Sequence[Series]) -> list[Markup]:
        """The marks at the right, moved apart, each with a thin line from the end of its line."""
        wanted = sorted((self.y(s.points[-1][1]), i) for i, s in enumerate(series) if s.mark)
        room = (HEIGHT - TOP - BOTTOM) // MARK_HEIGHT + 1
        wanted = wanted[:: max(1, math.ceil(len(wanted) / room))]
        places = _apart([y for y, _ in wanted], TOP, HEIGHT - BOTTOM)
        found = []
        for place, (y, i) in zip(places, wanted, strict=True):
            one, right = series[i], WIDTH - RIGHT
            leader = f"M{self.x(one.points[-1][0]) + 3:.1f} {y:.1f}L{right + 8} {place:.1f}"
            path = f'<path class="leader" style="--c:{escape(one.colour)}" d="{leader}"/>'
            found.append(Markup(path) + _text(right + 10, place + 3.5, one.mark, "mark"))
        return found


def _apart(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Ascending places near the wanted ones, `MARK_HEIGHT` apart, between low and high."""
    places: list[float] = []
    for y in wanted:
        places.append(max(y, places[-1] + MARK_HEIGHT) if places else max(y, low))
    limit = high
    for k in range(len(places) - 1, -1, -1):
        places[k] = min(places[k], limit)
        limit = places[k] - MARK_HEIGHT
    return places


def _path(points: Sequence[tuple[float, float]]) -> str:
    """``M`` to the first point, and from point to point by steps, which take fewer characters."""
    at = [(round(x, 1), round(y, 1)) for x, y in points]
    steps = (f"l{b[0] - a[0]:.1f} {b[1] - a[1]:.1f}" for a, b in pairwise(at))
    return f"M{at[0][0]:.1f} {at[0][1]:.1f}" + "".join(steps)


def _words(series: Sequence[Series]) -> str:
    """The plot in words: where each line starts and ends."""
    return "; ".join(
        f"{one.label}: from {number(one.points[0][1])} to {number(one.points[-1][1])}"
        for one in series
    )


def _text(x: float, y: float, text: str, kind: str) -> Markup:
    return Markup(f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>')


def _svg(title: str, words: str, parts: Sequence[Markup]) -> Markup:
    head = f'<svg class="plot" role="img" viewBox="0 0 {WIDTH} {HEIGHT}"'
    head += f' aria-label="{escape(title)}. {escape(words)}">'
    return Markup(head) + Markup("").join(parts) + Markup("</svg>")
