"""The JSON schema of suite files: what is right passes it, what is wrong does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import toys
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from clbench import schema, suite
from clbench.cli import app
from clbench.errors import SuiteError
from clbench.hookspecs import Entry, hookimpl
from clbench.params import Params
from clbench.registry import Registry
from clbench.yaml12 import read

ROOT = Path(__file__).parent.parent

GOOD = """\
suite: good
scenario: task-il
seeds: [0, 2-4]
data_seed: seed
budgets: {quick: 0.1}
defaults:
  model: elman
  training: {iterations: 2e4, optimizer: adam, clip_grad_norm: null}
  regularizers: {orthogonal: {strength: 1}}
tasks:
  a: {family: permuted-copy, label: A, num_tasks: 3, training: {learning_rate: 5e-4}}
  b: {family: copy}
methods:
  ewc:
    learner: {name: fine-tuning}
    model: {hidden_size: 8, heads: shared}
    training: {optimizer: {name: sgd, momentum: 0.9}}
    regularizers: {orthogonal: null, online-ewc: {ewc_lambda: 10}}
    expect: {final_accuracy: '>= 97 %'}
    on: {a: {regularizers: {online-ewc: {gamma: 0.5}}}}
  hnet:
    learner: {name: chunked-hypernetwork, chunk_size: 100, hidden_sizes: [8]}
    on: {a: {learner: {name: chunked-hypernetwork, task_embedding_size: 4, chunk_embedding_size: 4, beta: 1}}}
exclude: [{method: '*', task: b, why: no reason}]
"""


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    found = schema.of_suites(Registry.discover())
    Draft202012Validator.check_schema(found)
    return Draft202012Validator(found)


def _wrong(validator: Draft202012Validator, path: Path) -> list[str]:
    """Dotted paths of the mistakes that the schema finds."""
    root, mistakes = read(path)
    assert mistakes == []
    errors = validator.iter_errors(root.plain())
    return sorted({".".join(map(str, error.absolute_path)) for error in errors})


@pytest.mark.parametrize(
    "path", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_suite_of_the_repository_passes(path: Path, validator: Any) -> None:
    assert _wrong(validator, path) == []


def test_what_layers_may_leave_to_each_other_passes(tmp_path: Path, validator: Any) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)

    assert _wrong(validator, tmp_path / "good.yaml") == []
    assert suite.load(tmp_path / "good.yaml", Registry.discover()).name == "good"


@pytest.mark.parametrize(
    ("right", "wrong", "where"),
    [
        ("suite: good", "suite: Not Good", "suite"),
        ("suite: good\n", "", ""),
        ("budgets:", "budgts:", ""),
        ("scenario: task-il", "scenario: task-li", "scenario"),
        ("seeds: [0, 2-4]", "seeds: []", "seeds"),
        ("seeds: [0, 2-4]", "seeds: -1", "seeds"),
        ("seeds: [0, 2-4]", "seeds: 4294967296", "seeds"),
        ("data_seed: seed", "data_seed: none", "data_seed"),
        ("quick: 0.1", "quick: 2", "budgets.quick"),
        ("model: elman", "model: elmann", "defaults.model"),
        ("model: elman", "learner: fine-tuning", "defaults"),
        ("iterations: 2e4", "iterations: many", "defaults.training.iterations"),
        ("clip_grad_norm: null", "clip_grad_norm: 0", "defaults.training.clip_grad_norm"),
        ("{orthogonal: {strength: 1}}", "{orthogonal: null}", "defaults.regularizers.orthogonal"),
        ("{orthogonal: {strength: 1}}", "{orthogonal: }", "defaults.regularizers.orthogonal"),
        ("optimizer: adam", "optimizer: adamm", "defaults.training.optimizer"),
        ("clip_grad_norm: null", "clip: 1", "defaults.training"),
        ("family: permuted-copy", "family: permuted", "tasks.a.family"),
        ("family: permuted-copy, ", "", "tasks.a"),
        ("num_tasks: 3", "num_task: 3", "tasks.a"),
        ("permuted-copy, label: A, num_tasks: 3", "label-permuted-stream", "tasks.a"),
        ("num_tasks: 3", "num_tasks: 0", "tasks.a.num_tasks"),
        ("  a: {family", "  A A: {family", "tasks"),
        ("learning_rate: 5e-4", "learning_rate: 0", "tasks.a.training.learning_rate"),
        ("{name: fine-tuning}", "{name: fine-tunning}", "methods.ewc.learner.name"),
        ("{name: fine-tuning}", "{name: fine-tuning, beta: 1}", "methods.ewc.learner"),
        ("heads: shared", "heads: share", "methods.ewc.model.heads"),
        ("hidden_size: 8", "hiden_size: 8", "methods.ewc.model"),
        ("hidden_size: 8", "hidden_size: '8'", "methods.ewc.model.hidden_size"),
        ("momentum: 0.9", "betas: [0, 0]", "methods.ewc.training.optimizer"),
        ("online-ewc: {ewc_lambda: 10}", "ewc: {}", "methods.ewc.regularizers"),
        ("ewc_lambda: 10", "ewc_lambda: '10'", "methods.ewc.regularizers.online-ewc.ewc_lambda"),
        ("final_accuracy:", "final_acuracy:", "methods.ewc.expect"),
        (">= 97 %", "97", "methods.ewc.expect.final_accuracy"),
        ("gamma: 0.5", "gama: 0.5", "methods.ewc.on.a.regularizers.online-ewc"),
        (", why: no reason", "", "exclude.0"),
        ("no reason", "''", "exclude.0.why"),
    ],
)
def test_what_is_wrong_is_found_where_it_is(
    right: str, wrong: str, where: str, tmp_path: Path, validator: Any
) -> None:
    assert GOOD.count(right) == 1
    (tmp_path / "wrong.yaml").write_text(GOOD.replace(right, wrong))

    assert _wrong(validator, tmp_path / "wrong.yaml") == [where]


LAYERED = """\
suite: layered
title:
scenario: domain-il
seeds: 0
defaults:
  model: {name: mlp, winners: {percent_on: 0.25}}
  training: {epochs: 1}
  regularizers: {si: {si_lambda: 1}}
