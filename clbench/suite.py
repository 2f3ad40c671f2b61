"""File -> Suite. Every mistake in a suite file is found here, before anything runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from clbench.config import CellConfig, Choice, Regime, Training
from clbench.errors import ClbenchError, Mistake, SuiteError, suggestion
from clbench.metrics import SUMMARIES
from clbench.params import read
from clbench.registry import Kind, Registered, Registry
from clbench.scenario import Scenario
from clbench.yaml12 import Node, describe, walk
from clbench.yaml12 import read as read_yaml

NAME = re.compile(r"[a-z0-9]+([-_.][a-z0-9]+)*")
"""What the name of a suite and the keys of tasks and methods look like."""

_SUITE_KEYS = (
    *("suite", "title", "question", "source", "published", "scenario", "seeds", "data_seed"),
    *("budgets", "defaults", "tasks", "methods", "exclude"),
)
_SETTINGS = ("learner", "regime", "model", "training", "regularizers", "data_seed")
_DEFAULTS = ("regime", "model", "training", "regularizers", "data_seed")
_METHOD_KEYS = ("label", *_SETTINGS, "expect", "on")
_TASK_KEYS = ("label", "family", "scenario")
_THRESHOLD = re.compile(r"(>=|<=)\s*(-?[0-9.]+(?:[eE][-+]?[0-9]+)?)\s*%?")
_NOT_MEASURED: Mapping[str, frozenset[str]] = {
    "independent": frozenset(
        {"final_accuracy", "backward_transfer", "forward_transfer", "forgetting"}
    ),
    "joint": frozenset({"during_accuracy", "backward_transfer", "forward_transfer", "forgetting"}),
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a row must reach: ``final_accuracy >= 97``.

    Attributes:
        metric: Name of a summary metric (`clbench.metrics.SUMMARIES`).
        relation: ``>=`` or ``<=``.
        bound: In the unit of the metric.
    """

    metric: str
    relation: str
    bound: float


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


