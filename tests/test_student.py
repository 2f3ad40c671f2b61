"""Student's t distribution, against its closed forms and against scipy's."""

from __future__ import annotations

import math

import pytest
from scipy import special

from clbench.student import above, quantile

FREEDOMS = [1, 1.1696, 1.5, 2, 2.5, 3, 4, 5.3, 9, 10, 19, 29.4, 99, 250.25, 999.5, 1000]


@pytest.mark.parametrize("t", [1e-6, 0.3, 1.0, 1.7, 1.8, 12.7, 1e6])
def test_few_degrees_of_freedom_have_closed_forms(t: float) -> None:
    # 1: that of Cauchy; 2: 1/2 - t / (2 sqrt(2 + t^2)), written without cancellation
    root = math.sqrt(2 + t * t)

    assert above(t, 1) == pytest.approx(math.atan(1 / t) / math.pi, rel=1e-14, abs=0)
    assert above(t, 2) == pytest.approx(1 / (root * (root + t)), rel=1e-14, abs=0)


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("t", [-30.0, -2.0, -0.1, 0.1, 0.7, 1.5, 1.7, 1.8, 2.0, 4.3, 12.7, 1e3])
def test_what_is_above_agrees_with_scipy(t: float, freedom: float) -> None:
    assert above(t, freedom) == pytest.approx(special.stdtr(freedom, -t), rel=1e-10, abs=1e-290)


@pytest.mark.parametrize("freedom", FREEDOMS)
@pytest.mark.parametrize("p", [0.55, 0.6, 0.75, 0.9, 0.95, 0.975, 0.99, 0.999, 1 - 1e-6, 1 - 1e-12])
def test_quantiles_agree_with_scipy(p: float, freedom: float) -> None:
    assert quantile(p, freedom) == pytest.approx(special.stdtrit(freedom, p), rel=1e-10, abs=0)


@pytest.mark.parametrize("freedom", [1, 2.5, 1000])
def test_the_ends_of_the_range_are_taken_at_their_limits(freedom: float) -> None:
    assert quantile(0.5, freedom) == 0.0
    assert above(0.0, freedom) == above(1e-200, freedom) == 0.5
    assert above(-1e200, freedom) == 1.0
    assert above(1e200, freedom) == above(math.inf, freedom) == 0.0


def test_many_degrees_of_freedom_approach_the_normal_distribution() -> None:
    # z_{0.975} = 1.959964, and t is larger by (z^3 + z) / (4 nu) = 2.37e-5
    assert quantile(0.975, 100_000) == pytest.approx(1.959988, abs=1e-6)
