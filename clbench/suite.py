"""File -> Suite. Every mistake in a suite file is found here, before anything runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from clbench.checks import MAX_SEED, Checker, is_seed
from clbench.compatibility import check_kinds, check_net, check_regime, check_stream
from clbench.config import CellConfig, Choice, Regime, Training
from clbench.errors import SuiteError, suggestion
from clbench.families import make
from clbench.metrics import ACCURACY, Metric
from clbench.promises import RESERVED
from clbench.registry import Registry
from clbench.scenario import Scenario
from clbench.thresholds import Threshold, read_thresholds
from clbench.yaml12 import Node, describe, merge, named
from clbench.yaml12 import read as read_yaml

NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")
"""What the name of a suite and the keys of tasks and methods look like."""

_SUITE_KEYS = (
    *("suite", "title", "question", "source", "published", "scenario", "seeds", "data_seed"),
    *("budgets", "defaults", "tasks", "methods", "exclude"),
)
_SETTINGS = ("learner", "regime", "model", "training", "regularizers", "data_seed")
DEFAULTS = ("regime", "model", "training", "regularizers", "data_seed")
_METHOD_KEYS = ("label", *_SETTINGS, "expect", "on")
_TASK_SETTINGS = ("model", "training", "data_seed")
_TASK_KEYS = RESERVED["task"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: one method on one task, over all seeds.

    Attributes:
        task: Key of the task in the suite.
        method: Key of the method in the suite.
        task_label: Heading the row stands under.
        method_label: Label of the row.
        cells: One resolved configuration per seed, in the order of the suite's seeds, at full
            budget; empty where the row is excluded.
        excluded: Why the row is not run; None where it is.
        thresholds: What its full-budget records must reach.
    """

    task: str
    method: str
    task_label: str
    method_label: str
    cells: tuple[CellConfig, ...]
    excluded: str | None
    thresholds: tuple[Threshold, ...]

    @property
    def key(self) -> str:
        """``task/method``, what ``--only`` globs match."""
        return f"{self.task}/{self.method}"


@dataclass(frozen=True, slots=True)
class Suite:
    """A checked suite file.

    Attributes:
        path: The file.
        name: The ``suite`` key.
        title, question, source: Free text of the file, empty where absent.
        published: Name of a ledger under ``results/published/``, or None.
        seeds: Model seeds.
        budgets: Name -> fraction of the full budget.
        rows: Task by task in the order of the file, method by method within a task.
    """

    path: Path
    name: str
    title: str
    question: str
    source: str
    published: str | None
    seeds: tuple[int, ...]
    budgets: Mapping[str, float]
    rows: tuple[Row, ...]


def load(path: Path, registry: Registry) -> Suite:
    """The suite in a file.

    Raises:
        SuiteError: With every mistake of the file, each with its line.
    """
    root, mistakes = read_yaml(path)
    loader = _Loader(registry, dict.fromkeys(mistakes))
    suite = loader.suite(path, root)
    if loader.mistakes:
        raise SuiteError(path, list(loader.mistakes))
    assert suite is not None  # no suite without a mistake
    return suite


@dataclass(frozen=True, slots=True)
class _Exclusion:
    task: str
    method: str
    why: str


