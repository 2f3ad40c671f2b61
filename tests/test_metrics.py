"""Metrics of R and of streams: known answers, and properties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clbench import metrics
from clbench.records import MetricInfo, Online, Result

R = ((90.0, 20.0, 10.0), (60.0, 80.0, 30.0), (50.0, 70.0, 100.0))
INITIAL = (15.0, 10.0, 5.0)
HOLES = ((90.0, None, None), (None, 80.0, None), (None, None, 100.0))
LAST_ROW = ((None, None, None), (None, None, None), (50.0, 70.0, 100.0))


SCORES = (10.0, 20.0, 40.0, 50.0, 60.0, 70.0, 80.0, 50.0)
PLASTICITY = (0.1, 0.1, 0.2, 0.2, 0.4, 0.6, 0.3, 0.1)


def _result(
    R: metrics.Matrix,
    initial: Sequence[float | None],
    online: Online | None = None,
    better: metrics.Better = "higher",
) -> Result:
    return Result(
        metric=MetricInfo(name="accuracy", unit="%", better=better),
        R=tuple(map(tuple, R)),
        initial=tuple(initial),
        curves=(),
        num_parameters={},
        iterations=0,
        online=online,
    )


def _stream(plasticity: Sequence[float] = PLASTICITY) -> Result:
    online = Online(loss=(1.0,) * 8, score=SCORES, plasticity=tuple(plasticity))
    return _result(((None,) * 8,) * 8, (None,) * 8, online)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("online_accuracy", 47.5),  # 380 / 8
        ("last_task_accuracy", 50.0),
        ("online_forgetting", -50.0),  # (10 + 20) / 2 - (80 + 50) / 2
        ("plasticity", 0.25),  # 2.0 / 8
        ("loss_of_plasticity", 0.3),  # (0.4 + 0.6) / 2 - (0.3 + 0.1) / 2
    ],
)
def test_values_of_a_stream_worked_out_by_hand(name: str, expected: float) -> None:
    assert metrics.SUMMARIES[name](_stream()) == pytest.approx(expected)


def test_windows_that_begin_one_sample_late_are_those_of_the_source() -> None:
    samples = [0, 100, 100, 0, 100, 0]  # two tasks of three
    online = Online(loss=(1.0, 1.0), score=(200 / 3, 100 / 3), first_score=(0.0, 0.0))
    result = _result(((None,) * 2,) * 2, (None,) * 2, online).model_copy(update={"iterations": 6})

    found = metrics.SUMMARIES["online_accuracy_off_by_one"](result)

    # windows [0] and [1, 2, 3]; samples 4 and 5 are in none
    assert found == pytest.approx((samples[0] + sum(samples[1:4]) / 3) / 2)
    assert metrics.SUMMARIES["online_accuracy_off_by_one"](_stream()) is None  # no first scores


def test_a_short_stream_has_no_windows_and_without_plasticity_there_is_none() -> None:
    short = Online(loss=(1.0,) * 3, score=(1.0, 2.0, 3.0), plasticity=(0.1, 0.1, 0.1))

    assert metrics.SUMMARIES["online_forgetting"](_result((), (), short)) is None
    assert metrics.SUMMARIES["loss_of_plasticity"](_result((), (), short)) is None
    assert metrics.SUMMARIES["plasticity"](_stream(())) is None
    assert metrics.SUMMARIES["loss_of_plasticity"](_stream(())) is None


@pytest.mark.parametrize(
    ("plasticity", "expected"),
    [
        (PLASTICITY[:6], None),  # the windows of tasks 3, 4 and of 4, 5 would overlap
        (PLASTICITY[:7], -0.15),  # (0.2 + 0.4) / 2 - (0.6 + 0.3) / 2: the middle is task 3
    ],
)
def test_the_middle_of_an_odd_stream_is_the_task_in_the_middle(
    plasticity: Sequence[float], expected: float | None
) -> None:
    assert metrics.loss_of_plasticity(plasticity) == pytest.approx(expected)


def test_where_lower_is_better_forgetting_in_a_stream_is_turned() -> None:
    assert metrics.online_forgetting((1.0, 2.0, 3.0, 6.0), "lower") == 3.0  # 4.5 - 1.5


def test_only_scores_improve_in_the_direction_of_their_metric() -> None:
    directions = {name: metrics.better(name, "lower") for name in metrics.SUMMARIES}

    assert directions == {
        "during_accuracy": "lower",
        "final_accuracy": "lower",
        "incremental_accuracy": "lower",
        "backward_transfer": "higher",
        "forward_transfer": "higher",
        "forgetting": "lower",
        "online_accuracy": "lower",
        "online_accuracy_off_by_one": "lower",
        "last_task_accuracy": "lower",
        "online_forgetting": "lower",
        "plasticity": "higher",
        "loss_of_plasticity": "lower",
    }


def test_scores_of_another_metric_are_named_after_it() -> None:
    assert metrics.names("accuracy")["final_accuracy"] == "final_accuracy"
    assert metrics.names("mse")["final_mse"] == "final_accuracy"
    assert metrics.names("mse")["plasticity"] == "plasticity"
    assert "final_accuracy" not in metrics.names("mse")


OF_TASKS = [name for name in metrics.SUMMARIES if name not in metrics.OF_STREAMS]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("during_accuracy", 90.0),  # (90 + 80 + 100) / 3
        ("final_accuracy", 220 / 3),  # (50 + 70 + 100) / 3
        ("incremental_accuracy", 700 / 9),  # (90 + (60 + 80) / 2 + (50 + 70 + 100) / 3) / 3
        ("backward_transfer", -25.0),  # ((50 - 90) + (70 - 80)) / 2
        ("forward_transfer", 17.5),  # ((20 - 10) + (30 - 5)) / 2
        ("forgetting", 25.0),  # ((max(90, 60) - 50) + (80 - 70)) / 2
    ],
)
def test_values_worked_out_by_hand(name: str, expected: float) -> None:
    assert metrics.SUMMARIES[name](_result(R, INITIAL)) == pytest.approx(expected)


def test_forgetting_is_from_the_best_score_before_the_end() -> None:
    later_best = ((50.0, 0.0, 0.0), (80.0, 70.0, 0.0), (60.0, 90.0, 90.0))

    # (max(50, 80) - 60 + (70 - 90)) / 2: the second task has improved to the end
    assert metrics.forgetting(later_best, INITIAL, "higher") == 0.0


def test_where_lower_is_better_differences_are_turned() -> None:
    errors = ((1.0, 9.0), (4.0, 2.0))

    assert metrics.backward_transfer(errors, (8.0, 8.0), "lower") == -3.0
    assert metrics.forgetting(errors, (8.0, 8.0), "lower") == 3.0
    assert metrics.forward_transfer(errors, (8.0, 8.0), "lower") == -1.0


@pytest.mark.parametrize("name", metrics.SUMMARIES)
def test_what_was_not_measured_gives_nothing(name: str) -> None:
    summary = metrics.SUMMARIES[name]

    assert (summary(_result(HOLES, INITIAL)) is None) is (name != "during_accuracy")
    assert (summary(_result(LAST_ROW, INITIAL)) is None) is (name != "final_accuracy")
    assert summary(_result((), ())) is None


def test_a_single_task_has_no_transfer_and_no_forgetting() -> None:
    for name in ("backward_transfer", "forward_transfer", "forgetting"):
        assert metrics.SUMMARIES[name](_result(((5.0,),), (1.0,))) is None


_matrices = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.floats(0, 100), min_size=k, max_size=k), min_size=k, max_size=k)
)


@given(_matrices)
def test_forgetting_is_at_least_minus_backward_transfer(matrix: list[list[float]]) -> None:
    initial = [0.0] * len(matrix)
    forgetting = metrics.forgetting(matrix, initial, "higher")
    backward = metrics.backward_transfer(matrix, initial, "higher")

    assert forgetting is not None
    assert backward is not None
    assert forgetting >= -backward - 1e-9


@given(_matrices, st.floats(-50, 50))
def test_adding_a_constant_moves_means_and_no_differences(
    matrix: list[list[float]], constant: float
) -> None:
    initial = [1.0] * len(matrix)
    moved = [[score + constant for score in row] for row in matrix]
    moved_initial = [score + constant for score in initial]

    for name in OF_TASKS:
        summary = metrics.SUMMARIES[name]
        before, after = summary(_result(matrix, initial)), summary(_result(moved, moved_initial))
        assert before is not None
        expected = before + constant if name.endswith("accuracy") else before
        assert after == pytest.approx(expected, abs=1e-6)


def test_seeds_are_aggregated_with_a_t_interval() -> None:
    found = metrics.aggregate([1.0, 2.0, 3.0])

    # s = 1, t(0.975, 2) = 4.302653: 2 +- 4.302653 / sqrt(3)
    assert found is not None
    assert found.n == 3
    assert found.mean == 2.0
    assert found.low == pytest.approx(2 - 2.484138, abs=1e-5)
    assert found.high == pytest.approx(2 + 2.484138, abs=1e-5)


def test_equal_scores_have_an_interval_of_no_width() -> None:
    found = metrics.aggregate([97.1] * 6)

    assert found is not None
    assert found.mean != 97.1  # by rounding: 97.10000000000001
    assert found.low == found.mean == found.high


def test_a_single_seed_has_no_interval_and_no_seed_no_mean() -> None:
    assert metrics.aggregate([5.0]) == metrics.Aggregate(5.0, None, None, 1)
    assert metrics.aggregate([]) is None


def test_a_metric_says_no_more_than_a_record_keeps_of_it() -> None:
    assert [field.name for field in fields(metrics.Metric)] == list(MetricInfo.model_fields)