@dataclass(slots=True)
class _Loader:
    """Checks the tree of one file; mistakes are kept in the order found, each once."""

    registry: Registry
    mistakes: dict[Mistake, None]
    used: set[Registered] = field(default_factory=set)

    def wrong(self, node: Node, what: str) -> None:
        self.mistakes[Mistake(node.line, node.where, what)] = None

    def suite(self, path: Path, root: Node) -> Suite | None:
        values = self.mapping(root, _SUITE_KEYS, required=("suite", "scenario", "seeds"))
        for section in ("tasks", "methods"):
            if section not in values:
                self.wrong(root, f"missing key '{section}'")
        tasks = self.entries(values.get("tasks"), "task")
        methods = self.entries(values.get("methods"), "method")
        seeds = self.seeds(values.get("seeds"))
        defaults = values.get("defaults")
        if defaults is not None:
            self.mapping(defaults, _DEFAULTS)
        exclusions = self.exclusions(values.get("exclude"), tasks, methods)
        rows = [
            self.row(values, (task_key, task), (method_key, method), seeds, exclusions)
            for task_key, task in tasks.items()
            for method_key, method in methods.items()
        ]
        budgets = self.budgets(values.get("budgets"))
        name = self.text(values.get("suite"))
        if name and not NAME.fullmatch(name):
            self.wrong(values["suite"], f"expected lower-case words joined by '-', found '{name}'")
        if self.mistakes:
            return None
        return Suite(
            path=path,
            name=name,
            title=self.text(values.get("title")),
            question=self.text(values.get("question")),
            source=self.text(values.get("source")),
            published=self.text(values.get("published")) or None,
            seeds=seeds,
            budgets=budgets,
            rows=tuple(row for row in rows if row is not None),
        )

    # what a value must be

    def mapping(
        self, node: Node, known: Iterable[str] = (), required: Iterable[str] = ()
    ) -> dict[str, Node]:
        """The values of a mapping whose keys must be among `known` (empty: any)."""
        if not isinstance(node.value, dict):
            self.wrong(node, f"expected a mapping, found {describe(node.value)}")
            return {}
        known = tuple(known)
        for key, child in node.value.items():
            if known and key not in known:
                what = f"unknown key '{key}'{suggestion(key, known)}"
                self.wrong(child, f"{what}\n      known: {', '.join(sorted(known))}")
        for key in required:
            if key not in node.value:
                self.wrong(node, f"missing key '{key}'")
        return node.value

    def text(self, node: Node | None) -> str:
        if node is None or node.value is None:
            return ""
        if not isinstance(node.value, str):
            self.wrong(node, f"expected text, found {describe(node.value)}")
            return ""
        return node.value

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
            if what == "method":
                self.mapping(entry, _METHOD_KEYS)
        return {key: entry for key, entry in entries.items() if isinstance(entry.value, dict)}

    def seeds(self, node: Node | None) -> tuple[int, ...]:
        if node is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node]
        seeds: dict[int, Node] = {}
        for item in items:
            for seed in self.some_seeds(item):
                if seed in seeds:
                    self.wrong(item, f"the seed {seed} is given twice")
                seeds[seed] = item
        if not items:
            self.wrong(node, "expected at least one seed")
        return tuple(seeds)

    def some_seeds(self, node: Node) -> list[int]:
        value = node.value
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
            return [value]
        if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})-(\d{1,9})", value)):
            first, last = int(match[1]), int(match[2])
            if first <= last < first + 10_000:
                return list(range(first, last + 1))
        self.wrong(node, f"expected whole numbers from 0 or a range '0-4', found {describe(value)}")
        return []

    def budgets(self, node: Node | None) -> dict[str, float]:
        found: dict[str, float] = {}
        for key, child in (self.mapping(node) if node else {}).items():
            value = child.value
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
                what = f"expected a fraction in (0, 1], found {describe(value)}"
                self.wrong(child, what)
            else:
                found[key] = float(value)
        return found

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
                if pattern and not any(fnmatchcase(name, pattern) for name in known):
                    what = f"no {key} matches '{pattern}'{suggestion(pattern, known)}"
                    self.wrong(values[key], f"{what}\n      known: {', '.join(known) or 'none'}")
            found.append(_Exclusion(names["task"], names["method"], self.text(values.get("why"))))
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
        labels = [self.text(v.get("label")) for v in (task_values, method_values)]
        cells: tuple[CellConfig, ...] = ()
        thresholds: tuple[Threshold, ...] = ()
        if excluded is None:
            settings = self.settings(suite, method, override)
            cells = self.cells(suite, task, method, settings, seeds)
            regime = settings["regime"].value if "regime" in settings else "sequential"
            expect = _merge(method_values.get("expect"), override.get("expect"))
            thresholds = self.thresholds(expect, str(regime))
        return Row(
            task=task_key,
            method=method_key,
            task_label=labels[0] or task_key,
            method_label=labels[1] or method_key,
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
        return self.mapping(on[task_key], (*_SETTINGS, "expect"))

    def settings(
        self, suite: Mapping[str, Node], method: Node, override: dict[str, Node]
    ) -> dict[str, Node]:
        """The settings of a cell: suite < defaults < method < method.on[task]."""
        defaults = suite["defaults"].value if "defaults" in suite else {}
        assert isinstance(method.value, dict)  # only mappings become entries
        layers: list[Mapping[str, Node]] = [
            {key: suite[key] for key in ("data_seed",) if key in suite},
            defaults if isinstance(defaults, dict) else {},
            method.value,
            override,
        ]
        merged: dict[str, Node] = {}
        for layer in layers:
            for key in _SETTINGS:
                if key in layer:
                    node = _named(layer[key]) if key in ("learner", "model") else layer[key]
                    found = _merge(merged.get(key), node)
                    assert found is not None  # one of the two is given
                    merged[key] = found
        return merged

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
            named = Node({"name": values["family"], **rest}, task.line, task.where)
            family = self.choice("task", named, scenario)
        learner = self.choice("learner", settings.get("learner"), scenario)
        model_node, heads_node = _without_heads(settings.get("model"))
        model = self.choice("model", model_node, scenario)
        heads = self.heads(heads_node, scenario)
        regularizers = self.regularizers(settings.get("regularizers"), scenario)
        training = self.training(settings.get("training"))
        regime = self.one_of(settings.get("regime"), get_args(Regime), "sequential")
        if family and model and settings.get("model"):
            self.check_kind(family, model, settings["model"])
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
                data_seed=self.data_seed(settings.get("data_seed"), seed),
                budget=1.0,
                plugins=plugins,
            )
            for seed in seeds
        )

    def scenario(self, node: Node | None) -> Scenario | None:
        if node is None:
            return None
        found = self.one_of(node, [scenario.value for scenario in Scenario], None)
        return None if found is None else Scenario(found)

    def one_of(self, node: Node | None, known: Iterable[str], default: Any) -> Any:
        if node is None:
            return default
        known = list(known)
        if node.value not in known:
            near = suggestion(node.value, known) if isinstance(node.value, str) else ""
            what = f"expected {_or([repr(k) for k in known])}, found {describe(node.value)}{near}"
            self.wrong(node, what)
            return default
        return node.value

    def data_seed(self, node: Node | None, seed: int) -> int:
        if node is None:
            return 42
        if node.value == "seed":
            return seed
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**32:
            what = f"expected a whole number from 0 or 'seed', found {describe(value)}"
            self.wrong(node, what)
            return 0
        return value

    def heads(self, node: Node | None, scenario: Scenario | None) -> Any:
        if scenario is None:
            return "shared"
        return self.one_of(node, scenario.heads, scenario.heads[0])

    def choice(self, kind: Kind, node: Node | None, scenario: Scenario | None) -> Choice | None:
        """A registered thing by name, with all its parameters."""
        if node is None:
            return None
        values = self.mapping(node)
        if "name" not in values:
            if isinstance(node.value, dict):
                self.wrong(node, "missing key 'name'")
            return None
        name_node = values["name"]
        name = self.text(name_node)
        if not name:
            return None
        try:
            found = self.registry.find(kind, name)
            loaded = found.load()
        except ClbenchError as error:
            self.wrong(name_node, str(error).replace("\n    ", "\n      "))
            return None
        self.used.add(found)
        if scenario is not None and scenario not in loaded.scenarios:
            serves = _or(sorted(repr(s.value) for s in loaded.scenarios))
            what = f"{kind} '{name}' cannot serve the scenario '{scenario.value}', only {serves}"
            self.wrong(name_node, what)
        rest = Node({k: v for k, v in values.items() if k != "name"}, node.line, node.where)
        params = self.model(loaded.Params, rest, f"parameter of {kind} '{name}'")
        if params is None:
            return None
        return Choice(name=name, version=loaded.version, params=params.model_dump(mode="json"))

    def regularizers(self, node: Node | None, scenario: Scenario | None) -> tuple[Choice, ...]:
        found = []
        for name, child in (self.mapping(node) if node else {}).items():
            if child.value is None:
                continue
            named = Node({"name": Node(name, child.line, child.where)}, child.line, child.where)
            if isinstance(child.value, dict):
                named = Node({**named.value, **child.value}, child.line, child.where)  # type: ignore[dict-item]
            else:
                self.wrong(child, f"expected a mapping, found {describe(child.value)}")
            found.append(self.choice("regularizer", named, scenario))
        return tuple(choice for choice in found if choice is not None)

    def training(self, node: Node | None) -> Training | None:
        if node is None:
            return None
        if isinstance(node.value, dict) and "optimizer" in node.value:
            optimizer = _named(node.value["optimizer"])
            node = Node({**node.value, "optimizer": optimizer}, node.line, node.where)
        found: Training | None = self.model(Training, node, "key of training")
        return found

    def check_kind(self, family: Choice, model: Choice, node: Node) -> None:
        """Whether the main net takes the samples that the tasks give."""
        family_class = self.registry.find("task", family.name).load()
        model_class = self.registry.find("model", model.name).load()
        spec = family_class(read(family_class.Params, family.params)).spec
        if spec.kind not in model_class.kinds:
            what = (
                f"model '{model.name}' takes {_or(sorted(model_class.kinds))} samples, and task "
                f"family '{family.name}' gives {spec.kind}"
            )
            self.wrong(node.at(("name",)), what)

    def thresholds(self, node: Node | None, regime: str) -> tuple[Threshold, ...]:
        found = []
        for metric, child in (self.mapping(node) if node else {}).items():
            if metric not in SUMMARIES:
                what = f"unknown metric '{metric}'{suggestion(metric, SUMMARIES)}"
                self.wrong(child, f"{what}\n      known: {', '.join(sorted(SUMMARIES))}")
                continue
            if metric in _NOT_MEASURED.get(regime, ()):
                self.wrong(child, f"the regime '{regime}' gives no {metric}")
            match = _THRESHOLD.fullmatch(child.value) if isinstance(child.value, str) else None
            if match is None:
                what = f"expected a threshold such as '>= 97', found {describe(child.value)}"
                self.wrong(child, what)
                continue
            found.append(Threshold(metric, match[1], float(match[2])))
        return tuple(found)

    def model(self, model: type[BaseModel], node: Node, what: str) -> Any:
        """The node as a parameter model, or None with its mistakes."""
        for child in walk(node):
            if isinstance(child.value, float) and not math.isfinite(child.value):
                self.wrong(child, f"expected a finite number, found {child.value}")
                return None
        try:
            return read(model, node.plain())
        except ValidationError as error:
            self.translate(error, model, node, what)
            return None

    def translate(
        self, error: ValidationError, model: type[BaseModel], node: Node, what: str
    ) -> None:
        """Pydantic's errors as mistakes; those of one value become one."""
        expected: dict[tuple[int, str], tuple[Node, list[str]]] = {}
        for one in error.errors():
            loc, kind = one["loc"], one["type"]
            if kind == "extra_forbidden":
                name = str(loc[-1])
                known = _known(model, loc[:-1])
                near = suggestion(name, known)
                text = f"unknown {what} '{name}'{near}\n      known: {', '.join(known) or 'none'}"
                self.wrong(node.at(loc), text)
            elif kind == "missing":
                self.wrong(node, f"missing {what} '{loc[-1]}'")
            elif kind == "value_error":
                self.wrong(node.at(loc), one["msg"].removeprefix("Value error, "))
            else:
                place = node.at(loc)
                key = (place.line, place.where)
                expected.setdefault(key, (place, []))[1].append(_expectation(one))
        for place, texts in expected.values():
            wanted = _or(list(dict.fromkeys(texts)))
            self.wrong(place, f"expected {wanted}, found {describe(place.value)}")


