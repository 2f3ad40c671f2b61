"""Student's t distribution: the two functions of it that tables need, as scipy is slow to import.

With nu degrees of freedom the probability above t is half an incomplete beta function::

    P(T > t) = 1/2 I_x(nu / 2, 1/2) = 1/2 - 1/2 I_y(1/2, nu / 2)
    x = nu / (nu + t^2),    y = 1 - x,    t >= 0

and that is a continued fraction (NIST Digital Library of Mathematical Functions, 8.17.22).
"""

from __future__ import annotations

import math
from functools import cache

_PRECISION = 2e-15


def above(t: float, freedom: float) -> float:
    """Probability of Student's t above `t`; `freedom` is any number from 1."""
    if t < 0:
        return 1 - above(-t, freedom)
    square = t / freedom * t  # t^2 / nu
    if square == 0 or math.isinf(square):
        return 0.5 if square == 0 else 0.0
    a, b = freedom / 2, 0.5
    log_x, log_y = -math.log1p(square), -math.log1p(1 / square)
    log_beta = math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
    half = math.exp(a * log_x + b * log_y - log_beta) / 2
    if math.exp(log_x) < (a + 1) / (a + b + 2):  # where the fraction converges fast
        return half / (a * _fraction(a, b, math.exp(log_x)))
    return 0.5 - half / (b * _fraction(b, a, math.exp(log_y)))


def _fraction(a: float, b: float, x: float) -> float:
    """``x^a (1 - x)^b / (a B(a, b) I_x(a, b))`` as ``1 + d_1 / (1 + d_2 / (1 + ...))``."""
    value, upper, lower, m, change = 1.0, 1.0, 0.0, 0, 0.0
    while abs(change - 1) > _PRECISION:  # Lentz's rule, two terms at a time
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        m += 1
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        change = 1.0
        for d in (odd, even):
            upper, lower = 1 + d / upper, 1 / (1 + d * lower)
            change *= upper * lower
        value *= change
    return value


@cache
def quantile(p: float, freedom: float) -> float:
    """What Student's t exceeds with probability ``1 - p``, for p from 1/2 on and below 1.

    By Newton's method from 0: what is above t is convex there, so no step leads too far.
    """
    assert 0.5 <= p < 1
    log_scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    t = 0.0
    while True:
        log_shape = (freedom + 1) / 2 * math.log1p(t / freedom * t)
        density = math.exp(log_scale - log_shape) / math.sqrt(freedom * math.pi)
        step = (above(t, freedom) - (1 - p)) / density
        if step <= _PRECISION * t:
            return t
        t += step
