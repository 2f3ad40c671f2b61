"""Suite files: what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys
from suite_files import GOOD, load

from clbench import suite
from clbench.hookspecs import Entry, hookimpl
from clbench.scenario import Scenario
from clbench.suite import Suite
from clbench.thresholds import Threshold


def test_a_good_file_gives_resolved_cells(tmp_path: Path) -> None:
    suite = load(tmp_path, GOOD)

    (row,) = suite.rows
    cell = row.cells[0]
    assert (suite.name, suite.seeds, row.key) == ("toy", (1, 2), "pictures/plain")
    assert [config.seed for config in row.cells] == [1, 2]
    assert cell.task.params == {"num_tasks": 3, "num_train": 40}  # the defaults of the family
    assert (cell.model.name, cell.heads, cell.scenario) == ("linear", "per-task", Scenario.TASK_IL)
    assert (cell.training.iterations, cell.training.batch_size) == (10, 128)
    assert (cell.data_seed, cell.regime, cell.budget) == (42, "sequential", 1.0)
    assert cell.plugins == {"toys": "0.1"}


def test_another_scenario_and_an_exclusion_load(tmp_path: Path) -> None:
    stream = GOOD.replace("task-il", "task-free").replace("iterations", "batch_size: 1, iterations")
    (free,) = load(tmp_path, stream).rows
    (left_out,) = load(
        tmp_path, GOOD + "exclude: [{method: plain, task: pictures, why: too slow}]\n"
    ).rows

    assert {cell.scenario for cell in free.cells} == {Scenario.TASK_FREE}
    assert (left_out.excluded, left_out.cells) == ("too slow", ())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-4", 5e-4),
        ("1E-3", 1e-3),
        ("1e-1", 0.1),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1_000", 1000.0),
    ],
)
def test_numbers_mean_what_people_mean(text: str, value: float, tmp_path: Path) -> None:
    suite = load(tmp_path, GOOD.replace("learning_rate: 0.1", f"learning_rate: {text}"))

    assert suite.rows[0].cells[0].training.learning_rate == value


def test_a_whole_number_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    suite = load(tmp_path, GOOD.replace("iterations: 10", "iterations: 2e4"))

    assert suite.rows[0].cells[0].training.iterations == 20_000


def test_on_and_no_are_words_and_anchors_work(tmp_path: Path) -> None:
    text = GOOD.replace(
        "plain: {learner: plain}",
        "plain: &p {learner: plain, label: no, on: {pictures: {training: {batch_size: 3}}}}\n"
        "  other: {<<: *p, label: on}",
    )

    rows = load(tmp_path, text).rows

    assert [row.method_label for row in rows] == ["no", "on"]  # text, not truth values
    assert [row.cells[0].training.batch_size for row in rows] == [3, 3]


def test_overrides_go_from_defaults_to_method_to_cell(tmp_path: Path) -> None:
    text = GOOD.replace(
        "plain: {learner: plain}",
        "plain:\n    learner: plain\n    training: {batch_size: 7, learning_rate: 0.2}\n"
        "    expect: {final_accuracy: '>= 90', forgetting: '<= 5 %'}\n"
        "    on:\n      pictures:\n        training: {learning_rate: 0.3}\n"
        "        expect: {final_accuracy: '>= 80'}",
    )

    (row,) = load(tmp_path, text).rows

    training = row.cells[0].training
    assert (training.iterations, training.batch_size, training.learning_rate) == (10, 7, 0.3)
    assert row.thresholds == (
        Threshold("final_accuracy", "final_accuracy", ">=", 80.0),
        Threshold("forgetting", "forgetting", "<=", 5.0),
    )


def test_another_name_drops_the_parameters_of_the_old_one(tmp_path: Path) -> None:
    text = GOOD.replace("model: linear", "model: linear").replace(
        "learning_rate: 0.1", "learning_rate: 0.1, optimizer: {name: adam, eps: 1e-5}"
    )
    text = text.replace(
        "{learner: plain}", "{learner: plain, training: {optimizer: {name: sgd, momentum: 0.5}}}"
    )

    training = load(tmp_path, text).rows[0].cells[0].training

    assert training.optimizer.model_dump() == {"name": "sgd", "momentum": 0.5, "nesterov": False}


def test_the_data_seed_is_fixed_or_follows_the_seed(tmp_path: Path) -> None:
    fixed = load(tmp_path, GOOD.replace("seeds:", "data_seed: 7\nseeds:")).rows[0].cells
    following = load(tmp_path, GOOD.replace("seeds:", "data_seed: seed\nseeds:")).rows[0].cells

    assert [cell.data_seed for cell in fixed] == [7, 7]
    assert [cell.data_seed for cell in following] == [1, 2]


def test_a_data_seed_among_the_defaults_takes_the_place_of_that_of_the_suite(
    tmp_path: Path,
) -> None:
    text = GOOD.replace("seeds:", "data_seed: 7\nseeds:")
    text = text.replace("defaults:", "defaults:\n  data_seed: 9")

    assert [cell.data_seed for cell in load(tmp_path, text).rows[0].cells] == [9, 9]


def test_a_label_may_be_for_one_task_only(tmp_path: Path) -> None:
    text = GOOD.replace("methods:", "  echoes: {family: echoes}\nmethods:")
    text = text.replace(
        "{learner: plain}", "{learner: plain, label: Plain, on: {echoes: {label: As it is}}}"
    )

    labels = {row.task: row.method_label for row in load(tmp_path, text).rows}

    assert labels == {"pictures": "Plain", "echoes": "As it is"}


def test_a_cell_names_the_distributions_of_its_own_parts_only(tmp_path: Path) -> None:
    class More:
        @hookimpl
        def clbench_learners(self) -> list[Entry]:
            return [Entry("another", "toys:Plain", "from elsewhere")]

    registry = toys.registry()
    registry.register(More(), "more", "more", "0.2")
    path = tmp_path / "toy.yaml"
    path.write_text(GOOD.replace("  plain:", "  another: {learner: another}\n  plain:"))

    another, plain = suite.load(path, registry).rows

    assert another.cells[0].plugins == {"toys": "0.1", "more": "0.2"}
    assert plain.cells[0].plugins == {"toys": "0.1"}


def test_a_task_has_a_data_seed_of_its_own_where_it_names_one(tmp_path: Path) -> None:
    text = GOOD.replace("seeds:", "data_seed: 7\nseeds:")
    text = text.replace(
        "pictures: {family: pictures}", "pictures: {family: pictures, data_seed: 12}"
    )

    cells = [cell for row in load(tmp_path, text).rows for cell in row.cells]

    assert {cell.data_seed for cell in cells} == {12}


def _ids(suite: Suite) -> list[str]:
    return [cell.id for row in suite.rows for cell in row.cells]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("suite: toy", "title: other words\nsuite: renamed"),
        ("{iterations: 10, learning_rate: 0.1}", "{learning_rate: 0.10, iterations: 10}"),
        ("{iterations: 10, learning_rate: 0.1}", "{iterations: 10, learning_rate: 0.1, batch_size: 128}"),
        ("pictures: {family: pictures}", "other: {label: Other, family: pictures}"),
        ("plain: {learner: plain}", "renamed: {label: Renamed, learner: {name: plain}}"),
        ("learning_rate: 0.1}", "learning_rate: 0.1, clip_grad_norm: 1}"),
    ],
)  # fmt: skip
def test_identity_is_what_determines_the_result_and_nothing_else(
    old: str, new: str, tmp_path: Path
) -> None:
    assert old in GOOD
    changed = load(tmp_path, GOOD.replace(old, new))
    same = "clip" not in new

    assert (_ids(load(tmp_path, GOOD)) == _ids(changed)) is same
    if not same:
        whole = load(
            tmp_path, GOOD.replace(old, new.replace("clip_grad_norm: 1", "clip_grad_norm: 1.0"))
        )
        assert _ids(whole) == _ids(changed)  # 1 and 1.0 are the same norm
