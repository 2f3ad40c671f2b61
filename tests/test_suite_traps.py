"""Suite files with mistakes that are easily overlooked: places, aliases, odd scalars."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import toys
from suite_files import load, mistakes, of_copies

from clbench import suite
from clbench.errors import SuiteError, UnavailableError
from clbench.registry import Registry

GOOD = """\
suite: toy
scenario: task-il
seeds: [1, 2]
defaults:
  model: linear
  training:
    iterations: 10
    optimizer:
      name: adam
      eps: 1e-5
tasks:
  pictures: {family: pictures}
methods:
  plain: {learner: plain}
"""


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("learner: plain", "learner:", "line 14, methods.plain.learner: expected the name of a learner, found nothing"),
        ("family: pictures", "family:", "line 12, tasks.pictures.family: expected the name of a task family, found nothing"),
        ("  pictures: {family: pictures}", "  pictures:", "line 12, tasks.pictures: expected a mapping, found nothing"),
        ("suite: toy", "suite:", "line 1, suite: expected lower-case words joined by '-', found ''"),
        ("learner: plain", "learner: plain, training:", "line 14, methods.plain.training: expected a mapping, found nothing"),
    ],
)  # fmt: skip
def test_a_key_without_a_value_is_a_mistake(
    old: str, new: str, expected: str, tmp_path: Path
) -> None:
    assert mistakes(tmp_path, GOOD.replace(old, new)) == [expected]


def test_streams_and_tasks_with_boundaries_do_not_stand_in_one_suite(tmp_path: Path) -> None:
    text = GOOD.replace(
        "  pictures: {family: pictures}",
        "  pictures: {family: pictures}\n"
        "  stream: {family: pictures, scenario: task-free, training: {batch_size: 1}}",
    )

    assert mistakes(tmp_path, text) == [
        "line 13, tasks.stream.scenario: 'task-free' beside tasks with boundaries ('pictures'), "
        "whose table has other columns: give 'stream' a suite of its own"
    ]


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            "{learner: fine-tuning, regularizers: {si: }}",
            "line 11, methods.mine.regularizers.si: nothing brings 'si' that null could take away; "
            "write `si: {}` or give its parameters",
        ),
        (
            "{learner: fine-tuning, on: {permuted: {regularizers: {si: null}}}}",
            "line 11, methods.mine.on.permuted.regularizers.si: nothing brings 'si' that null "
            "could take away; write `si: {}` or give its parameters",
        ),
        (
            "{learner: fine-tuning, regularizers: {orthogonal: }, "
            "on: {permuted: {regularizers: {orthogonal: }}}}",
            "line 11, methods.mine.on.permuted.regularizers.orthogonal: nothing brings 'orthogonal' "
            "that null could take away; write `orthogonal: {}` or give its parameters",
        ),
        (
            "{learner: fine-tuning, regularizers: {ortogonal: }}",
            "line 11, methods.mine.regularizers.ortogonal: nothing brings 'ortogonal' that null "
            "could take away; did you mean 'orthogonal'?",
        ),
    ],
)
def test_null_that_takes_nothing_away_is_a_mistake(
    method: str, expected: str, tmp_path: Path
) -> None:
    with pytest.raises(SuiteError) as caught:
        _with_a_default_penalty(tmp_path, method)

    assert [str(mistake) for mistake in caught.value.mistakes] == [expected]


def test_null_takes_away_what_defaults_or_the_method_brought(tmp_path: Path) -> None:
    method = (
        "{learner: fine-tuning, regularizers: {si: {}, orthogonal: }, "
        "on: {permuted: {regularizers: {si: }}}}"
    )

    (row,) = _with_a_default_penalty(tmp_path, method).rows

    assert [cell.regularizers for cell in row.cells] == [()]


def _with_a_default_penalty(folder: Path, method: str) -> suite.Suite:
    path = folder / "tiny.yaml"
    penalty = "defaults:\n  regularizers: {orthogonal: {strength: 0.1}}"
    text = of_copies(f"seeds: 0\nmethods:\n  mine: {method}\n").replace("defaults:", penalty)
    path.write_text(text)
    return suite.load(path, Registry.discover())


def test_no_parameter_takes_the_place_of_the_name_beside_it(tmp_path: Path) -> None:
    text = GOOD.replace("family: pictures", "family: pictures, name: echoes")

    assert mistakes(tmp_path, text) == [
        "line 12, tasks.pictures.name: unknown parameter of task family 'pictures': 'name'\n"
        "      known: num_tasks, num_train"
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "eps:",
            "epz:",
            "line 10, defaults.training.optimizer.epz: unknown key of training: 'epz'; did you mean "
            "'eps'?\n      known: betas, eps, name",
        ),
        (
            "1e-5",
            "small",
            "line 10, defaults.training.optimizer.eps: expected a number, found the text 'small'",
        ),
        (
            "1e-5",
            "1e-5\n      betas: [0.9, no]",
            "line 11, defaults.training.optimizer.betas[1]: expected a number, found the text 'no'",
        ),
        (
            "1e-5",
            "1e-5\n      betas: [0.9]",
            "line 11, defaults.training.optimizer.betas: expected a list of more values, found a "
            "list",
        ),
        (
            "name: adam",
            "name: adm",
            "line 9, defaults.training.optimizer.name: expected 'adam' or 'sgd', found the text "
            "'adm'; did you mean 'adam'?",
        ),
        ("      name: adam\n", "", "line 8, defaults.training.optimizer: missing key 'name'"),
    ],
)
def test_a_mistake_in_an_optimizer_is_told_where_it_stands(
    old: str, new: str, expected: str, tmp_path: Path
) -> None:
    assert mistakes(tmp_path, GOOD.replace(old, new)) == [expected]


def test_a_parameter_may_be_added_to_a_bare_optimizer_name(tmp_path: Path) -> None:
    text = GOOD.replace("optimizer:\n      name: adam\n      eps: 1e-5", "optimizer: adam")
    text = text.replace("learner: plain", "learner: plain, training: {optimizer: {eps: 1e-4}}")

    training = load(tmp_path, text).rows[0].cells[0].training

    assert training.optimizer.model_dump() == {"name": "adam", "betas": (0.9, 0.999), "eps": 1e-4}


def test_what_an_alias_repeats_is_told_once_and_where_it_was_written(tmp_path: Path) -> None:
    text = GOOD.replace(
        "  plain: {learner: plain}\n",
        "  first: &first\n    learner: plain\n    learner: plain\n    training: {batch_size: no}\n"
        "  second: *first\n"
        "  third:\n    <<: *first\n    label: Third\n",
    )

    assert mistakes(tmp_path, text) == [
        "line 16, methods.first.learner: the key 'learner' is already on line 15",
        "line 17, methods.first.training.batch_size: expected a whole number, found the text 'no'",
    ]


@pytest.mark.parametrize("bound", ["1.2.3", ".", "1e", "nan"])
def test_a_threshold_without_a_number_is_a_mistake(bound: str, tmp_path: Path) -> None:
    text = GOOD.replace("learner: plain", f"learner: plain, expect: {{forgetting: '<= {bound}'}}")

    assert mistakes(tmp_path, text) == [
        "line 14, methods.plain.expect.forgetting: expected a threshold such as '>= 97', found the "
        f"text '<= {bound}'"
    ]


@pytest.mark.parametrize(
    ("bound", "percent"), [("0.95", "95"), (".5", "50"), ("9e-1", "90"), ("1.0", "100")]
)
def test_a_bound_on_an_accuracy_that_is_no_percentage_is_a_mistake(
    bound: str, percent: str, tmp_path: Path
) -> None:
    expect = f"learner: plain, expect: {{final_accuracy: '>= {bound}'}}"

    assert mistakes(tmp_path, GOOD.replace("learner: plain", expect)) == [
        f"line 14, methods.plain.expect.final_accuracy: expected a bound in %, found {bound}; "
        f"{percent} % is written {percent}, and {bound} % with its '%'"
    ]


@pytest.mark.parametrize(
    "threshold",
    [
        "final_accuracy: '>= 0.95 %'",
        "final_accuracy: '>= 1 %'",
        "final_accuracy: '>= 0'",
        "forgetting: '<= 0.5'",
    ],
)
def test_small_bounds_that_can_be_meant_are_none(threshold: str, tmp_path: Path) -> None:
    expect = f"learner: plain, expect: {{{threshold}}}"

    assert load(tmp_path, GOOD.replace("learner: plain", expect)).rows[0].thresholds


def test_a_reason_must_be_given_for_an_exclusion(tmp_path: Path) -> None:
    text = GOOD + "exclude:\n  - {method: plain, task: pictures, why: }\n"

    assert mistakes(tmp_path, text) == ["line 16, exclude[0].why: expected a reason"]


def test_a_stream_without_boundaries_knows_one_regime(tmp_path: Path) -> None:
    text = GOOD.replace("task-il", "task-free").replace("plain}", "plain, regime: joint}")
    text = text.replace("iterations: 10", "iterations: 10\n    batch_size: 1")

    assert mistakes(tmp_path, text) == [
        "line 15, methods.plain.regime: the regime 'joint' needs boundaries of tasks, and "
        "'task-free' has none"
    ]


def test_text_where_a_heading_belongs_is_told_with_all_other_mistakes(tmp_path: Path) -> None:
    text = GOOD.replace("suite: toy", "suite: toy\ntitle: 5").replace("[1, 2]", "[]")

    assert mistakes(tmp_path, text) == [
        "line 2, title: expected text, found the number 5",
        "line 4, seeds: expected at least one seed",
    ]


@pytest.mark.parametrize(
    ("scalar", "expected"),
    [
        ("0x" + "f" * 5000, f"expected a whole number, found the text '0x{'f' * 58}...'"),
        ("1" * 399, f"expected a whole number, found the text '{'1' * 60}...'"),
        ("1e999", "expected a finite number, found inf"),
        (".nan", "expected a finite number, found nan"),
        (
            r'"\ud800"',
            r"an escape such as '\ud800' is half a character; write the character itself",
        ),
        ("!number 5", "the tag '!number' is not known"),
    ],
)
def test_an_odd_scalar_is_a_mistake(scalar: str, expected: str, tmp_path: Path) -> None:
    found = mistakes(tmp_path, GOOD.replace("iterations: 10", f"iterations: {scalar}"))

    assert found[0] == f"line 7, defaults.training.iterations: {expected}"


@pytest.mark.parametrize("attribute", ["__init__", "objective"])
def test_a_family_that_raises_is_a_mistake_at_its_name(
    attribute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: toys.Pictures, params: object = None) -> None:
        raise RuntimeError("no pictures today")

    changed = property(refuse) if attribute == "objective" else refuse
    monkeypatch.setattr(toys.Pictures, attribute, changed)

    assert mistakes(tmp_path, GOOD) == [
        "line 12, tasks.pictures.family: task family 'pictures' fails: RuntimeError: no pictures "
        "today"
    ]


def _of_pictures(folder: Path, family: str, model: str) -> list[str]:
    path = folder / "tiny.yaml"
    path.write_text(
        "suite: tiny\nscenario: task-il\nseeds: 0\n"
        f"defaults: {{model: {model}, training: {{iterations: 10}}}}\n"
        f"tasks: {{one: {family}}}\nmethods: {{one: {{learner: fine-tuning}}}}\n"
    )
    with pytest.raises(SuiteError) as caught:
        suite.load(path, Registry.discover())
    return [str(mistake) for mistake in caught.value.mistakes]


def test_a_scale_of_three_channels_is_refused_on_pictures_of_one(tmp_path: Path) -> None:
    assert _of_pictures(tmp_path, "{family: split-images, pixels: imagenet}", "mlp") == [
        "line 5, tasks.one.family: task family 'split-images' fails: ClbenchError: pixels: "
        "imagenet is for 3 channels, and mnist has 1"
    ]


def test_a_net_for_pictures_is_refused_on_numbers(tmp_path: Path) -> None:
    assert _of_pictures(tmp_path, "{family: toy-regression}", "cnn") == [
        "line 4, defaults.model: model 'cnn' takes classification samples, and task family "
        "'toy-regression' gives regression"
    ]


def test_a_net_that_cannot_be_made_for_the_tasks_is_a_mistake_at_its_name(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    text = of_copies("seeds: 0\nmethods: {one: {learner: fine-tuning}}\n")
    text = text.replace("hidden_size: 8", "task_input: true")
    path.write_text(text.replace("scenario: task-il", "scenario: domain-il"))

    with pytest.raises(SuiteError) as caught:
        suite.load(path, Registry.discover())

    assert [str(mistake) for mistake in caught.value.mistakes] == [
        "line 4, defaults.model.name: model 'elman' fails: ClbenchError: task_input: the task is "
        "withheld at test, and only task-il gives it"
    ]


def test_a_net_that_is_not_to_be_had_here_is_left_to_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: toys.Linear, *arguments: object) -> None:
        raise UnavailableError("no nets today")

    monkeypatch.setattr(toys.Linear, "__init__", refuse)

    assert len(load(tmp_path, GOOD).rows) == 1


def test_a_learner_that_cannot_serve_a_regime_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = frozenset({"sequential", "independent"})
    monkeypatch.setattr(toys.Plain, "regimes", served, raising=False)

    assert mistakes(tmp_path, GOOD.replace("learner: plain", "learner: plain, regime: joint")) == [
        "line 14, methods.plain.regime: learner 'plain' cannot serve the regime 'joint', only "
        "'independent' or 'sequential'"
    ]
    load(tmp_path, GOOD.replace("learner: plain", "learner: plain, regime: independent"))


@pytest.mark.parametrize(
    ("learner", "refused"),
    [
        (
            "{name: chunked-hypernetwork, chunk_size: 50, hidden_sizes: [4], "
            "task_embedding_size: 2, chunk_embedding_size: 2, beta: 1}",
            ["joint", "cumulative"],
        ),
        ("generative-replay", ["independent", "joint", "cumulative"]),
        ("coresets", ["independent", "joint"]),
        ("masking", []),
        ("fine-tuning", []),
    ],
)
def test_what_serves_one_task_at_a_time_is_given_no_mixed_ones(
    learner: str, refused: list[str], tmp_path: Path
) -> None:
    found = []
    for regime in ("sequential", "independent", "joint", "cumulative"):
        path = tmp_path / f"{regime}.yaml"
        method = f"methods:\n  one: {{learner: {learner}, regime: {regime}}}\n"
        path.write_text(of_copies(f"seeds: [0]\n{method}"))
        try:
            suite.load(path, Registry.discover())
        except SuiteError as error:
            found += re.findall(r"cannot serve the regime '(\w+)', only", str(error))

    assert sorted(found) == sorted(refused)


def test_nesterov_needs_a_momentum(tmp_path: Path) -> None:
    text = GOOD.replace("name: adam", "name: sgd").replace("eps: 1e-5", "nesterov: true")

    assert mistakes(tmp_path, text) == [
        "line 8, defaults.training.optimizer: nesterov needs a momentum greater than 0"
    ]


_STREAM = """\
suite: stream
scenario: task-free
seeds: [0]
tasks:
  mnist: {family: input-permuted-stream, num_tasks: 2}
