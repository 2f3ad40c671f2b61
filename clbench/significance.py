"""Tests of differences between means over seeds: paired, Welch's, equivalence, and Holm's rule.

All tests are of Student's t; scores near their bound are skewed, and the tests approximate there.
Differences without any scatter are taken at the limit of the formulas: p is 0, or 1 where the
difference is 0 as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clbench.student import above, quantile

LEVEL = 0.05
"""Probability of an error of the first kind that verdicts allow."""

ROUNDING = 1e-12
"""What rounding may do to a mean: this fraction of it, and no less than this to one below 1."""


@dataclass(frozen=True, slots=True)
class Difference:
    """An estimated difference of two means.

    Attributes:
        mean: The first minus the second.
        error: Its standard error.
        freedom: Degrees of freedom of Student's distribution.
    """

    mean: float
    error: float
    freedom: float

    @property
    def p(self) -> float:
        """Two-sided, of the hypothesis that there is no difference."""
        return min(1.0, 2 * self._beyond(abs(self.mean)))

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided 95 % confidence interval."""
        half = quantile(1 - LEVEL / 2, self.freedom) * self.error if self.error else 0.0
        return self.mean - half, self.mean + half

    def p_equivalent(self, margin: float) -> float:
        """Of the hypothesis that the difference is `margin` or more, on one side or the other.

        The larger p of two one-sided tests (Schuirmann 1987).
        """
        return self._beyond(margin - abs(self.mean))

    def _beyond(self, gap: float) -> float:
        """Probability of Student's t above ``gap / error``."""
        if self.error == 0:
            return 0.0 if gap > 0 else 1.0
        return above(gap / self.error, self.freedom)


def paired(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Of pairs, ``mean(d) ± t s_d / sqrt(n)`` with n - 1 degrees of freedom; None below two pairs.

    Args:
        first: (n,).
        second: (n,): pair by pair with the first.
    """
    differences = [minus(a, b) for a, b in zip(first, second, strict=True)]
    n = len(differences)
    if n < 2:
        return None
    return Difference(_mean(differences), math.sqrt(variance(differences) / n), n - 1)


def welch(first: Sequence[float], second: Sequence[float]) -> Difference | None:
    """Of independent samples that may scatter differently (Welch 1947); None below two values.

    ``error^2 = v_1 + v_2`` with ``v = s^2 / n``, and ``(v_1 + v_2)^2 / (v_1^2 / (n_1 - 1) +
    v_2^2 / (n_2 - 1))`` degrees of freedom.
    """
    if min(len(first), len(second)) < 2:
        return None
    parts = [(variance(values) / len(values), len(values) - 1) for values in (first, second)]
    total = sum(part for part, _ in parts)
    below = sum(part**2 / freedom for part, freedom in parts)
    freedom = total**2 / below if below else float(sum(freedom for _, freedom in parts))
    return Difference(minus(_mean(first), _mean(second)), math.sqrt(total), freedom)


def holm(ps: Sequence[float]) -> list[float]:
    """The p values of several tests, corrected for their number (Holm 1979); in the same order.

    The k-th smallest of m, counted from 0, times m - k, no smaller than the ones before, at most 1.
    """
    found, largest = [0.0] * len(ps), 0.0
    for k, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - k) * ps[index]))
        found[index] = largest
    return found


def minus(a: float, b: float) -> float:
    """``a - b``; rounding of equal values is not taken for a difference."""
    return 0.0 if math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING) else a - b


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    """With n - 1 in the denominator; rounding of equal values is not taken for scatter."""
    mean = _mean(values)
    if max(values) - min(values) <= ROUNDING * max(1.0, abs(mean)):
        return 0.0
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)
