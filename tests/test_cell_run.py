"""The run of one cell: whose seed orders its samples, and what it goes on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import toys
from cuts import CutOff, EveryFifth, until

from clbench import runner
from clbench.cell_run import CellRun
from clbench.checkpoints import Checkpoints
from clbench.config import Training
from clbench.errors import ClbenchError, UnavailableError
from clbench.executor import Progress
from clbench.protocols import Batch, Learner, Observation, TaskData
from clbench.scenario import Scenario

pytestmark = pytest.mark.usefixtures("report_at_every_step")


def _silent(progress: Progress) -> None:
    """No report."""


def _prepared(**changes: Any) -> CellRun:
    run = CellRun(toys.config(**changes), toys.registry(), _silent)
    run.prepare()
    return run


def _names(batch: Batch) -> list[float]:
    """What tells one picture from another."""
    names: list[float] = batch.inputs.sum((1, 2, 3)).tolist()
    return names


def _sweep(run: CellRun) -> list[float]:
    """The 40 pictures of the first task, in the order of training."""
    return _names(run.stream(0, "order").next(40))


def test_seeds_take_the_samples_of_one_task_in_orders_of_their_own() -> None:
    one, other = _sweep(_prepared(seed=1)), _sweep(_prepared(seed=3))

    assert sorted(one) == sorted(other)
    assert one != other


def test_seeds_mix_tasks_in_orders_of_their_own() -> None:
    one, other = (_prepared(seed=seed).mixed_stream(3).next(40).task_id for seed in (1, 3))

    assert isinstance(one, torch.Tensor)
    assert isinstance(other, torch.Tensor)
    assert not torch.equal(one, other)


def test_a_task_is_consolidated_in_another_order_than_it_was_learnt() -> None:
    run, seen = _prepared(), []

    def end_task(task_id: int, data: TaskData) -> None:
        seen.extend(data.batches(data.num_samples))

    run.consolidate(cast(Learner, SimpleNamespace(end_task=end_task)), 0)

    (consolidated,) = map(_names, seen)
    assert sorted(consolidated) == sorted(_sweep(run))
    assert consolidated != _sweep(run)


# what a family made


def _too_few(tasks: list[toys.StoredTask]) -> list[toys.StoredTask]:
    return tasks[:-1]


def _untested(tasks: list[toys.StoredTask]) -> list[toys.StoredTask]:
    return [replace(task, is_stream=True) for task in tasks]


def _empty(tasks: list[toys.StoredTask]) -> list[toys.StoredTask]:
    data = tasks[1].data
    nothing = replace(data, inputs=data.inputs[:0], targets=data.targets[:0])
    return [tasks[0], toys.StoredTask(nothing), tasks[2]]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            _too_few,
            "the task family 'pictures' made another number of tasks (2) than its spec says (3)",
        ),
        (
            _untested,
            "the task family 'pictures' gave no test samples of tasks 0, 1, 2 (of 3, from 0)",
        ),
        (_empty, "the task family 'pictures' gave no test samples of task 1 (of 3, from 0)"),
    ],
)
def test_a_family_that_made_other_than_it_promises_is_named(
    broken: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = toys.Pictures.tasks

    def tasks(self: toys.Pictures, data_seed: int, scenario: Scenario) -> Any:
        return broken(list(really(self, data_seed, scenario)))

    monkeypatch.setattr(toys.Pictures, "tasks", tasks)

    with pytest.raises(ClbenchError) as caught:
        _prepared()

    assert str(caught.value) == message


def test_streams_have_nothing_to_be_tested_on() -> None:
    run = _prepared(scenario=Scenario.TASK_FREE, training=Training(iterations=20, batch_size=1))

    assert run.tests == [[], [], []]


# going on from a checkpoint


def test_a_learner_that_refuses_does_so_before_the_data_are_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(self: toys.Plain, params: object, context: object) -> None:
        raise UnavailableError("not with this net")

    def absent(self: toys.Pictures, data_seed: int, scenario: Scenario) -> None:
        raise UnavailableError("the data are not here")

    monkeypatch.setattr(toys.Plain, "__init__", refuse)
    monkeypatch.setattr(toys.Pictures, "tasks", absent)

    with pytest.raises(UnavailableError) as caught:
        runner.run(toys.config(), toys.registry(), _silent)

    assert str(caught.value) == "not with this net"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"regime": "cumulative"},
        {"regime": "independent"},
        {"scenario": Scenario.TASK_FREE, "training": Training(iterations=20, batch_size=1)},
    ],
    ids=["sequential", "cumulative", "independent", "stream"],
)
def test_a_cell_goes_on_from_the_end_of_a_task(changes: dict[str, Any], tmp_path: Path) -> None:
    config, registry = toys.config(**changes), toys.registry()
    whole, _ = runner.run(config, registry, _silent)
    reports: list[Progress] = []

    def at_ends_of_tasks() -> Checkpoints:
        return Checkpoints(config.id, {}, seconds=1e9, folder=tmp_path)

    with pytest.raises(CutOff):
        runner.run(config, registry, until(27), at_ends_of_tasks())
    result, _ = runner.run(config, registry, reports.append, at_ends_of_tasks())

    assert {report.resumed_at for report in reports} == {20}
    assert result == whole


def test_the_times_of_a_cell_that_goes_on_are_those_of_one_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, registry = toys.config(), toys.registry()
    really, now = toys.Plain.observe, 0.0

    def takes_a_second(self: toys.Plain, batch: Batch) -> Observation:
        nonlocal now
        now += 1.0
        return really(self, batch)

    monkeypatch.setattr(toys.Plain, "observe", takes_a_second)
    monkeypatch.setattr("clbench.cell_run.time", SimpleNamespace(perf_counter=lambda: now))

    for done in (7, 33):
        with pytest.raises(CutOff):
            runner.run(config, registry, until(done), EveryFifth(config.id, {}, folder=tmp_path))
    _, timing = runner.run(config, registry, _silent, EveryFifth(config.id, {}, folder=tmp_path))

    assert now > 60
    assert (timing.train, timing.total) == (60.0, 60.0)
