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
from clbench.hookspecs import Entry, hookimpl
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
        ("data_seed: seed", "data_seed: none", "data_seed"),
        ("quick: 0.1", "quick: 2", "budgets.quick"),
        ("model: elman", "model: elmann", "defaults.model"),
        ("model: elman", "learner: fine-tuning", "defaults"),
        ("iterations: 2e4", "iterations: many", "defaults.training.iterations"),
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
        ("momentum: 0.9", "betas: [0, 0]", "methods.ewc.training.optimizer"),
        ("online-ewc: {ewc_lambda: 10}", "ewc: {}", "methods.ewc.regularizers"),
        ("ewc_lambda: 10", "ewc_lambda: '10'", "methods.ewc.regularizers.online-ewc.ewc_lambda"),
        ("final_accuracy:", "final_acuracy:", "methods.ewc.expect"),
        (">= 97 %", "97", "methods.ewc.expect.final_accuracy"),
        ("gamma: 0.5", "gama: 0.5", "methods.ewc.on.a.regularizers.online-ewc"),
        (", why: no reason", "", "exclude.0"),
    ],
)
def test_what_is_wrong_is_found_where_it_is(
    right: str, wrong: str, where: str, tmp_path: Path, validator: Any
) -> None:
    assert GOOD.count(right) == 1
    (tmp_path / "wrong.yaml").write_text(GOOD.replace(right, wrong))

    assert _wrong(validator, tmp_path / "wrong.yaml") == [where]


def test_it_has_the_keys_that_the_loader_takes() -> None:
    found = schema.of_suites(toys.registry())
    defs = found["$defs"]

    assert set(found["properties"]) == set(suite._SUITE_KEYS)
    assert set(found["properties"]["defaults"]["properties"]) == set(suite._DEFAULTS)
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
