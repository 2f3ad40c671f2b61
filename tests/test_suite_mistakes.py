"""Suite files with mistakes, each told with its line and the nearest name that is known."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import pytest
import toys
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from suite_files import GOOD, mistakes

from clbench.errors import SuiteError
from clbench.metrics import OF_STREAMS, SUMMARIES
from clbench.suite import load

OF_TASKS = SUMMARIES.keys() - OF_STREAMS


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
            [
                "line 10, methods.plain.regularizers.ewc: unknown regularizer 'ewc'\n      known: none\n"
                "      if it is yours: 'pip install --editable DIR'; 'clbench list plugins' shows "
                "what is installed"
            ],
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
            [
                "line 6, defaults.training: give exactly one of iterations and epochs (null takes "
                "away what was given before)"
            ],
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
                "final_accuracy, forgetting, forward_transfer, incremental_accuracy, "
                "last_task_accuracy, loss_of_plasticity, online_accuracy, online_accuracy_off_by_one, "
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
            "methods:",
            "exclude: [{method: '', task: , why: ''}]\nmethods:",
            [
                "line 9, exclude[0].method: expected a key or glob of a method",
                "line 9, exclude[0].task: expected a key or glob of a task",
                "line 9, exclude[0].why: expected a reason",
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
                "line 3, seeds[0]: expected whole numbers from 0 to 4294967295 or a range '0-4', "
                "found the number -1"
            ],
        ),
        (
            "seeds: [1, 2]",
            "data_seed: seed\nseeds: 4294967296",
            [
                "line 4, seeds: expected whole numbers from 0 to 4294967295 or a range '0-4', "
                "found the number 4294967296"
            ],
        ),
        (
            "seeds:",
            "data_seed: 4294967296\nseeds:",
            [
                "line 3, data_seed: expected a whole number from 0 to 4294967295 or 'seed', "
                "found the number 4294967296"
            ],
        ),
        (
            "learner: plain",
            "learner: plane, data_seed: -1",
            [
                "line 10, methods.plain.learner: unknown learner 'plane'; did you mean 'plain'?\n"
                "      known: alternating, generated, plain",
                "line 10, methods.plain.data_seed: expected a whole number from 0 to 4294967295 or "
                "'seed', found the number -1",
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


def test_a_learner_that_the_scenario_cannot_serve_is_named(tmp_path: Path) -> None:
    text = GOOD.replace("task-il", "task-free").replace("learner: plain", "learner: generated")
    text = text.replace("iterations", "batch_size: 1, iterations")

    assert mistakes(tmp_path, text) == [
        "line 10, methods.plain.learner: learner 'generated' cannot serve the scenario "
        "'task-free', only 'class-il', 'domain-il' or 'task-il'"
    ]


@pytest.mark.parametrize(
    ("regime", "measured"),
    [
        ("independent", {"during_accuracy"}),  # the diagonal of R
        ("joint", {"final_accuracy"}),  # its last row
    ],
)
def test_a_threshold_is_on_what_the_regime_measures(
    regime: str, measured: set[str], tmp_path: Path
) -> None:
    expect = ", ".join(f"{name}: '>= 3'" for name in sorted(OF_TASKS))
    row = f"learner: plain, regime: {regime}, expect: {{{expect}}}"

    assert mistakes(tmp_path, GOOD.replace("learner: plain", row)) == [
        f"line 10, methods.plain.expect.{name}: the regime '{regime}' gives no {name}"
        for name in sorted(OF_TASKS - measured)
    ]


def test_thresholds_of_a_cell_with_mistakes_are_no_further_ones(tmp_path: Path) -> None:
    row = "learner: plian, expect: {online_accuracy: '>= 40', final_accuracy: '>= 40'}"

    found = mistakes(tmp_path, GOOD.replace("learner: plain", row))

    assert found == [
        "line 10, methods.plain.learner: unknown learner 'plian'; did you mean 'plain'?\n"
        "      known: alternating, generated, plain"
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
