"""The run of one cell: whose seed orders its samples, and what it goes on from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import torch
import toys
from cuts import CutOff, EveryFifth, until

from clbench import runner
from clbench.cell_run import CellRun
from clbench.checkpoints import Checkpoints
from clbench.config import Choice, Training
from clbench.errors import ClbenchError, PluginError, UnavailableError
from clbench.executor import Progress
from clbench.hookspecs import Entry, hookimpl
from clbench.params import Params
from clbench.protocols import (
    Batch,
    Learner,
    MainNet,
    Observation,
    Query,
    SequenceSpec,
    TaskData,
)
from clbench.scenario import ALL_SCENARIOS, OutputLayout, Scenario

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


def test_stages_mix_tasks_by_draws_of_their_own() -> None:
    run = _prepared(task=Choice(name="pictures", version=1, params={"num_tasks": 4}))
    two, four = run.mixed_stream(2), run.mixed_stream(4)

    drawn = [(int(two.next(1).task_id), int(four.next(1).task_id)) for _ in range(40)]  # type: ignore[arg-type]

    assert {of_two for of_two, _ in drawn} == {0, 1}
    assert [of_two for of_two, _ in drawn] != [of_four % 2 for _, of_four in drawn]


@pytest.mark.parametrize(
    ("scenario", "told"), [(Scenario.TASK_IL, 1), (Scenario.DOMAIN_IL, None)], ids=str
)
def test_activity_is_measured_with_the_task_id_that_tests_are_given(
    scenario: Scenario, told: int | None
) -> None:
    run = _prepared(family="echoes", scenario=scenario)

    (query,) = run.queries(1)

    assert (query.task_id, query.window) == (told, slice(2, 3))
    assert type(query) is Query  # never a batch, which has targets
    assert torch.equal(query.inputs, run.tests[1][0].inputs)


class _Sizes(Params):
    width: int = 1
    depth: int = 1


def test_a_net_that_a_learner_builds_is_the_suites_but_for_what_the_learner_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really, built = toys.Linear.__init__, []

    def init(net: toys.Linear, params: Any, spec: SequenceSpec, layout: OutputLayout) -> None:
        built.append(params)
        really(net, params, spec, layout)

    monkeypatch.setattr(toys.Linear, "Params", _Sizes)
    monkeypatch.setattr(toys.Linear, "__init__", init)
    run = _prepared(model=Choice(name="linear", version=1, params={"width": 2, "depth": 3}))
    context = cast(toys.Plain, run.learner()).context

    context.build_net(context.spec, context.layout, {"width": 5})

    assert built == [_Sizes(width=2, depth=3), _Sizes(width=5, depth=3)]


class _Later:
    """A regularizer that decides by itself what to watch."""

    Params: ClassVar[type[Params]] = toys.NoParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    def __init__(self, params: toys.NoParams, net: MainNet) -> None:
        pass

    @property
    def watches(self) -> frozenset[str]:
        return frozenset({"steps"})

    def _method(self, *arguments: object) -> None:
        pass

    begin = penalty = consolidate = state = restore = after_step = _method


def test_what_a_regularizer_watches_is_checked_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Hooks:
        @hookimpl
        def clbench_regularizers(self) -> list[Entry]:
            return [Entry("later", "toys:Later", "watches what it likes")]

    monkeypatch.setattr(toys, "Later", _Later, raising=False)
    registry, choice = toys.registry(), Choice(name="later", version=1, params={})
    registry.register(Hooks(), "hooks", "toys", "0.1")

    with pytest.raises(PluginError) as caught:
        CellRun(toys.config(regularizers=(choice,)), registry, _silent).learner()

    assert str(caught.value) == (
        "regularizer 'later' watches the unknown 'steps'; did you mean 'step'? "
        "(known: task-gradient, step)"
    )


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
    class TestedOnNothing(toys.StoredTask):
        def test_batches(self) -> list[Batch]:
            data = self.data
            return [replace(data, inputs=data.inputs[:0], targets=data.targets[:0])]

    return [tasks[0], TestedOnNothing(tasks[1].data), tasks[2]]


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


@pytest.mark.parametrize("kind", [EveryFifth, Checkpoints], ids=["within tasks", "at their ends"])
def test_the_times_of_a_cell_that_goes_on_are_those_of_one_left_alone(
    kind: type[Checkpoints], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
            runner.run(config, registry, until(done), kind(config.id, {}, folder=tmp_path))
    _, timing = runner.run(config, registry, _silent, kind(config.id, {}, folder=tmp_path))

    assert now > 60
    assert (timing.train, timing.total) == (60.0, 60.0)
