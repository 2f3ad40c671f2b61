"""Means over seeds, and the plane in which embeddings are drawn."""

from __future__ import annotations

import pytest

from clbench.report import summaries


def test_points_over_seeds_are_means_with_the_range_where_all_seeds_have_them() -> None:
    points, band = summaries.over_points([{1: 2.0, 2: 4.0, 3: 9.0}, {2: 8.0, 1: 0.0}])

    assert points == ((1, 1.0), (2, 6.0))
    assert band == ((1, 0.0, 2.0), (2, 4.0, 8.0))
    assert summaries.over_points([{1: 2.0}]) == (((1, 2.0),), ())
    assert summaries.over_points([]) == ((), ())


def test_means_of_matrices_need_every_seed() -> None:
    assert summaries.matrix_means([((1.0, None),), ((3.0, 4.0),)]) == [[2.0, None]]


def test_the_principal_plane_keeps_distances_of_what_lies_in_a_plane() -> None:
    points, shares = summaries.principal_plane([(0, 0, 0), (6, 0, 8), (3, 1, 4), (3, -1, 4)])

    assert points == [
        pytest.approx(point, abs=1e-9) for point in [(-5, 0), (5, 0), (0, 1), (0, -1)]
    ]
    assert shares == pytest.approx((50 / 52, 2 / 52))


def test_fewer_than_three_embeddings_have_a_plane_too() -> None:
    assert summaries.principal_plane([(1.0,)]) == ([(0.0, 0.0)], (0.0, 0.0))
