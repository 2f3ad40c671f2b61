"""What the values of a suite file must be, and how a wrong one is told."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeGuard, get_args

from pydantic import BaseModel, ValidationError

from clbench.config import Choice
from clbench.errors import ClbenchError, Mistake, in_one_line, suggestion
from clbench.params import dataset_fields, read, write
from clbench.registry import Kind, Registered, Registry
from clbench.scenario import Scenario
from clbench.yaml12 import Node, describe, walk

BUDGET = re.compile(r"[a-z][a-z0-9]*([-_.][a-z0-9]+)*")
"""Names of budgets; none is a number, as ``--budget`` takes these too."""

MAX_SEED = 2**32 - 1
"""The largest seed that NumPy's generators take."""


def is_seed(value: object) -> TypeGuard[int]:
    """Whether a value can be a seed, of models or of data."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_SEED


@dataclass(slots=True)
class Checker:
    """Turns nodes into values; mistakes are kept in the order found, each once.

    Attributes:
        registry: Where names are looked up.
        mistakes: So far.
        used: The registered things that `choice` has found.
    """

    registry: Registry
    mistakes: dict[Mistake, None]
    used: set[Registered] = field(default_factory=set)

    def wrong(self, node: Node, what: str) -> None:
        """Keep a mistake at a node."""
        self.mistakes[Mistake(node.line, node.where, what)] = None

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
        """A text; empty where there is none."""
        if node is None or node.value is None:
            return ""
        if not isinstance(node.value, str):
            self.wrong(node, f"expected text, found {describe(node.value)}")
            return ""
        return node.value

    def one_of(self, node: Node | None, known: Iterable[str], default: Any) -> Any:
        """One of the `known` words; the default where there is none."""
        if node is None:
            return default
        known = list(known)
        if node.value not in known:
            near = suggestion(node.value, known) if isinstance(node.value, str) else ""
            what = (
                f"expected {either([repr(k) for k in known])}, found {describe(node.value)}{near}"
            )
            self.wrong(node, what)
            return default
        return node.value

    def seeds(self, node: Node | None) -> tuple[int, ...]:
        """A seed, or a list of seeds and ranges; none may be there twice."""
        if node is None:
            return ()
        items = node.value if isinstance(node.value, list) else [node]
        seeds: dict[int, Node] = {}
        for item in items:
            for seed in self._some_seeds(item):
                if seed in seeds:
                    self.wrong(item, f"the seed {seed} is given twice")
                seeds[seed] = item
        if not items:
            self.wrong(node, "expected at least one seed")
        return tuple(seeds)

    def _some_seeds(self, node: Node) -> list[int]:
        value = node.value
        if is_seed(value):
            return [value]
        if isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})-(\d{1,9})", value)):
            first, last = int(match[1]), int(match[2])
            if first <= last < first + 10_000:
                return list(range(first, last + 1))
        wanted = f"whole numbers from 0 to {MAX_SEED} or a range '0-4'"
        self.wrong(node, f"expected {wanted}, found {describe(value)}")
        return []

    def budgets(self, node: Node | None) -> dict[str, float]:
        """Names of budgets, each with its fraction."""
        found: dict[str, float] = {}
        for key, child in (self.mapping(node) if node else {}).items():
            value = child.value
            if not BUDGET.fullmatch(key):
                self.wrong(child, f"expected a name such as 'quick', found '{key}'")
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
                what = f"expected a fraction in (0, 1], found {describe(value)}"
                self.wrong(child, what)
            else:
                found[key] = float(value)
        return found

    def named_choice(
        self, kind: Kind, node: Node | None, scenario: Scenario | None
    ) -> Choice | None:
        """``{name: online-ewc, gamma: 1}`` as a registered thing with all its parameters."""
        if node is None:
            return None
        values = self.mapping(node)
        if "name" not in values:
            if isinstance(node.value, dict):
                self.wrong(node, "missing key 'name'")
            return None
        rest = Node({k: v for k, v in values.items() if k != "name"}, node.line, node.where)
        return self.choice(kind, values["name"], rest, scenario)

    def choice(
        self, kind: Kind, name_node: Node, values: Node, scenario: Scenario | None
    ) -> Choice | None:
        """The registered thing of a name, with all its parameters."""
        name, what = name_node.value, _WHAT.get(kind, kind)
        if not isinstance(name, str):
            self.wrong(name_node, f"expected the name of a {what}, found {describe(name)}")
            return None
        try:
            found = self.registry.find(kind, name)
            loaded = found.load()
        except ClbenchError as error:
            self.wrong(name_node, str(error).replace("\n    ", "\n      "))
            return None
        self.used.add(found)
        if scenario is not None and scenario not in loaded.scenarios:
            serves = either(sorted(repr(s.value) for s in loaded.scenarios))
            wanted = f"cannot serve the scenario '{scenario.value}', only {serves}"
            self.wrong(name_node, f"{what} '{name}' {wanted}")
        params = self.model(loaded.Params, values, f"parameter of {what} '{name}'")
        if params is None:
            return None
        try:
            written = write(params)
        except ValueError as error:
            self.wrong(name_node, f"the parameters of {what} '{name}' {error}")
            return None
        if not self._has_datasets(params, values):
            return None
        return Choice(name=name, version=loaded.version, params=written)

    def _has_datasets(self, params: BaseModel, values: Node) -> bool:
        """Whether the datasets that parameters name are registered, and can be used."""
        all_found = True
        for parameter in dataset_fields(type(params)):
            try:
                found = self.registry.find("dataset", getattr(params, parameter))
                found.load()
            except ClbenchError as error:
                default = "" if parameter in self.mapping(values) else f"default of '{parameter}': "
                what = str(error).replace("\n    ", "\n      ")
                self.wrong(values.at((parameter,)), default + what)
                all_found = False
            else:
                self.used.add(found)
        return all_found

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
        except ClbenchError as error:
            self.wrong(node, str(error))
        except Exception as error:  # a validator of a plugin may raise anything
            self.wrong(node, f"its check of parameters fails: {in_one_line(error)}")
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
                text = f"unknown {what}: '{name}'{near}\n      known: {', '.join(known) or 'none'}"
                self.wrong(node.at(loc), text)
            elif kind == "missing" and isinstance(loc[-1], str):
                self.wrong(node.at(loc[:-1]), f"missing {what}: '{loc[-1]}'")
            elif kind == "union_tag_not_found":
                self.wrong(node.at(loc), f"missing key {one['ctx']['discriminator']}")
            elif kind == "value_error":
                self.wrong(node.at(loc), one["msg"].removeprefix("Value error, "))
            else:
                place = node.at((*loc, "name") if kind == "union_tag_invalid" else loc)
                key = (place.line, place.where)
                expected.setdefault(key, (place, []))[1].append(expectation(one))
        for place, texts in expected.values():
            wanted = either(list(dict.fromkeys(texts)))
            names = re.findall("'([^']+)'", wanted)
            near = suggestion(place.value, names) if isinstance(place.value, str) else ""
            self.wrong(place, f"expected {wanted}, found {describe(place.value)}{near}")


_WHAT: dict[Kind, str] = {"task": "task family"}  # the others are called as they are


def expectation(error: Any) -> str:
    """What one of pydantic's errors expected, as words: ``a whole number``."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        words = {
            "greater_than": ("greater than", "gt"),
            "greater_than_equal": ("at least", "ge"),
            "less_than": ("less than", "lt"),
            "less_than_equal": ("at most", "le"),
        }[kind]
        return f"a number {words[0]} {context[words[1]]}"
    if kind == "finite_number":
        return "a finite number"
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
    if kind in ("dict_type", "model_type"):
        return "a mapping"
    if kind == "missing":
        return "a list of more values"
    if kind == "too_long":
        return f"a list of {context['max_length']} values"
    message: str = error["msg"]
    return message[0].lower() + message[1:]


def _known(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The fields of the (sub)model that a location leads to; a tagged union adds its tag to it."""
    for step in loc:
        field = model.model_fields.get(str(step))
        models = _models(field.annotation) if field else []
        tagged = [m for m in models if "name" in m.model_fields]
        inner = models[0] if len(models) == 1 else model
        model = next((m for m in tagged if m.model_fields["name"].default in loc), inner)
    return sorted(model.model_fields)


def _models(annotation: Any) -> list[type[BaseModel]]:
    candidates = [annotation, *get_args(annotation)]
    return [c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)]


def either(words: list[str]) -> str:
    """Words as an enumeration: ``a, b or c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