methods:
  sgd:
    learner: perturbed-sgd
    training: {iterations: 10, batch_size: 1, learning_rate: 0.1}
"""


@pytest.mark.parametrize(
    ("model", "place", "what"),
    [
        ("{name: mlp, dropout: 0.5}", ".dropout", "dropout"),
        ("{name: cnn, dropout: 0.5}", ".dropout", "dropout"),
        ("{name: mlp, winners: {percent_on: 0.1, k_inference_factor: 1.5}}", "", "k_inference_factor"),
        ("{name: cnn, conv_winners: {percent_on: 0.5, k_inference_factor: 0.5}}", "", "k_inference_factor"),
    ],
)  # fmt: skip
def test_a_stream_takes_no_net_that_predicts_otherwise_in_training(
    model: str, place: str, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(f"{_STREAM}    model: {model}\n")

    with pytest.raises(SuiteError) as caught:
        suite.load(path, Registry.discover())

    assert [str(mistake) for mistake in caught.value.mistakes] == [
        f"line 10, methods.sgd.model{place}: {what} makes predictions in training others than "
        "those at test, and a stream scores the prediction in training as the one before the update"
    ]


def test_a_stream_takes_a_net_with_winners(tmp_path: Path) -> None:
    path = tmp_path / "stream.yaml"
    path.write_text(f"{_STREAM}    model: {{name: mlp, winners: {{percent_on: 0.1}}}}\n")

    assert len(suite.load(path, Registry.discover()).rows) == 1


def test_a_stream_gives_one_sample_at_a_time(tmp_path: Path) -> None:
    text = GOOD.replace("task-il", "task-free")

    assert mistakes(tmp_path, text) == [
        "line 6, defaults.training: expected batch_size 1 in 'task-free', where each sample is "
        "predicted before its update, found 128"
    ]
    assert mistakes(
        tmp_path, text.replace("iterations: 10", "batch_size: 4\n    iterations: 10")
    ) == [
        "line 7, defaults.training.batch_size: expected batch_size 1 in 'task-free', where each "
        "sample is predicted before its update, found 4"
    ]
