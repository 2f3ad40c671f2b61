"""Scores -> during, final, transfer, forgetting, plasticity: pure functions, each defined once.

For tasks with boundaries, ``R[i][j]`` is the score on task j after learning task i (K tasks,
counted from 0), None where it was not measured; ``initial[j]`` is the score on task j before any
learning. Each function returns None where something that it needs was not measured. Differences are
turned so that a positive backward or forward transfer is good, and a positive forgetting is bad,
also where lower scores are better.

In a task-free stream the prediction before each update is scored; ``scores[k]`` is the mean over
the samples of task k, and ``plasticity[k]`` the mean of ``clamp(1 - L_after / max(L_before, 1e-8),
0, 1)``, the loss on a sample after and before the update on it (Elsayed & Mahmood 2024, Sec. 3.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

from clbench.significance import variance
from clbench.student import quantile

Matrix: TypeAlias = Sequence[Sequence[float | None]]
Better: TypeAlias = Literal["higher", "lower"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a score is.

    Attributes:
        name: ``accuracy`` or ``mse``.
        unit: ``%`` or the empty text.
        better: The direction of improvement.
    """

    name: str
    unit: str
    better: Better


ACCURACY = Metric("accuracy", "%", "higher")
MSE = Metric("mse", "", "lower")


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _minus(a: float | None, b: float | None, better: Better) -> float | None:
    """How much better a is than b."""
    if a is None or b is None:
        return None
    return a - b if better == "higher" else b - a


def during(R: Matrix, initial: Sequence[float | None], better: Better) -> float | None:
    """Mean of the diagonal, ``1/K sum_i R[i][i]`` (Ehret et al. 2021): right after learning."""
    return _mean([R[i][i] for i in range(len(R))])


def final(R: Matrix, initial: Sequence[float | None], better: Better) -> float | None:
    """Mean of the last row, ``1/K sum_j R[K-1][j]`` (Ehret et al. 2021): after all learning."""
    return _mean(list(R[-1])) if R else None


def incremental(R: Matrix, initial: Sequence[float | None], better: Better) -> float | None:
    """Mean over i of the mean over the tasks seen, ``1/K sum_i 1/(i+1) sum_{j<=i} R[i][j]``.

    The average incremental accuracy of Rebuffi et al. 2017 (iCaRL), with the first task.
    """
    return _mean([_mean(R[i][: i + 1]) for i in range(len(R))])


def backward_transfer(R: Matrix, initial: Sequence[float | None], better: Better) -> float | None:
    """``1/(K-1) sum_{j<K-1} (R[K-1][j] - R[j][j])`` (Lopez-Paz & Ranzato 2017)."""
    return _mean([_minus(R[-1][j], R[j][j], better) for j in range(len(R) - 1)])


def forward_transfer(R: Matrix, initial: Sequence[float | None], better: Better) -> float | None:
    """``1/(K-1) sum_{j>0} (R[j-1][j] - initial[j])`` (Lopez-Paz & Ranzato 2017)."""
    return _mean([_minus(R[j - 1][j], initial[j], better) for j in range(1, len(R))])


def forgetting(R: Matrix, initial: Sequence[float | None], better: Better) -> float | None:
    """``1/(K-1) sum_{j<K-1} (max_{j<=i<K-1} R[i][j] - R[K-1][j])``, after Chaudhry et al. 2018.

    They take the maximum over all i < K-1; here not over i < j, as the score on a task before it is
    learnt is no knowledge that could be forgotten. Where lower scores are better, the best is the
    minimum and the difference is turned.
    """
    best = max if better == "higher" else min
    drops: list[float | None] = []
    for j in range(len(R) - 1):
        earlier = [score for row in R[j:-1] if (score := row[j]) is not None]
        complete = len(earlier) == len(R) - 1 - j
        drops.append(_minus(best(earlier), R[-1][j], better) if complete else None)
    return _mean(drops)


def online(scores: Sequence[float], better: Better) -> float | None:
    """Mean over all tasks of a stream, which are equally long."""
    return _mean(scores)


def last_task(scores: Sequence[float], better: Better) -> float | None:
    """Mean over the samples of the last task of a stream."""
    return scores[-1] if scores else None


def online_forgetting(scores: Sequence[float], better: Better) -> float | None:
    """First window of two tasks minus the last one (Elsayed & Mahmood 2024, Sec. 3.3).

    Negative: the learner got better. From four tasks on, so that the windows do not overlap.
    """
    if len(scores) < 4:
        return None
    return _minus(_mean(scores[:2]), _mean(scores[-2:]), better)


def online_off_by_one(
    scores: Sequence[float], first: Sequence[float], num_samples: float
) -> float | None:
    """Mean over windows that begin one sample late, as the published statistics have them.

    Entry 0 is the first sample alone, entry k the samples 1 to n of task k - 1, counted from 0, the
    last of them the first one of task k; the rest of the last task is in no window
    (Elsayed & Mahmood 2024, code of the statistics runs).

    Args:
        scores: Mean over the samples of each task.
        first: Score of the first sample of each task.
        num_samples: n, samples of a task.
    """
    if not scores or len(first) != len(scores):
        return None
    later = [scores[k - 1] + (first[k] - first[k - 1]) / num_samples for k in range(1, len(scores))]
    return _mean([first[0], *later])