tasks:
  a: {family: permuted-images, label: , model: {winners: {boost_strength: 1}}}
methods:
  boosted: {learner: fine-tuning, label: , model: {winners: {boost_strength: 1.5}}}
  plain: {learner: fine-tuning, model: {winners: null}, on: {a: {regularizers: {si: null}}}}
  without: {learner: fine-tuning, regularizers: {si: null}}
"""


def test_layers_within_a_parameter_and_null_after_what_brought_it_pass(
    tmp_path: Path, validator: Any
) -> None:
    (tmp_path / "layered.yaml").write_text(LAYERED)

    boosted, plain, without = suite.load(tmp_path / "layered.yaml", Registry.discover()).rows

    assert _wrong(validator, tmp_path / "layered.yaml") == []
    assert boosted.cells[0].model.params["winners"]["boost_strength"] == 1.5
    assert plain.cells[0].regularizers == without.cells[0].regularizers == ()


OTHERS: tuple[Any, ...] = (None, "", "x", -1, 0, 1.5, True, [], ["x"], {"x": 1})
"""What is put in the place of each value in turn."""

CHECKED = GOOD.replace("method: '*'", "method: hnet")
"""With a cell of every task that is not excluded: those that are have unchecked settings."""

TOGETHER: dict[str, tuple[Any, ...]] = {
    "defaults.training.iterations": (None,),  # one of iterations and epochs
    "methods.ewc.regularizers.online-ewc": (None,),  # no earlier layer brings it
    "exclude": ([],),  # the excluded cell has not all that it needs
    "exclude.0.method": ("x",),  # no such method
    "exclude.0.task": ("x",),
}
"""What only several values show to be wrong."""


def _leaves(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the values of a tree are, mappings and lists among them."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, child in pairs:
        found += [(*place, key)]
        found += _leaves(child, (*place, key)) if isinstance(child, (dict, list)) else []
    return found


def _plain(folder: Path, text: str) -> Any:
    (folder / "suite.yaml").write_text(text)
    return read(folder / "suite.yaml")[0].plain()


def _is_loaded(folder: Path, values: Any, registry: Registry) -> bool:
    (folder / "changed.yaml").write_text(json.dumps(values))
    try:
        suite.load(folder / "changed.yaml", registry)
    except SuiteError:
        return False
    return True


@pytest.mark.parametrize("other", OTHERS, ids=repr)
def test_of_a_single_value_the_loader_and_the_schema_think_alike(
    other: Any, tmp_path: Path, validator: Draft202012Validator
) -> None:
    registry, differ = Registry.discover(), []

    for place in _leaves(_plain(tmp_path, CHECKED)):
        values = parent = _plain(tmp_path, CHECKED)
        for key in place[:-1]:
            parent = parent[key]
        parent[place[-1]] = other
        where = ".".join(map(str, place))
        if other in TOGETHER.get(where, ()):
            assert validator.is_valid(values), where
        elif _is_loaded(tmp_path, values, registry) != validator.is_valid(values):
            differ.append(where)

    assert differ == []


def test_it_has_the_keys_that_the_loader_takes() -> None:
    found = schema.of_suites(toys.registry())
    defs = found["$defs"]

    assert set(found["properties"]) == set(suite._SUITE_KEYS)
    assert set(found["properties"]["defaults"]["properties"]) == set(suite.DEFAULTS)
    assert set(defs["method"]["properties"]) == set(suite._METHOD_KEYS)
    assert set(defs["on"]["properties"]) == set(suite._METHOD_KEYS) - {"on"}
    assert set(suite._TASK_KEYS) <= set(defs["task"]["allOf"][0]["then"]["properties"])


def test_every_parameter_is_described_by_its_documentation() -> None:
    defs = schema.of_suites(Registry.discover())["$defs"]

    strength = defs["regularizers"]["properties"]["online-ewc"]["properties"]["ewc_lambda"]
    names = defs["learner"]["then"]
    assert strength["description"] == "Strength of the penalty."
    assert len(names["enum"]) == len(names["enumDescriptions"])
    assert "trains all weights" in names["enumDescriptions"][names["enum"].index("fine-tuning")]


class _Innermost(Params):
    depth: int = 1


class _Inner(Params):
    innermost: _Innermost = _Innermost()


class _Nested(Params):
    inner: _Inner = _Inner()


@pytest.mark.parametrize(("depth", "is_valid"), [(2, True), ("2", False)])
def test_parts_of_parts_of_parameters_are_known(
    depth: object, is_valid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys.Linear, "Params", _Nested)
    model = {"name": "linear", "inner": {"innermost": {"depth": depth}}}
    task, method = {"family": "pictures"}, {"learner": "plain", "model": model}
    values = {"suite": "toy", "scenario": "task-il", "seeds": 0}

    found = Draft202012Validator(schema.of_suites(toys.registry()))

    assert found.is_valid(values | {"tasks": {"a": task}, "methods": {"b": method}}) is is_valid


def test_a_plugin_that_cannot_be_imported_closes_nothing() -> None:
    class Broken:
        @hookimpl
        def clbench_learners(self) -> list[Entry]:
            return [Entry("broken", "nowhere_at_all:Broken", "is broken")]

        @hookimpl
        def clbench_regularizers(self) -> list[Entry]:
            return [Entry("cracked", "nowhere_at_all:Cracked", "is broken too")]

    registry = toys.registry()
    registry.register(Broken(), "rotten", "rotten", "1")

    found = schema.of_suites(registry)

    learner = Draft202012Validator(found["$defs"]["learner"])
    regularizers = Draft202012Validator(found["$defs"]["regularizers"])
    assert learner.is_valid({"name": "broken", "anything": 1})
    assert not learner.is_valid({"name": "plain", "anything": 1})
    assert regularizers.is_valid({"cracked": {"anything": 1}})
    assert (
        "nowhere_at_all" in found["$defs"]["regularizers"]["properties"]["cracked"]["description"]
    )


def test_the_command_prints_it_or_writes_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", toys.registry)
    path = tmp_path / "schema.json"

    printed = CliRunner().invoke(app, ["schema"])
    written = CliRunner().invoke(app, ["schema", "-o", str(path)])

    assert json.loads(printed.stdout) == schema.of_suites(toys.registry())
    assert (written.exit_code, written.stdout) == (0, "")
    assert path.read_text() == printed.stdout
