"""The loop that turns a cell into a record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from torch import Tensor

from clbench import runner
from clbench.config import CellConfig, Choice, Sgd, Training
from clbench.curves import DivergedError
from clbench.executor import Progress
from clbench.matrix import Cell
from clbench.protocols import Batch, Observation, Query, TaskData
from clbench.records import Result
from clbench.scenario import Scenario


def _run(config: CellConfig) -> Result:
    result, _ = runner.run(config, toys.registry(), lambda progress: None)
    return result


def _ids(what: str) -> list[Any]:
    return [value for name, value in toys.Plain.calls if name == what]


@pytest.mark.parametrize("learner", ["plain", "generated"])
@pytest.mark.parametrize("family", ["echoes", "pictures"])
def test_sequences_and_pictures_are_learnt_with_own_and_generated_weights(
    family: str, learner: str
) -> None:
    training = Training(iterations=150, batch_size=16, learning_rate=0.05)

    result = _run(toys.config(family, learner=learner, training=training))

    assert len(result.R) == 3
    for j in range(3):
        learnt, initial = result.R[j][j], result.initial[j]
        assert learnt is not None
        assert initial is not None
        if result.metric.better == "higher":
            assert learnt > 75  # a coin gives 50
        else:
            assert learnt < 0.1 * initial


def test_a_stream_of_single_samples_has_neither_ids_nor_boundaries_nor_test_sets() -> None:
    training = Training(iterations=200, batch_size=1, learning_rate=0.01)

    result = _run(toys.config("pictures", Scenario.TASK_FREE, training=training))

    names = [name for name, _ in toys.Plain.calls]
    assert names == ["observe", "predict"] * 600  # predict: the same sample, after the update
    assert set(_ids("observe")) == {None}
    assert {query.task_id for query in _ids("predict")} == {None}
    assert result.R == ((None, None, None),) * 3
    assert result.online is not None
    assert len(result.online.score) == len(result.online.loss) == 3
    assert all(0 < plasticity < 1 for plasticity in result.online.plasticity)
    assert result.online.score[2] > 60


def test_the_online_score_is_that_of_the_prediction_before_each_step() -> None:
    training = Training(iterations=10, batch_size=1)

    result = _run(toys.config("pictures", Scenario.TASK_FREE, "alternating", training=training))

    assert result.online is not None
    assert result.online.score == (50.0, 50.0, 50.0)
    assert result.online.loss == (5.5, 15.5, 25.5)  # means of 1..10, 11..20, 21..30


@pytest.mark.parametrize(
    ("scenario", "at_train", "at_test"),
    [
        (Scenario.TASK_IL, {0, 1, 2}, {0, 1, 2}),
        (Scenario.DOMAIN_IL, {0, 1, 2}, {None}),
        (Scenario.CLASS_IL, {0, 1, 2}, {None}),
    ],
)
def test_the_harness_withholds_the_task_id(
    scenario: Scenario, at_train: set[int | None], at_test: set[int | None]
) -> None:
    _run(toys.config(scenario=scenario))

    queries = _ids("predict")

    assert set(_ids("observe")) == at_train
    assert {query.task_id for query in queries} == at_test
    assert {type(query) for query in queries} == {Query}  # never a batch, which has targets


def test_tasks_are_announced_in_order_and_the_last_one_has_no_end() -> None:
    _run(toys.config(training=Training(iterations=2, batch_size=4)))

    names = [name for name, _ in toys.Plain.calls]
    marks = [(n, i) for n, i in toys.Plain.calls if n in ("begin", "end")]

    assert marks == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1), ("begin", 2)]
    block = ["begin", "observe", "observe", "end"] + ["predict"] * 3
    assert names == ["predict"] * 3 + block + block + ["begin", "observe", "observe"] + block[4:]


def test_joint_training_mixes_all_tasks_for_as_many_steps_as_all_of_them_get() -> None:
    result = _run(toys.config(regime="joint"))

    ids = torch.stack(_ids("observe"))

    assert result.iterations == 60
    assert ids.shape == (60, 8)
    assert torch.equal(ids.sort(1).values, ids)
    counts = torch.bincount(ids.flatten(), minlength=3)
    assert counts.min() > 100  # 160 expected of 480, standard deviation 10
    assert result.R[0] == result.R[1] == (None, None, None)
    assert None not in result.R[2]


def test_independent_training_starts_afresh_and_fills_the_diagonal_only() -> None:
    independent = _run(toys.config(regime="independent"))
    sequential = _run(toys.config())

    assert independent.R[0][0] == sequential.R[0][0]
    for i, row in enumerate(independent.R):
        assert [j for j, score in enumerate(row) if score is not None] == [i]


def test_learners_of_single_tasks_begin_with_draws_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[Tensor] = []

    def begin_task(self: toys.Plain, task_id: int) -> None:
        begun.append(self.parameters.values.clone())

    monkeypatch.setattr(toys.Plain, "begin_task", begin_task)

    _run(toys.config(regime="independent"))

    first, second, third = begun
    assert not torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not torch.equal(second, third)


@pytest.mark.parametrize("regime", ["sequential", "cumulative", "joint"])
def test_a_learner_that_shows_something_of_itself_has_it_kept(
    regime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _run(toys.config(regime=regime))
    monkeypatch.setattr(
        toys.Plain, "artefacts", lambda self: {"halves": torch.full((2, 3), 0.5)}, raising=False
    )

    after = _run(toys.config(regime=regime))

    assert before.artefacts == {}
    assert after.artefacts == {"halves": ((0.5, 0.5, 0.5),) * 2}
    assert after.R == before.R


def test_learners_of_single_tasks_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        toys.Generated, "artefacts", lambda self: {"halves": torch.ones(1, 1)}, raising=False
    )

    assert _run(toys.config(regime="independent", learner="generated")).artefacts == {}


def test_cumulative_training_adds_the_data_of_earlier_tasks() -> None:
    _run(toys.config(regime="cumulative"))

    ids = _ids("observe")

    assert [set(torch.stack(ids[a:b]).flatten().tolist()) for a, b in ((0, 20), (20, 40))] == [
        {0},
        {0, 1},
    ]
    assert set(torch.stack(ids[40:]).flatten().tolist()) == {0, 1, 2}


def _first_task_samples(regime: str, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What 20 steps at a time see of the first task, the first ten samples each."""
    seen: list[Tensor] = []
    observe = toys.Plain.observe

    def watched(self: toys.Plain, batch: Batch) -> Observation:
        ids = torch.as_tensor(batch.task_id).expand(len(batch.inputs))
        seen.append(batch.inputs[ids == 0])
        return observe(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(toys.Plain, "observe", watched)
        _run(toys.config(regime=regime))
    return [torch.cat(seen[start : start + 20])[:10] for start in (0, 20, 40)]


def test_each_stage_of_cumulative_training_has_an_order_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second, third = _first_task_samples("cumulative", monkeypatch)

    assert not torch.equal(first, second)
    assert not torch.equal(first, third)
    assert not torch.equal(second, third)


def test_joint_training_takes_each_task_in_the_order_of_sequential_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joint = _first_task_samples("joint", monkeypatch)
    sequential = _first_task_samples("sequential", monkeypatch)

    assert torch.equal(joint[0], sequential[0])


@pytest.mark.parametrize(
    ("regime", "widths"),
    [("sequential", [2, 4, 6]), ("cumulative", [2, 4, 6]), ("joint", [6, 6, 6])],
)
def test_in_class_il_the_outputs_of_tasks_that_are_to_come_do_not_compete(
    regime: str, widths: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    really, seen = toys.Plain.observe, []

    def observe(self: toys.Plain, batch: Batch) -> Observation:
        found = really(self, batch)
        seen.append(found.outputs.shape[-1])
        return found

    monkeypatch.setattr(toys.Plain, "observe", observe)

    _run(toys.config(scenario=Scenario.CLASS_IL, regime=regime))

    assert seen == [width for width in widths for _ in range(20)]


def test_whoever_asks_for_samples_of_an_ended_task_gets_a_sweep_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []

    def end_task(self: toys.Plain, task_id: int, data: TaskData) -> None:
        for num_samples in (25, 40, 40):
            batches = list(data.batches(num_samples))
            found.append(torch.cat([batch.inputs.sum((1, 2, 3)) for batch in batches]).tolist())

    monkeypatch.setattr(toys.Plain, "end_task", end_task)

    _run(toys.config())

    part, first, second = found[:3]
    assert len(set(part)) == 25
    assert set(part) < set(first)
    assert len(set(first)) == 40
    assert sorted(first) == sorted(second)
    assert first != second


def test_equal_configurations_give_equal_results() -> None:
    assert _run(toys.config()) == _run(toys.config())
    assert _run(toys.config()) != _run(toys.config(seed=3))
    assert _run(toys.config()) != _run(toys.config(data_seed=3))


def test_the_global_generators_are_neither_used_nor_seeded() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()

    first = _run(toys.config())
    torch.manual_seed(8)
    second = _run(toys.config())

    assert first == second
    torch.manual_seed(7)
    assert torch.equal(before, torch.get_rng_state())


def test_the_budget_scales_the_number_of_steps() -> None:
    assert _run(toys.config(budget=0.1)).iterations == 6


def test_learning_curves_have_about_a_hundred_points_and_end_at_the_last_step() -> None:
    training = Training(iterations=250, batch_size=2)

    curves = _run(toys.config(training=training)).curves

    assert [curve.task for curve in curves] == [0, 1, 2]
    assert curves[0].iterations == tuple(range(2, 251, 2))
    assert len(curves[0].loss) == len(curves[0].score) == 125


def test_progress_is_reported_up_to_the_last_step() -> None:
    seen: list[Progress] = []

    result, _ = runner.run(toys.config(), toys.registry(), seen.append)

    assert (seen[-1].task, seen[-1].num_tasks, seen[-1].done, seen[-1].total) == (2, 3, 60, 60)
    curve = result.curves[-1]
    assert (seen[-1].loss, seen[-1].score) == (curve.loss[-1], curve.score[-1])
    assert [p.done for p in seen] == sorted(p.done for p in seen)


def test_a_diverged_loss_is_an_error_that_names_the_steps() -> None:
    training = Training(iterations=300, batch_size=8, learning_rate=1e6, optimizer=Sgd())

    with pytest.raises(DivergedError, match=r"^the loss of task 0 is (nan|inf) between steps"):
        _run(toys.config("echoes", training=training))


def test_a_net_that_diverges_with_its_last_step_is_an_error_too() -> None:
    training = Training(iterations=1, batch_size=8, learning_rate=3e38, optimizer=Sgd())

    with pytest.raises(DivergedError) as caught:
        _run(toys.config("echoes", training=training))

    assert str(caught.value) == (
        "an output on the test set of task 0 is infinite or not a number by training step 1"
    )


def test_outputs_that_are_no_numbers_are_no_wrong_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    really = toys.Plain.predict

    def predict(self: toys.Plain, query: Query) -> torch.Tensor:
        outputs = really(self, query)
        return outputs if len(_ids("observe")) <= 20 else outputs * torch.nan

    monkeypatch.setattr(toys.Plain, "predict", predict)
    with pytest.raises(DivergedError) as caught:
        _run(toys.config())

    assert str(caught.value) == (
        "an output on the test set of task 0 is infinite or not a number by training step 40"
    )


def test_what_fails_inside_a_cell_becomes_a_failed_record_with_its_traceback() -> None:
    config = toys.config(learner="nobody")

    record = runner.run_cell(Cell("toy", "a/b", config), toys.registry(), lambda progress: None)

    assert record.status == "failed"
    assert record.result is None
    assert record.failure is not None
    assert record.failure.type == "UnknownNameError"
    assert record.failure.message.startswith("unknown learner 'nobody'")
    assert "Traceback" in record.failure.traceback
    assert record.failure.where == ""  # the message says it all
    assert record.provenance is not None
    assert (record.provenance.suite, record.provenance.row) == ("toy", "a/b")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"learner": Choice(name="plain", version=2, params={})},
            "learner 'plain' is here at version 1, of toys 0.1; asked for is version 2, of toys 0.1",
        ),
        (
            {"plugins": {"toys": "0.2"}},
            "task 'pictures' is here at version 1, of toys 0.1; asked for is version 1, of toys 0.2",
        ),
    ],
)
def test_a_part_of_another_version_than_the_id_says_does_not_run(
    changes: dict[str, Any], message: str
) -> None:
    config = toys.config().model_copy(update=changes)

    record = runner.run_cell(Cell("toy", "a/b", config), toys.registry(), lambda progress: None)

    assert record.failure is not None
    assert record.failure.message == (
        f"{message}\n    was it installed anew meanwhile, or is it another on this machine?"
    )