def loss_of_plasticity(plasticity: Sequence[float]) -> float | None:
    """Window of two tasks in the middle of the stream minus the last one (same source)."""
    middle = len(plasticity) // 2
    if len(plasticity) - middle < 4:
        return None
    return _minus(_mean(plasticity[middle : middle + 2]), _mean(plasticity[-2:]), "higher")


class HasBetter(Protocol):
    """The metric of a measurement, as far as it matters here."""

    @property
    def better(self) -> Better:
        """Direction of improvement."""


class Stream(Protocol):
    """What was measured of a task-free stream, task by task."""

    @property
    def score(self) -> Sequence[float]:
        """Mean score of the predictions before the updates."""

    @property
    def plasticity(self) -> Sequence[float]:
        """Mean plasticity; empty where it was not measured."""

    @property
    def first_score(self) -> Sequence[float]:
        """Score of the first sample."""


class Measurement(Protocol):
    """What was measured of a cell (`clbench.records.Result`)."""

    @property
    def R(self) -> Matrix:  # noqa: N802 - the symbol of the field
        """Scores after each task."""

    @property
    def initial(self) -> Sequence[float | None]:
        """Scores before learning."""

    @property
    def metric(self) -> HasBetter:
        """Of the scores."""

    @property
    def online(self) -> Stream | None:
        """Given for streams only."""

    @property
    def iterations(self) -> int:
        """Training steps in all; of streams one for each sample."""


Summary: TypeAlias = Callable[[Measurement], float | None]


def _of_matrix(
    function: Callable[[Matrix, Sequence[float | None], Better], float | None],
) -> Summary:
    return lambda m: function(m.R, m.initial, m.metric.better)


def _off_by_one(m: Measurement) -> float | None:
    if m.online is None or not m.online.score:
        return None
    samples = m.iterations / len(m.online.score)
    return online_off_by_one(m.online.score, m.online.first_score, samples)


def _of_stream(function: Callable[[Sequence[float], Better], float | None]) -> Summary:
    return lambda m: None if m.online is None else function(m.online.score, m.metric.better)


SUMMARIES: Mapping[str, Summary] = {
    "during_accuracy": _of_matrix(during),
    "final_accuracy": _of_matrix(final),
    "incremental_accuracy": _of_matrix(incremental),
    "backward_transfer": _of_matrix(backward_transfer),
    "forward_transfer": _of_matrix(forward_transfer),
    "forgetting": _of_matrix(forgetting),
    "online_accuracy": _of_stream(online),
    "online_accuracy_off_by_one": _off_by_one,
    "last_task_accuracy": _of_stream(last_task),
    "online_forgetting": _of_stream(online_forgetting),
    "plasticity": lambda m: None if m.online is None else _mean(m.online.plasticity),
    "loss_of_plasticity": lambda m: (
        None if m.online is None else loss_of_plasticity(m.online.plasticity)
    ),
}
"""Name in suites and tables -> function of what was measured."""

OF_STREAMS = frozenset(list(SUMMARIES)[6:])
"""The summaries that task-free streams have; all others need boundaries of tasks."""


def better(summary: str, of_scores: Better) -> Better:
    """The direction in which a summary improves, where scores improve in that of `of_scores`."""
    if summary in ("forgetting", "online_forgetting", "loss_of_plasticity"):
        return "lower"
    if summary in ("backward_transfer", "forward_transfer", "plasticity"):
        return "higher"
    return of_scores


def names(metric: str) -> Mapping[str, str]:
    """Name in suites -> key of `SUMMARIES`: scores of another metric are named after it.

    With the metric ``mse``, ``final_mse`` stands for what is otherwise ``final_accuracy``.
    """
    return {name_of(key, metric): key for key in SUMMARIES}


def name_of(summary: str, metric: str) -> str:
    """What suites call a summary of a metric: ``final_mse`` for ``final_accuracy``."""
    return summary.replace("_accuracy", f"_{metric}")


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A mean over seeds with its confidence interval.

    Attributes:
        mean: Over seeds.
        low, high: Two-sided 95 % Student-t interval of the mean; None for a single seed.
        n: Number of seeds.
    """

    mean: float
    low: float | None
    high: float | None
    n: int


def aggregate(values: Sequence[float]) -> Aggregate | None:
    """Mean and 95 % confidence interval, ``mean ± t_{0.975, n-1} s / sqrt(n)``; None for none.

    s is the sample standard deviation (n - 1 in the denominator). Seeds are taken as independent
    draws; scores near their bound are skewed, so the interval is approximate there.
    """
    n = len(values)
    if n == 0:
        return None
    mean = sum(values) / n
    if n == 1:
        return Aggregate(mean, None, None, 1)
    half = quantile(0.975, n - 1) * math.sqrt(variance(values) / n)
    return Aggregate(mean, mean - half, mean + half, n)