class _Loader(Checker):
    """Makes the suite of the tree of one file."""

    def suite(self, path: Path, root: Node) -> Suite | None:
        values = self.mapping(root, _SUITE_KEYS, required=("suite", "scenario", "seeds"))
        for section in ("tasks", "methods"):
            if section not in values:
                self.wrong(root, f"missing key '{section}'")
        tasks = self.entries(values.get("tasks"), "task")
        methods = self.entries(values.get("methods"), "method")
        if "scenario" in values:
            check_kinds(self, values, tasks)
        seeds = self.seeds(values.get("seeds"))
        defaults = values.get("defaults")
        if defaults is not None:
            self.mapping(defaults, DEFAULTS)
        exclusions = self.exclusions(values.get("exclude"), tasks, methods)
        rows = [
            self.row(values, (task_key, task), (method_key, method), seeds, exclusions)
            for task_key, task in tasks.items()
            for method_key, method in methods.items()
        ]
        budgets = self.budgets(values.get("budgets"))
        name = self.text(values.get("suite"))
        if "suite" in values and not NAME.fullmatch(name):
            self.wrong(values["suite"], f"expected lower-case words joined by '-', found '{name}'")
        texts = {
            key: self.text(values.get(key)) for key in ("title", "question", "source", "published")
        }
        if texts["published"] and not NAME.fullmatch(texts["published"]):
            what = f"expected the name of a ledger, found {describe(texts['published'])}"
            self.wrong(values["published"], what)
        if self.mistakes:
            return None
        return Suite(
            path=path,
            name=name,
            title=texts["title"],
            question=texts["question"],
            source=texts["source"],
            published=texts["published"] or None,
            seeds=seeds,
            budgets=budgets,
            rows=tuple(row for row in rows if row is not None),
        )

    def entries(self, node: Node | None, what: str) -> dict[str, Node]:
        """The tasks or methods of the suite."""
        if node is None:
            return {}
        entries = self.mapping(node)
        if isinstance(node.value, dict) and not entries:
            self.wrong(node, f"expected at least one {what}")
        for key, entry in entries.items():
            if not NAME.fullmatch(key):
                self.wrong(
                    entry, f"expected a key of lower-case words joined by '-', found '{key}'"
                )
            self.mapping(entry, _METHOD_KEYS if what == "method" else ())
        return {key: entry for key, entry in entries.items() if isinstance(entry.value, dict)}

    def exclusions(
        self, node: Node | None, tasks: Mapping[str, Node], methods: Mapping[str, Node]
    ) -> list[_Exclusion]:
        if node is None:
            return []
        if not isinstance(node.value, list):
            self.wrong(node, f"expected a list, found {describe(node.value)}")
            return []
        found = []
        for item in node.value:
            values = self.mapping(item, ("method", "task", "why"), ("method", "task", "why"))
            names = {}
            for key, known in (("method", methods), ("task", tasks)):
                pattern = self.text(values.get(key))
                names[key] = pattern
                if key in values and not pattern:
                    self.wrong(values[key], f"expected a key or glob of a {key}")
                elif pattern and not any(fnmatchcase(name, pattern) for name in known):
                    what = f"no {key} matches '{pattern}'{suggestion(pattern, known)}"
                    self.wrong(values[key], f"{what}\n      known: {', '.join(known) or 'none'}")
            why = self.text(values.get("why"))
            if "why" in values and not why:
                self.wrong(values["why"], "expected a reason")
            found.append(_Exclusion(names["task"], names["method"], why))
        return found

    # rows

    def row(
        self,
        suite: Mapping[str, Node],
        task_entry: tuple[str, Node],
        method_entry: tuple[str, Node],
        seeds: tuple[int, ...],
        exclusions: list[_Exclusion],
    ) -> Row | None:
        (task_key, task), (method_key, method) = task_entry, method_entry
        task_values, method_values = self.mapping(task), self.mapping(method)
        excluded = next(
            (
                exclusion.why
                for exclusion in exclusions
                if fnmatchcase(task_key, exclusion.task)
                and fnmatchcase(method_key, exclusion.method)
            ),
            None,
        )
        override = self.override(suite, method_values, task_key, excluded)
        method_label = override.get("label", method_values.get("label"))
        cells: tuple[CellConfig, ...] = ()
        thresholds: tuple[Threshold, ...] = ()
        if excluded is None:
            settings = self.settings(suite, task_values, method, override)
            cells = self.cells(suite, task, method, settings, seeds)
            regime = settings["regime"].value if "regime" in settings else "sequential"
            expect = merge(method_values.get("expect"), override.get("expect"))
            family = cells[0].task if cells else None
            scenario = cells[0].scenario if cells else None
            thresholds = read_thresholds(self, expect, str(regime), scenario, self.metric(family))
        return Row(
            task=task_key,
            method=method_key,
            task_label=self.text(task_values.get("label")) or task_key,
            method_label=self.text(method_label) or method_key,
            cells=cells,
            excluded=excluded,
            thresholds=thresholds,
        )

    def override(
        self,
        suite: Mapping[str, Node],
        method: Mapping[str, Node],
        task_key: str,
        excluded: str | None,
    ) -> dict[str, Node]:
        """What the method says of this task in particular."""
        if "on" not in method:
            return {}
        on = self.mapping(method["on"])
        tasks = suite["tasks"].value
        assert isinstance(tasks, dict)  # there is a row
        for key, child in on.items():
            if key not in tasks:
                what = f"unknown task '{key}'{suggestion(key, tasks)}"
                self.wrong(child, f"{what}\n      known: {', '.join(sorted(tasks))}")
        if task_key not in on:
            return {}
        if excluded is not None:
            self.wrong(
                on[task_key], f"this cell is excluded ({excluded}), so nothing can be changed"
            )
        return self.mapping(on[task_key], ("label", *_SETTINGS, "expect"))

    def settings(
        self,
        suite: Mapping[str, Node],
        task: Mapping[str, Node],
        method: Node,
        override: dict[str, Node],
    ) -> dict[str, Node]:
        """The settings of a cell: suite < defaults < task < method < method.on[task]."""
        defaults = suite["defaults"].value if "defaults" in suite else {}
        assert isinstance(method.value, dict)  # only mappings become entries
        layers: list[Mapping[str, Node]] = [
            {key: suite[key] for key in ("data_seed",) if key in suite},
            defaults if isinstance(defaults, dict) else {},
            {key: task[key] for key in _TASK_SETTINGS if key in task},
            method.value,
            override,
        ]
        merged: dict[str, Node] = {}
        for layer in layers:
            if "regularizers" in layer:
                self.check_taken_away(merged.get("regularizers"), layer["regularizers"])
            for key in _SETTINGS:
                if key in layer:
                    found = merge(merged.get(key), _spelt_out(key, layer[key]))
                    assert found is not None  # one of the two is given
                    merged[key] = found
        return merged

    def check_taken_away(self, base: Node | None, over: Node) -> None:
        """Whether each null takes away a regularizer that an earlier layer brought."""
        earlier = base.value if base is not None and isinstance(base.value, dict) else {}
        brought = [name for name, child in earlier.items() if child.value is not None]
        for name, child in over.value.items() if isinstance(over.value, dict) else ():
            if child.value is None and name not in brought:
                what = f"nothing brings '{name}' that null could take away"
                advice = f"; write `{name}: {{}}` or give its parameters"
                self.wrong(child, what + (suggestion(name, brought) or advice))

    def cells(
        self,
        suite: Mapping[str, Node],
        task: Node,
        method: Node,
        settings: Mapping[str, Node],
        seeds: tuple[int, ...],
    ) -> tuple[CellConfig, ...]:
        before = len(self.mistakes)
        self.used = set()
        values = self.mapping(task)
        scenario = self.scenario(values.get("scenario", suite.get("scenario")))
        if "family" not in values:
            self.wrong(task, "missing key 'family'")
        for key, owner in (("learner", method), ("model", method), ("training", method)):
            if key not in settings:
                self.wrong(owner, f"missing key '{key}'")
        family = None
        if "family" in values:
            rest = {k: v for k, v in values.items() if k not in _TASK_KEYS}
            params = Node(rest, task.line, task.where)
            family = self.choice("task", values["family"], params, scenario)
        learner = self.named_choice("learner", settings.get("learner"), scenario)
        model_node, heads_node = _without_heads(settings.get("model"))
        model = self.named_choice("model", model_node, scenario)
        heads = self.heads(heads_node, scenario)
        regularizers = self.regularizers(settings.get("regularizers"), scenario)
        training = self.training(settings.get("training"))
        regime = self.one_of(settings.get("regime"), get_args(Regime), "sequential")
        data_seeds = [self.data_seed(settings.get("data_seed"), seed) for seed in seeds or (0,)]
        if scenario is Scenario.TASK_FREE:
            check_stream(self, settings, regime, training, model)
        if learner and regime:
            node = settings.get("regime", settings["learner"])
            check_regime(self, learner.name, regime, node)
        if family and model and settings.get("model"):
            check_net(self, family, model, scenario, heads, task, settings["model"])
        if len(self.mistakes) > before or scenario is None:
            return ()
        if family is None or learner is None or model is None or training is None:
            return ()
        plugins = {r.plugin.distribution: r.plugin.version for r in self.used}
        return tuple(
            CellConfig(
                task=family,
                scenario=scenario,
                regime=regime,
                learner=learner,
                regularizers=regularizers,
                model=model,
                heads=heads,
                training=training,
                seed=seed,
                data_seed=data_seed,
                budget=1.0,
                plugins=plugins,
            )
            for seed, data_seed in zip(seeds, data_seeds, strict=False)
        )

    def scenario(self, node: Node | None) -> Scenario | None:
        if node is None:
            return None
        found = self.one_of(node, [scenario.value for scenario in Scenario], None)
        return None if found is None else Scenario(found)

    def data_seed(self, node: Node | None, seed: int) -> int:
        if node is None:
            return 42
        if node.value == "seed":
            return seed
        if not is_seed(node.value):
            wanted = f"a whole number from 0 to {MAX_SEED} or 'seed'"
            self.wrong(node, f"expected {wanted}, found {describe(node.value)}")
            return 0
        return node.value

    def heads(self, node: Node | None, scenario: Scenario | None) -> Any:
        if scenario is None:
            return "shared"
        return self.one_of(node, scenario.heads, scenario.heads[0])

    def regularizers(self, node: Node | None, scenario: Scenario | None) -> tuple[Choice, ...]:
        found = []
        for name, child in (self.mapping(node) if node else {}).items():
            if child.value is None:
                continue
            if not isinstance(child.value, dict):
                self.wrong(child, f"expected a mapping, found {describe(child.value)}")
                continue
            name_node = Node(name, child.line, child.where)
            found.append(self.choice("regularizer", name_node, child, scenario))
        return tuple(choice for choice in found if choice is not None)

    def training(self, node: Node | None) -> Training | None:
        if node is None:
            return None
        found: Training | None = self.model(Training, node, "key of training")
        return found

    def metric(self, family: Choice | None) -> Metric:
        """The metric that the tasks of a family are scored by."""
        if family is None:
            return ACCURACY
        return make(family, self.registry).objective.metric


def _spelt_out(key: str, node: Node) -> Node:
    """A setting in which ``adam`` stands as ``{name: adam}``, so that layers can be merged."""
    if key in ("learner", "model"):
        return named(node)
    if key == "training" and isinstance(node.value, dict) and "optimizer" in node.value:
        optimizer = named(node.value["optimizer"])
        return Node({**node.value, "optimizer": optimizer}, node.line, node.where)
    return node


def _without_heads(node: Node | None) -> tuple[Node | None, Node | None]:
    if node is None or not isinstance(node.value, dict):
        return node, None
    rest = {key: child for key, child in node.value.items() if key != "heads"}
    return Node(rest, node.line, node.where), node.value.get("heads")