def _line(text: str) -> int:
    """Where in the toys a line stands."""
    lines = Path(toys.__file__).read_text().splitlines()
    return lines.index(text) + 1


def test_a_failure_names_the_last_place_in_a_plugin_or_else_in_clbench(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cell = Cell("toy", "a/b", toys.config())
    called = "        outputs = self.context.net(self.weights(query.task_id), query, Context())"

    def fails(*arguments: object) -> None:
        raise ValueError("no")

    monkeypatch.setattr(toys.Linear, "__call__", fails)
    in_plugin = runner.run_cell(cell, toys.registry(), lambda progress: None).failure
    monkeypatch.setattr(toys.Pictures, "tasks", fails)
    in_clbench = runner.run_cell(cell, toys.registry(), lambda progress: None).failure

    assert in_plugin is not None
    assert in_clbench is not None
    assert in_clbench.where.startswith("clbench/samples.py:")
    assert in_plugin.where == f"toys.py:{_line(called)}"


def test_a_cell_whose_plugin_exits_is_a_failed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def observe(self: toys.Plain, batch: Batch) -> Observation:
        raise SystemExit("no more")

    monkeypatch.setattr(toys.Plain, "observe", observe)

    record = runner.run_cell(
        Cell("toy", "a/b", toys.config()), toys.registry(), lambda progress: None
    )

    assert record.failure is not None
    assert (record.status, record.failure.type) == ("failed", "SystemExit")
    assert record.failure.message == "no more"


@pytest.mark.parametrize(
    ("learner", "trained"),
    [("plain", 102), ("generated", 420)],  # 6 * 16 + 6; 4 for each of them and for each of 3 tasks
)
def test_a_good_cell_becomes_a_good_record_with_times_and_parameter_counts(
    learner: str, trained: int
) -> None:
    config = toys.config(learner=learner)

    record = runner.run_cell(Cell("toy", "a/b", config), toys.registry(), lambda progress: None)

    assert record.status == "ok"
    assert record.failure is None
    assert record.result is not None
    assert record.result.num_parameters == {"trained": trained, "main_net": 102}
    assert record.timing is not None
    assert record.timing.total >= record.timing.train > 0
