"""Tests of differences, against examples worked out by hand and against scipy's own."""

from __future__ import annotations

import pytest
from scipy import stats

from clbench.significance import ROUNDING, Difference, holm, paired, variance, welch


def test_a_paired_difference_is_that_of_the_formula() -> None:
    # differences 1, 2, 3: mean 2, s = 1, error 1 / sqrt(3); t = 3.464102 with 2 degrees of freedom:
    # p = 1 - t / sqrt(t^2 + 2) = 1 - 3.464102 / 3.741657 = 0.074180; t_{0.975, 2} = 4.302653
    found = paired([91.0, 93.0, 92.0], [90.0, 91.0, 89.0])

    assert found is not None
    assert (found.mean, found.freedom) == (2.0, 2)
    assert found.error == pytest.approx(0.577350, abs=1e-6)
    assert found.p == pytest.approx(0.074180, abs=1e-6)
    assert found.interval == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)


def test_two_pairs_follow_the_distribution_of_cauchy() -> None:
    # differences 1, 3: mean 2, error 1; p = 1 - 2 / pi * atan(2) = 0.295167
    found = paired([1.0, 3.0], [0.0, 0.0])

    assert found is not None
    assert found.p == pytest.approx(0.295167, abs=1e-6)


def test_welch_has_its_own_error_and_freedom() -> None:
    # v_1 = 1 / 3 (n = 3, s = 1), v_2 = 4 (n = 2, s^2 = 8): error^2 = 4.333333;
    # 4.333333^2 / (0.111111 / 2 + 16 / 1) = 18.777778 / 16.055556 = 1.169550
    found = welch([1.0, 2.0, 3.0], [4.0, 8.0])

    assert found is not None
    assert (found.mean, found.error) == (-4.0, pytest.approx(4.333333**0.5, abs=1e-6))
    assert found.freedom == pytest.approx(1.169550, abs=1e-6)


def test_both_agree_with_scipy() -> None:
    a, b = [91.2, 93.4, 92.9, 90.1], [90.0, 91.5, 92.2, 86.0]

    rel, ind = stats.ttest_rel(a, b), stats.ttest_ind(a, b, equal_var=False)
    together, apart = paired(a, b), welch(a, b)

    assert together is not None
    assert apart is not None
    assert together.p == pytest.approx(rel.pvalue)
    assert together.interval == pytest.approx(tuple(rel.confidence_interval()))
    assert apart.p == pytest.approx(ind.pvalue)
    assert apart.interval == pytest.approx(tuple(ind.confidence_interval()))


def test_one_value_allows_no_test() -> None:
    assert paired([1.0], [2.0]) is None
    assert paired([], []) is None
    assert welch([1.0], [2.0, 3.0]) is None


def test_equivalence_is_shown_by_two_one_sided_tests() -> None:
    # the nearer bound is 1 - 0.5 = 0.5 away, one standard error; with 1 degree of freedom
    # p = 1/2 - atan(1) / pi = 0.25
    assert Difference(0.5, 0.5, 1).p_equivalent(1.0) == pytest.approx(0.25)
    assert Difference(-0.5, 0.5, 1).p_equivalent(1.0) == pytest.approx(0.25)
    # outside of the margin: 1/2 + atan(1) / pi
    assert Difference(1.5, 0.5, 1).p_equivalent(1.0) == pytest.approx(0.75)


def test_differences_without_scatter_are_taken_at_the_limit() -> None:
    # 0.3 - 0.2 and 0.2 - 0.1 differ in the last digit only
    found, none = paired([0.3, 0.2], [0.2, 0.1]), paired([1.0, 2.0], [1.0, 2.0])

    assert found is not None
    assert none is not None
    assert (found.p, found.p_equivalent(0.2), found.p_equivalent(0.05)) == (0.0, 0.0, 1.0)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert (none.p, none.p_equivalent(0.1), none.interval) == (1.0, 0.0, (0.0, 0.0))


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        ([], []),
        ([0.04], [0.04]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 x 0.01, 2 x 0.03, then no smaller than 0.06
        ([0.5, 0.4], [0.8, 0.8]),
        ([0.9, 0.8], [1.0, 1.0]),
    ],
)
def test_holm_multiplies_by_the_tests_that_are_left(ps: list[float], expected: list[float]) -> None:
    assert holm(ps) == pytest.approx(expected)


def test_rounding_of_equal_values_is_no_scatter() -> None:
    mixed = [0.1 + 0.2, 0.3, 0.3]

    assert len(set(mixed)) == 2
    assert variance(mixed) == 0.0
    large = [1e6 * value for value in mixed]
    assert large[0] - large[1] > ROUNDING
    assert variance(large) == 0.0
    assert variance([0.0, 1e-5]) == pytest.approx(5e-11, rel=1e-9, abs=0)


def test_rounding_of_equal_values_is_no_difference() -> None:
    # the same five scores, added in another order
    low, high = (99.7 + 100 + 98.35 + 99.9 + 99.8) / 5, (99.7 + 99.9 + 100 + 98.35 + 99.8) / 5
    found = [paired([high, high, low], [low] * 3), welch([high] * 3, [low] * 3)]

    assert 0 < high - low < 1e-13
    assert [(one.mean, one.p) for one in found if one] == [(0.0, 1.0)] * 2
