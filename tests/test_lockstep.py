"""Cells in lockstep end as they would alone, whatever happens to one of them."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
import torch
import toys
from lockstep_cells import alone, group_of, results, silent, streams
from rich.console import Console

from clbench import session, tracking
from clbench.config import Choice, Training
from clbench.errors import UnavailableError
from clbench.executor import Listener, Progress
from clbench.groups import Width
from clbench.matrix import Cell, Group
from clbench.protocols import Batch, Observation, TaskData
from clbench.records import Record, Result
from clbench.registry import Registry
from clbench.runner import run, run_group
from clbench.scenario import Scenario
from clbench.store import Store
from clbench.suite import load

PROGRAM = {"clbench": "0"}


pytestmark = pytest.mark.usefixtures("widths")


@pytest.mark.parametrize(
    ("regime", "learner"),
    [
        ("sequential", "plain"),
        ("sequential", "generated"),
        ("cumulative", "plain"),
        ("independent", "plain"),
        ("joint", "plain"),
    ],
)
@pytest.mark.parametrize("family", ["echoes", "pictures"])
def test_cells_of_every_regime_end_as_they_would_alone(
    regime: str, family: str, learner: str, widths: list[int]
) -> None:
    group = group_of(1, 2, 3, family=family, learner=learner, regime=regime)

    records = run_group(group, toys.registry(), silent)

    assert [record.config for record in records] == [cell.config for cell in group]
    assert set(widths) == {3}
    assert results(records) == [alone(cell).result for cell in group]
    assert all(record.result for record in records)


def test_a_group_of_one_and_seeds_of_their_own_data(widths: list[int]) -> None:
    group = tuple(
        Cell("toy", "a/b", toys.config(seed=seed, data_seed=data))
        for seed, data in ((1, 2), (2, 2), (3, 4))
    )

    together, (single,) = (
        run_group(group, toys.registry(), silent),
        run_group(group[:1], toys.registry(), silent),
    )

    expected = [alone(cell) for cell in group]
    assert results(together) == results(expected)
    assert single.result == expected[0].result
    assert [record.provenance and record.provenance.lockstep for record in (*together, single)] == [
        *(3, 3, 3),
        1,
    ]


def test_the_time_of_a_group_is_divided_evenly() -> None:
    began = time.perf_counter()

    records = run_group(group_of(1, 2, 3), toys.registry(), silent)

    took = time.perf_counter() - began
    times = [record.timing for record in records if record.timing]
    assert 0.5 * took < sum(one.total for one in times) <= took
    assert 0 < sum(one.train for one in times) < sum(one.total for one in times)


def test_a_replica_that_diverges_fails_by_itself(
    monkeypatch: pytest.MonkeyPatch, widths: list[int]
) -> None:
    really = toys.Plain.observe

    def observe(self: toys.Plain, batch: Batch) -> Observation:
        found = really(self, batch)
        self.steps = getattr(self, "steps", 0) + 1
        if self.context.model_seed == 2 and self.steps == 27:
            return Observation(found.loss * torch.inf, found.outputs)
        return found

    monkeypatch.setattr(toys.Plain, "observe", observe)
    group = group_of(1, 2, 3)

    records = run_group(group, toys.registry(), silent)

    expected = [alone(cell) for cell in group]
    assert [record.status for record in records] == ["ok", "failed", "ok"]
    assert results(records) == results(expected)
    found, lost = records[1].failure, expected[1].failure
    assert found is not None
    assert lost is not None
    assert (found.type, found.message) == (lost.type, lost.message)
    assert found.message == "the loss of task 1 is inf between steps 7 and 7"
    assert widths == [3, 3, 2, 2]  # at each task, and when the one has left


def test_the_last_that_has_not_diverged_goes_on_as_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    really = toys.Plain.observe

    def observe(self: toys.Plain, batch: Batch) -> Observation:
        found = really(self, batch)
        is_lost = self.context.model_seed != 2
        return Observation(found.loss * torch.nan, found.outputs) if is_lost else found

    monkeypatch.setattr(toys.Plain, "observe", observe)
    group = group_of(1, 2, 3)

    records = run_group(group, toys.registry(), silent)

    assert [record.status for record in records] == ["failed", "ok", "failed"]
    assert records[1].result == alone(group[1]).result


def test_an_output_that_is_no_number_fails_its_cell_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    really = toys.Plain.predict

    def predict(self: toys.Plain, query: Any) -> torch.Tensor:
        outputs = really(self, query)
        return outputs * torch.nan if self.context.model_seed == 3 else outputs

    monkeypatch.setattr(toys.Plain, "predict", predict)

    records = run_group(group_of(1, 2, 3), toys.registry(), silent)

    assert [record.status for record in records] == ["ok", "ok", "failed"]
    assert records[2].failure is not None
    assert records[2].failure.type == "DivergedError"


def test_after_any_other_error_all_are_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    really = toys.Plain.end_task

    def end_task(self: toys.Plain, task_id: int, data: TaskData) -> None:
        if self.context.model_seed == 2:
            raise ValueError("on purpose")
        really(self, task_id, data)

    monkeypatch.setattr(toys.Plain, "end_task", end_task)
    group = group_of(1, 2, 3)

    records = run_group(group, toys.registry(), silent)

    assert [record.status for record in records] == ["ok", "failed", "ok"]
    assert results(records) == [alone(cell).result for cell in group]
    assert records[1].failure is not None
    assert records[1].failure.message == "on purpose"
    assert [record.provenance and record.provenance.lockstep for record in records] == [1, 1, 1]


class _Diary:
    """A tracker that writes down how its cell begins and ends."""

    all: ClassVar[list[list[str]]] = []

    def __init__(self) -> None:
        self._told: list[str] = []
        self.all.append(self._told)

    def started(self, start: Any) -> None:
        self._told.append("started")

    def learnt(self, points: Any) -> None:
        pass

    def evaluated(self, evaluation: Any) -> None:
        pass

    def finished(self, record: Record, summary: Any) -> None:
        self._told.append(record.status)


def test_after_an_error_in_lockstep_trackers_are_told_of_an_end_and_records_of_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        reports.append(progress)
        if len(reports) == 1:
            raise MemoryError("too wide\nby far")

    monkeypatch.setattr(tracking, "_build", lambda choice, registry: _Diary())
    monkeypatch.setattr(_Diary, "all", [])
    choice = Choice(name="diary", version=1, params={})
    group = tuple(replace(cell, trackers=(choice,)) for cell in group_of(1, 2))

    records = run_group(group, toys.registry(), report)

    assert _Diary.all == [["started", "out-of-memory"]] * 2 + [["started", "ok"]] * 2
    assert [record.provenance and record.provenance.notes for record in records] == [
        ("run alone after lockstep failed (MemoryError: too wide)",)
    ] * 2


def test_seeds_of_unequal_steps_run_alone_and_learn_nothing_in_vain(
    monkeypatch: pytest.MonkeyPatch, widths: list[int]
) -> None:
    def tasks(self: toys.Pictures, data_seed: int, scenario: Scenario) -> Sequence[toys.StoredTask]:
        sized = toys.Pictures(toys.TwoParams(num_train=16 * data_seed))
        return [*really(self, 0, scenario)[:2], really(sized, data_seed, scenario)[2]]

    really = toys.Pictures.tasks
    monkeypatch.setattr(toys.Pictures, "tasks", tasks)
    training = Training(epochs=1, batch_size=8, learning_rate=0.05)
    group = tuple(
        Cell("toy", "a/b", toys.config(seed=seed, data_seed=seed, training=training))
        for seed in (1, 2)
    )

    records = run_group(group, toys.registry(), silent)

    assert widths == []
    assert [record.result and record.result.iterations for record in records] == [12, 14]
    assert [record.provenance and record.provenance.notes for record in records] == [
        (
            "run alone after lockstep failed (ClbenchError: the tasks of seed 2 have other numbers "
            "of training steps than those of seed 1)",
        )
    ] * 2


def test_cells_whose_data_are_not_here_are_skipped_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def tasks(self: toys.Pictures, data_seed: int, scenario: Scenario) -> Sequence[toys.StoredTask]:
        asked.append(data_seed)
        raise UnavailableError("no pictures here")

    monkeypatch.setattr(toys.Pictures, "tasks", tasks)

    records = run_group(group_of(1, 2), toys.registry(), silent)

    assert asked == [2]
    assert [record.status for record in records] == ["skipped"] * 2
    assert [record.provenance and record.provenance.notes for record in records] == [()] * 2


def test_learners_that_cannot_run_in_lockstep_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(toys.Plain, "in_lockstep")
    group = group_of(1, 2)

    records = run_group(group, toys.registry(), silent)

    assert results(records) == [alone(cell).result for cell in group]


def test_where_the_data_is_missing_all_are_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_DATA", str(tmp_path))

    records = run_group(streams("mlp", tmp_path), Registry.discover(), silent)

    assert [record.status for record in records] == ["skipped"] * 3


def test_errors_at_building_fall_on_each_cell() -> None:
    group = group_of(1, 2, learner="nobody")

    records = run_group(group, toys.registry(), silent)

    assert [record.failure and record.failure.type for record in records] == [
        "UnknownNameError",
        "UnknownNameError",
    ]


# streams, with the nets and learners of clbench's own plugins


def _assert_close(found: Result | None, expected: Result | None) -> None:
    """Equal to rounding, in 32 bits after a few hundred steps."""
    assert found is not None
    assert expected is not None
    _assert_values_close(found.model_dump(), expected.model_dump())


def _assert_values_close(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            _assert_values_close(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_values_close(one, other)
    else:
        is_number = isinstance(expected, float)
        assert found == (pytest.approx(expected, rel=1e-3, abs=1e-4) if is_number else expected)


@pytest.mark.usefixtures("tiny_pictures")
@pytest.mark.parametrize("task", ["mlp", "cnn"])
def test_records_of_streams_are_those_of_cells_alone_to_rounding(task: str, tmp_path: Path) -> None:
    cells, registry = streams(task, tmp_path), Registry.discover()

    records = run_group(cells, registry, silent)

    for cell, record in zip(cells, records, strict=True):
        assert record.failure is None
        assert record.provenance is not None
        assert record.provenance.lockstep == 3
        assert record.result is not None
        assert "inactive_units" in record.result.statistics
        _assert_close(record.result, run(cell.config, registry, silent)[0])


@pytest.mark.usefixtures("tiny_pictures")
def test_streams_of_the_plain_learner_are_those_of_cells_alone_to_rounding(tmp_path: Path) -> None:
    learner = Choice(name="fine-tuning", version=1, params={})
    cells = [
        Cell(cell.suite, cell.row, cell.config.model_copy(update={"learner": learner}))
        for cell in streams("mlp", tmp_path)
    ]

    records = run_group(tuple(cells), Registry.discover(), silent)

    for cell, record in zip(cells, records, strict=True):
        assert record.provenance is not None
        assert record.provenance.lockstep == 3
        _assert_close(record.result, run(cell.config, Registry.discover(), silent)[0])


class _Here:
    """An executor that runs groups in this process."""

    num_workers = 1

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        for group in groups:
            for cell in group:
                listener.started(cell)
            records = run_group(group, Registry.discover(), silent)
            for cell, record in zip(group, records, strict=True):
                listener.finished(cell, record)


@pytest.mark.usefixtures("tiny_pictures")
def test_a_suite_gives_the_same_records_with_lockstep_and_without(tmp_path: Path) -> None:
    streams("mlp", tmp_path)
    suite, engine = load(tmp_path / "stream.yaml", Registry.discover()), cast(Any, _Here())
    found: dict[Width, dict[str, Record]] = {}

    widths: tuple[Width, ...] = (1, 3, "auto")
    for width in widths:
        plan = session.plan(suite, ("*",), None, 1.0, tmp_path / str(width), force=False)
        console = Console(file=io.StringIO())
        assert session.execute(plan, engine, console, True, Registry.discover(), width)
        records, _ = Store(tmp_path / str(width)).scan()
        found[width] = {record.id: record for record in records}

    assert len(found[1]) == 6
    for record_id, record in found[1].items():
        others = [found[width][record_id] for width in widths]
        assert [one.provenance and one.provenance.lockstep for one in others] == [1, 3, 3]
        _assert_close(found[3][record_id].result, record.result)
        assert found["auto"][record_id].result == found[3][record_id].result
