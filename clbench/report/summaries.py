"""What several seeds say together: pure functions of what records hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

Points: TypeAlias = tuple[tuple[float, float], ...]
Band: TypeAlias = tuple[tuple[float, float, float], ...]


def matrix_means(
    matrices: Sequence[Sequence[Sequence[float | None]]],
) -> list[list[float | None]]:
    """Entry by entry the mean over seeds, (K, K); None where a seed has none."""
    means: list[list[float | None]] = []
    for rows in zip(*matrices, strict=True):
        means.append([])
        for values in zip(*rows, strict=True):
            known = [value for value in values if value is not None]
            complete = len(known) == len(values)
            means[-1].append(sum(known) / len(known) if complete else None)
    return means


def over_points(seeds: Sequence[Mapping[float, float]]) -> tuple[Points, Band]:
    """Mean over seeds at every x that all of them have, and the range of the seeds.

    Args:
        seeds: x -> y, for each seed.

    Returns:
        ``(x, mean)`` and ``(x, lowest, highest)``, x ascending; no range of a single seed.
    """
    if not seeds:
        return (), ()
    common = sorted(set(seeds[0]).intersection(*seeds[1:]))
    values = [(x, [seed[x] for seed in seeds]) for x in common]
    points = tuple((x, sum(ys) / len(ys)) for x, ys in values)
    band = tuple((x, min(ys), max(ys)) for x, ys in values) if len(seeds) > 1 else ()
    return points, band


def principal_plane(
    rows: Sequence[Sequence[float]],
) -> tuple[list[tuple[float, float]], tuple[float, float]]:
    """Rows on the plane of their two largest principal components.

    Args:
        rows: (K, E).

    Returns:
        K points, and the share of the variance along each axis. The sign of a component is such
        that its entry of largest size is positive.
    """
    import numpy as np

    centred = np.asarray(rows, dtype=float)
    centred = centred - centred.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    scores = centred @ (directions * np.sign(largest)).T  # (K, min(K, E))
    scores = np.pad(scores, ((0, 0), (0, 2)))[:, :2]
    variances = np.pad(sizes**2, (0, 2))[:2] / max(float((sizes**2).sum()), 1e-300)
    points = [(float(x), float(y)) for x, y in scores]
    return points, (float(variances[0]), float(variances[1]))