def _expectation(error: Any) -> str:
    """What pydantic expected, as words."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        words = {
            "greater_than": ("greater than", "gt"),
            "greater_than_equal": ("at least", "ge"),
            "less_than": ("less than", "lt"),
            "less_than_equal": ("at most", "le"),
        }[kind]
        return f"a number {words[0]} {context[words[1]]}"
    if kind.startswith("int"):
        return "a whole number"
    if kind.startswith("float"):
        return "a number"
    if kind.startswith("bool"):
        return "true or false"
    if kind.startswith("string"):
        return "text"
    if kind in ("literal_error", "enum"):
        return str(context["expected"])
    if kind == "union_tag_invalid":
        return str(context["expected_tags"]).replace(", ", " or ")
    if kind in ("tuple_type", "list_type"):
        return "a list"
    message: str = error["msg"]
    return message[0].lower() + message[1:]


def _known(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The fields of the (sub)model that a location leads to; a tagged union adds its tag to it."""
    for step in loc:
        field = model.model_fields.get(str(step))
        models = _models(field.annotation) if field else []
        tagged = [m for m in models if "name" in m.model_fields]
        model = next((m for m in tagged if m.model_fields["name"].default in loc), model)
    return sorted(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    candidates = [annotation, *get_args(annotation)]
    return [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _named(node: Node) -> Node:
    """``fine-tuning`` as ``{name: fine-tuning}``."""
    if isinstance(node.value, dict):
        return node
    return Node({"name": Node(node.value, node.line, node.where)}, node.line, node.where)


def _merge(base: Node | None, over: Node | None) -> Node | None:
    """`over` laid upon `base`; another ``name`` drops all that belonged to the old one."""
    if base is None or over is None:
        return base if over is None else over
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    names = [node.value.get("name") for node in (base, over) if isinstance(node.value, dict)]
    if names[0] and names[1] and names[0].value != names[1].value:
        return over
    merged = dict(base.value)
    for key, child in over.value.items():
        found = _merge(merged.get(key), child)
        assert found is not None  # the child is given
        merged[key] = found
    return Node(merged, over.line, over.where)


def _without_heads(node: Node | None) -> tuple[Node | None, Node | None]:
    if node is None or not isinstance(node.value, dict):
        return node, None
    rest = {key: child for key, child in node.value.items() if key != "heads"}
    return Node(rest, node.line, node.where), node.value.get("heads")
