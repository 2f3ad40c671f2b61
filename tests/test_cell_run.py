"""The run of one cell: whose seed orders its samples, and what it goes on from."""

from __future__ import annotations

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
from clbench.errors import UnavailableError
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
