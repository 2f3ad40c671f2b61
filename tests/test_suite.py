"""Suite files: what they mean, and every way in which they can be wrong."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
import suite_files
import toys
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from suite_files import GOOD, mistakes

from clbench.errors import SuiteError
from clbench.scenario import Scenario
from clbench.suite import Suite, load
from clbench.thresholds import Threshold


def test_a_good_file_gives_resolved_cells(tmp_path: Path) -> None:
    suite = suite_files.load(tmp_path, GOOD)

    (row,) = suite.rows
    cell = row.cells[0]
    assert (suite.name, suite.seeds, row.key) == ("toy", (1, 2), "pictures/plain")
    assert [config.seed for config in row.cells] == [1, 2]
    assert cell.task.params == {"num_tasks": 3, "num_train": 40}  # the defaults of the family
    assert (cell.model.name, cell.heads, cell.scenario) == ("linear", "per-task", Scenario.TASK_IL)
    assert (cell.training.iterations, cell.training.batch_size) == (10, 128)
    assert (cell.data_seed, cell.regime, cell.budget) == (42, "sequential", 1.0)
    assert cell.plugins == {"toys": "0.1"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "seeds:",
            "seedz:",
            [
                "line 1: missing key 'seeds'",
                "line 3, seedz: unknown key 'seedz'; did you mean 'seeds'?\n"
                "      known: budgets, data_seed, defaults, exclude, methods, published, question, "
                "scenario, seeds, source, suite, tasks, title",
            ],
        ),
        ("suite: toy", "suite: toy\nsuite: too", ["line 2, suite: the key 'suite' is already on line 1"]),
        (
            "family: pictures",
            "family: picture",
            [
                "line 8, tasks.pictures.family: unknown task family 'picture'; did you mean "
                "'pictures'?\n      known: echoes, pictures"
            ],
        ),
        (
            "learner: plain",
            "learner: plane",
            [
                "line 10, methods.plain.learner: unknown learner 'plane'; did you mean 'plain'?\n"
                "      known: alternating, generated, plain"
            ],
        ),
        (
            "learner: plain",
            "learner: plain, regularizers: {ewc: {}}",
            ["line 10, methods.plain.regularizers.ewc: unknown regularizer 'ewc'\n      known: none"],
        ),
        (
            "{family: pictures}",
            "{family: pictures, num_taks: 2}",
            [
                "line 8, tasks.pictures.num_taks: unknown parameter of task family 'pictures': 'num_taks'; "
                "did you mean 'num_tasks'?\n      known: num_tasks, num_train"
            ],
        ),
        (
            "iterations: 10",
            "iterations: many",
            [
                "line 6, defaults.training.iterations: expected a whole number, found the text "
                "'many'"
            ],
        ),
        (
            "learning_rate: 0.1",
            "learning_rate: '0.1'",
            [
                "line 6, defaults.training.learning_rate: expected a number, found the text '0.1'"
            ],
        ),
        (
            "learning_rate: 0.1",
            "learning_rate: true",
            ["line 6, defaults.training.learning_rate: expected a number, found true"],
        ),
        (
            "learning_rate: 0.1",
            "learning_rate: 0",
            [
                "line 6, defaults.training.learning_rate: expected a number greater than 0.0, "
                "found the number 0"
            ],
        ),
        (
            "learning_rate: 0.1",
            "learning_rate: .inf",
            ["line 6, defaults.training.learning_rate: expected a finite number, found inf"],
        ),
        (
            "iterations: 10",
            "iterations: 10, epochs: 3",
            ["line 6, defaults.training: give exactly one of iterations and epochs"],
        ),
        (
            "learning_rate: 0.1",
            "optimizer: {name: adam, betaz: 1}",
            [
                "line 6, defaults.training.optimizer.betaz: unknown key of training: 'betaz'; did you "
                "mean 'betas'?\n      known: betas, eps, name"
            ],
        ),
        (
            "learner: plain",
            "learner: plain, expect: {final_acc: '>= 3'}",
            [
                "line 10, methods.plain.expect.final_acc: unknown metric 'final_acc'; did you mean "
                "'final_accuracy'?\n      known: backward_transfer, during_accuracy, "
                "final_accuracy, forgetting, forward_transfer, last_task_accuracy, "
                "loss_of_plasticity, online_accuracy, online_accuracy_off_by_one, "
                "online_forgetting, plasticity"
            ],
        ),
        (
            "learner: plain",
            "learner: plain, expect: {final_accuracy: 97}",
            [
                "line 10, methods.plain.expect.final_accuracy: expected a threshold such as "
                "'>= 97', found the number 97"
            ],
        ),
        (
            "learner: plain",
            "learner: plain, regime: joint, expect: {during_accuracy: '>= 3'}",
            [
                "line 10, methods.plain.expect.during_accuracy: the regime 'joint' gives no "
                "during_accuracy"
            ],
        ),
        (
            "learner: plain",
            "learner: plain, on: {picture: {}}",
            [
                "line 10, methods.plain.on.picture: unknown task 'picture'; did you mean "
                "'pictures'?\n      known: pictures"
            ],
        ),
        (
            "methods:",
            "exclude: [{method: plan, task: pictures, why: no}]\nmethods:",
            [
                "line 9, exclude[0].method: no method matches 'plan'; did you mean 'plain'?\n"
                "      known: plain"
            ],
        ),
        (
            "learner: plain",
            "learner: plain, regime: sequental",
            [
                "line 10, methods.plain.regime: expected 'sequential', 'independent', 'joint' or "
                "'cumulative', found the text 'sequental'; did you mean 'sequential'?"
            ],
        ),
        (
            "model: linear",
            "model: {name: linear, heads: shard}",
            [
                "line 5, defaults.model.heads: expected 'per-task' or 'shared', found the text "
                "'shard'; did you mean 'shared'?"
            ],
        ),
        ("seeds: [1, 2]", "seeds: [1, 0-1]", ["line 3, seeds[1]: the seed 1 is given twice"]),
        (
            "seeds: [1, 2]",
            "seeds: [-1]",
            [
                "line 3, seeds[0]: expected whole numbers from 0 or a range '0-4', found the "
                "number -1"
            ],
        ),
        (
            "seeds:",
            "budgets: {quick: 2}\nseeds:",
            ["line 3, budgets.quick: expected a fraction in (0, 1], found the number 2"],
        ),
        ("{learner: plain}", "[plain]", ["line 10, methods.plain: expected a mapping, found a list"]),
        ("suite: toy", "suite: To y", ["line 1, suite: expected lower-case words joined by '-', found 'To y'"]),
    ],
)  # fmt: skip
def test_every_mistake_has_its_own_message(
    old: str, new: str, expected: list[str], tmp_path: Path
) -> None:
    assert old in GOOD
    assert mistakes(tmp_path, GOOD.replace(old, new)) == expected


def test_another_scenario_and_an_exclusion_load(tmp_path: Path) -> None:
    (free,) = suite_files.load(tmp_path, GOOD.replace("task-il", "task-free")).rows
    (left_out,) = suite_files.load(
        tmp_path, GOOD + "exclude: [{method: plain, task: pictures, why: too slow}]\n"
    ).rows

    assert {cell.scenario for cell in free.cells} == {Scenario.TASK_FREE}
    assert (left_out.excluded, left_out.cells) == ("too slow", ())


def test_a_learner_that_the_scenario_cannot_serve_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("task-il", "task-free").replace("learner: plain", "learner: generated")

    assert mistakes(tmp_path, text) == [
        "line 10, methods.plain.learner: learner 'generated' cannot serve the scenario "
        "'task-free', only 'class-il', 'domain-il' or 'task-il'"
    ]


def test_an_override_of_an_excluded_cell_is_a_mistake(tmp_path: Path) -> None:
    text = GOOD.replace("learner: plain", "learner: plain, on: {pictures: {}}")
    text += "exclude: [{method: '*', task: pictures, why: for a test}]\n"

    assert mistakes(tmp_path, text) == [
        "line 10, methods.plain.on.pictures: this cell is excluded (for a test), so nothing can be changed"
    ]


def test_all_mistakes_of_a_file_are_told_at_once_in_the_order_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(GOOD.replace("plain}", "plane}").replace("10,", "no,").replace("[1, 2]", "[]"))

    with pytest.raises(SuiteError) as caught:
        load(path, toys.registry())

    assert str(caught.value) == (
        f"{path} has 3 mistakes:\n"
        "  line 3, seeds: expected at least one seed\n"
        "  line 6, defaults.training.iterations: expected a whole number, found the text 'no'\n"
        "  line 10, methods.plain.learner: unknown learner 'plane'; did you mean 'plain'?\n"
        "      known: alternating, generated, plain"
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"a: [1, 2\nb: 3\n", "line 2: not YAML: expected ',' or ']', but got ':'"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8 (byte 0xff)"),
        (b"- a\n", "line 1: expected a mapping of keys to values, found a list"),
        (b"just text\n", "line 1: expected a mapping of keys to values, found the text 'just text'"),
        (b"a: " + b"[" * 100 + b"]" * 100, "line 1: nested too deeply; is an alias repeated many times?"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_yaml_mapping_is_told(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)

    with pytest.raises(SuiteError) as caught:
        load(path, toys.registry())

    assert str(caught.value) == f"{path} has 1 mistake:\n  {expected}"


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path / "none.yaml", "there is no such file"),
        (tmp_path, "expected a file, found a folder"),
    ):
        with pytest.raises(SuiteError) as caught:
            load(path, toys.registry())
        assert str(caught.value) == f"{path} has 1 mistake:\n  {expected}"


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))

    with pytest.raises(SuiteError, match="more than 100000 values"):
        load(path, toys.registry())


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
    suite = suite_files.load(tmp_path, GOOD.replace("learning_rate: 0.1", f"learning_rate: {text}"))

    assert suite.rows[0].cells[0].training.learning_rate == value


def test_a_whole_number_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    suite = suite_files.load(tmp_path, GOOD.replace("iterations: 10", "iterations: 2e4"))

    assert suite.rows[0].cells[0].training.iterations == 20_000


def test_on_and_no_are_words_and_anchors_work(tmp_path: Path) -> None:
    text = GOOD.replace(
        "plain: {learner: plain}",
        "plain: &p {learner: plain, label: no, on: {pictures: {training: {batch_size: 3}}}}\n"
        "  other: {<<: *p, label: on}",
    )

    rows = suite_files.load(tmp_path, text).rows

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

    (row,) = suite_files.load(tmp_path, text).rows

    training = row.cells[0].training
    assert (training.iterations, training.batch_size, training.learning_rate) == (10, 7, 0.3)
    assert row.thresholds == (
        Threshold("final_accuracy", ">=", 80.0),
        Threshold("forgetting", "<=", 5.0),
    )


def test_another_name_drops_the_parameters_of_the_old_one(tmp_path: Path) -> None:
    text = GOOD.replace("model: linear", "model: linear").replace(
        "learning_rate: 0.1", "learning_rate: 0.1, optimizer: {name: adam, eps: 1e-5}"
    )
    text = text.replace(
        "{learner: plain}", "{learner: plain, training: {optimizer: {name: sgd, momentum: 0.5}}}"
    )

    training = suite_files.load(tmp_path, text).rows[0].cells[0].training

    assert training.optimizer.model_dump() == {"name": "sgd", "momentum": 0.5, "nesterov": False}


def test_the_data_seed_is_fixed_or_follows_the_seed(tmp_path: Path) -> None:
    fixed = suite_files.load(tmp_path, GOOD.replace("seeds:", "data_seed: 7\nseeds:")).rows[0].cells
    following = (
        suite_files.load(tmp_path, GOOD.replace("seeds:", "data_seed: seed\nseeds:")).rows[0].cells
    )

    assert [cell.data_seed for cell in fixed] == [7, 7]
    assert [cell.data_seed for cell in following] == [1, 2]


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
    changed = suite_files.load(tmp_path, GOOD.replace(old, new))
    same = "clip" not in new

    assert (_ids(suite_files.load(tmp_path, GOOD)) == _ids(changed)) is same
    if not same:
        whole = suite_files.load(
            tmp_path, GOOD.replace(old, new.replace("clip_grad_norm: 1", "clip_grad_norm: 1.0"))
        )
        assert _ids(whole) == _ids(changed)  # 1 and 1.0 are the same norm


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_gives_anything_but_a_suite_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_bytes(content)
        with pytest.raises(SuiteError):
            load(path, toys.registry())


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda children: (
            st.lists(children, max_size=3)
            | st.dictionaries(
                st.sampled_from(["learner", "on", "model", "x"]), children, max_size=3
            )
        ),
        max_leaves=8,
    ),
    st.sampled_from(["scenario", "seeds", "defaults", "tasks", "methods", "exclude", "budgets"]),
)
def test_no_value_in_any_section_gives_a_traceback(value: object, section: str) -> None:
    values = yaml.safe_load(GOOD) | {section: value}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_text(yaml.safe_dump(values, allow_unicode=True))
        with contextlib.suppress(SuiteError):
            load(path, toys.registry())
