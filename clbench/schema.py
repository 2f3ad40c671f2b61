"""Registry -> JSON schema of suite files, for editors that complete and check while one types.

The schema knows every registered name with its parameters. It is a help, not the judge: settings
are laid upon each other (defaults < task < method < on), so a single layer may be incomplete, and
what concerns several values at once (scenarios, kinds of samples, regimes) is found by
``clbench validate`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, get_args

from pydantic import BaseModel, PydanticUserError
from pydantic.json_schema import models_json_schema

from clbench.checks import BUDGET, MAX_SEED
from clbench.config import Adam, Regime, Sgd, Training
from clbench.errors import PluginError, in_one_line
from clbench.metrics import ACCURACY, MSE, names
from clbench.params import dataset_fields
from clbench.registry import Kind, Registered, Registry
from clbench.scenario import Scenario
from clbench.suite import DEFAULTS, NAME

Schema: TypeAlias = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_SOME_TEXT: Schema = {"type": "string", "minLength": 1}
_FREE_TEXT: Schema = {"type": ["string", "null"]}
_SEED: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}


def of_suites(registry: Registry, tell: Callable[[str], None] = lambda text: None) -> Schema:
    """The JSON schema (draft 2020-12) of suite files with what a registry knows.

    A class that cannot be used is named in the description of its entry, and any parameters are
    let through there.

    Args:
        registry: Where names are looked up.
        tell: Told of each class that cannot be used.
    """
    builder = _Builder(registry)
    for problem in builder.broken.values():
        tell(problem)
    return builder.suite()


class _Builder:
    """Builds the schema; keeps the parameter schemas of everything registered."""

    def __init__(self, registry: Registry) -> None:
        kinds: tuple[Kind, ...] = ("task", "model", "learner", "regularizer")
        self._found = {kind: registry.table(kind) for kind in (*kinds, "dataset")}
        models: dict[tuple[str, str], type[BaseModel]] = {
            ("training", ""): Training,
            ("optimizer", "adam"): Adam,
            ("optimizer", "sgd"): Sgd,
        }
        self.broken: dict[tuple[str, str], str] = {}
        for kind in kinds:
            for name, registered in self._found[kind].items():
                try:
                    params = registered.load().Params
                    params.model_json_schema()
                except PluginError as error:
                    self.broken[kind, name] = str(error)
                except PydanticUserError as error:
                    self.broken[kind, name] = f"{kind} '{name}': {in_one_line(error)}"
                else:
                    models[kind, name] = params
        found, rest = models_json_schema(
            [(model, "validation") for model in dict.fromkeys(models.values())],
            ref_template="#/$defs/{model}",
        )
        defs = rest.get("$defs", {})
        by_model = {
            model: self._with_datasets(model, self._resolve(found[model, "validation"], defs))
            for model, _ in found
        }
        self._params = {key: by_model[model] for key, model in models.items()}
        self._nested = {name: _of_a_layer(nested) for name, nested in defs.items()}

    @staticmethod
    def _resolve(schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Schema:
        reference = schema.get("$ref")
        return dict(defs[reference.rpartition("/")[2]] if reference else schema)

    def _with_datasets(self, model: Any, schema: Schema) -> Schema:
        """The schema of parameters, those that name datasets with the names there are."""
        known = self._summaries("dataset")
        properties = dict(schema.get("properties", {}))
        for name in dataset_fields(model):
            properties[name] |= _named(known, properties[name].get("description", ""))
        return schema | {"properties": properties}

    def suite(self) -> Schema:
        """Of a whole file."""
        key = {"pattern": f"^({NAME.pattern})$"}
        optimizer = self._choice("optimizer", {"adam": Adam.__doc__, "sgd": Sgd.__doc__}, {})
        definitions = {
            "task": self._task(),
            "model": self._choice("model", self._summaries("model"), {"heads": _HEADS}),
            "learner": self._choice("learner", self._summaries("learner"), {}),
            "regularizers": self._regularizers(),
            "optimizer": optimizer,
            "training": self._training(),
            "expect": self._expect(),
            "on": _object(self._method_keys(), "What differs on one task."),
            "method": _object(
                self._method_keys()
                | {
                    "on": {
                        "type": "object",
                        "description": "Task key -> what differs on that task.",
                        "additionalProperties": {"$ref": "#/$defs/on"},
                    }
                },
                "One method, a row of the table on each task.",
            ),
        }
        properties: Schema = {
            "suite": _TEXT | key | {"description": "Name: lower-case words joined by '-'."},
            "title": _FREE_TEXT | {"description": "Heading of the table."},
            "question": _FREE_TEXT | {"description": "What the suite asks."},
            "source": _FREE_TEXT | {"description": "Where the experiment was published."},
            "published": _FREE_TEXT | key | {"description": "Ledger in results/published/."},
            "scenario": _words([s.value for s in Scenario], "What learners are told of tasks."),
            "seeds": _SEEDS,
            "data_seed": _DATA_SEED,
            "budgets": {
                "type": "object",
                "description": "Names for fractions of the training steps, for --budget.",
                "propertyNames": {"pattern": f"^({BUDGET.pattern})$"},
                "additionalProperties": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            },
            "defaults": self._defaults(),
            "tasks": _entries("task", key, "Key -> a sequence of tasks."),
            "methods": _entries("method", key, "Key -> a method."),
            "exclude": {
                "type": "array",
                "description": "Cells that are not run, each with the reason.",
                "items": _object(
                    {name: _SOME_TEXT for name in ("method", "task", "why")},
                    "Keys or globs of method and task.",
                    required=("method", "task", "why"),
                ),
            },
        }
        required = ("suite", "scenario", "seeds", "tasks", "methods")
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "A suite of clbench",
            **_object(properties, "Methods x tasks x seeds.", required=required),
            "$defs": definitions | self._needed(definitions),
        }

    def _needed(self, schema: Any) -> Schema:
        """The models within parameters that a schema refers to, and those that they refer to."""
        needed: Schema = {}
        names = _references(schema) & set(self._nested)
        while names:
            needed |= {name: self._nested[name] for name in sorted(names)}
            names = (_references(needed) & set(self._nested)) - set(needed)
        return needed

    def _settings(self) -> Schema:
        return {
            "learner": _ref("learner", "The object that learns."),
            "regime": _words(get_args(Regime), "Order in which tasks are trained on."),
            "model": _ref("model", "The main net, and its heads."),
            "training": _ref("training", "How each task is trained on."),
            "regularizers": _ref(
                "regularizers",
                "Name -> parameters; null takes away one that an earlier layer brought.",
            ),
            "data_seed": _DATA_SEED,
        }

    def _defaults(self) -> Schema:
        """The first layer: no earlier one has brought what null could take away."""
        settings = {key: self._settings()[key] for key in DEFAULTS}
        settings["regularizers"] = {
            **_ref("regularizers", "Name -> parameters, of all methods."),
            "additionalProperties": {"type": "object"},
        }
        return _object(settings, "Settings of all methods.")

    def _method_keys(self) -> Schema:
        label = _FREE_TEXT | {"description": "Label of the row."}
        expect = _ref("expect", "Summary metric -> '>= bound' or '<= bound'.")
        return {"label": label, **self._settings(), "expect": expect}

    def _summaries(self, kind: Kind) -> dict[str, str | None]:
        return {name: _about(found) for name, found in self._found[kind].items()}

    def _task(self) -> Schema:
        """A task: its family decides which parameters it has, and all of them stand here."""
        settings = self._settings()
        common = {
            "label": _FREE_TEXT | {"description": "Heading in the table; tasks may share one."},
            "scenario": _words([s.value for s in Scenario], "In place of the suite's."),
            **{key: settings[key] for key in ("model", "training", "data_seed")},
        }
        return {
            "type": "object",
            "description": "A sequence of tasks of one family.",
            "required": ["family"],
            "properties": {"family": _named(self._summaries("task"), "The task family.")},
            "allOf": [
                self._branch("task", "family", name, common, is_whole=True)
                for name in self._found["task"]
            ],
        }

    def _choice(self, kind: str, about: Mapping[str, str | None], common: Schema) -> Schema:
        """A name, or a mapping with it: parameters by name, or any kind's where it is left out."""
        is_open = any(broken == kind for broken, _ in self.broken)
        found: dict[str, list[Schema]] = {}
        for name in about:
            for key, one in self._params.get((kind, name), {}).get("properties", {}).items():
                alike = found.setdefault(key, [])
                alike += [] if one in alike else [one]
        anything: Schema = {} if is_open else {key: _one_of(ones) for key, ones in found.items()}
        anything |= common
        unnamed: Schema = {"properties": {"name": False, **anything}}
        unnamed |= {} if is_open else {"additionalProperties": False}
        mapping = {
            "properties": {"name": _named(about, f"Which {kind}.")},
            "if": {"required": ["name"]},
            "then": {
                "allOf": [self._branch(kind, "name", n, common, is_whole=False) for n in about]
            },
            "else": unnamed,
        }
        return {
            "type": ["string", "object"],
            "if": {"type": "string"},
            "then": _named(about, f"Which {kind}."),
            "else": mapping,
        }

    def _branch(self, kind: str, key: str, name: str, common: Schema, *, is_whole: bool) -> Schema:
        """What holds where `key` says `name`; a whole thing has all its required parameters."""
        found = self._params.get((kind, name))
        condition = {"properties": {key: {"const": name}}, "required": [key]}
        if found is None:
            return {"if": condition, "then": {"description": self.broken[kind, name]}}
        required = found.get("required", []) if is_whole else []
        properties = {**found.get("properties", {}), **common, key: {"const": name}}
        return {"if": condition, "then": _object(properties, required=required)}

    def _regularizers(self) -> Schema:
        properties = {}
        for name, found in self._found["regularizer"].items():
            known = self._params.get(("regularizer", name))
            about: Schema = {"description": _about(found)}
            if known is None:
                properties[name] = about | {"description": self.broken["regularizer", name]}
            else:
                shape = _object(known.get("properties", {}))
                properties[name] = about | shape | {"type": ["object", "null"]}
        return _object(properties)

    def _training(self) -> Schema:
        properties = dict(self._params["training", ""]["properties"])
        about = properties["optimizer"].get("description", "")
        return _object(properties | {"optimizer": _ref("optimizer", about)})

    def _expect(self) -> Schema:
        bound = {"type": "string", "pattern": r"^(>=|<=)\s*-?[0-9.][0-9.eE+-]*\s*%?$"}
        metrics = [name for metric in (ACCURACY, MSE) for name in names(metric.name)]
        return _object({name: bound for name in dict.fromkeys(metrics)})


_HEADS: Schema = {
    "enum": ["per-task", "shared"],
    "description": "Rows of the output layer of each task's own, or one block for all.",
}

_SEEDS: Schema = {
    "description": "Model seeds: whole numbers and ranges such as '0-4'.",
    "anyOf": [
        _SEED,
        {"type": "string", "pattern": r"^[0-9]{1,9}-[0-9]{1,9}$"},
        {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"anyOf": [_SEED, {"type": "string", "pattern": r"^[0-9]{1,9}-[0-9]{1,9}$"}]},
        },
    ],
}

_DATA_SEED: Schema = {
    "description": "Seed of the tasks, or 'seed': equal to the model seed.",
    "anyOf": [_SEED, {"const": "seed"}],
}


def _of_a_layer(schema: Mapping[str, Any]) -> Schema:
    """The schema of a mapping within parameters: what is required may stand in another layer."""
    return {key: value for key, value in schema.items() if key != "required"}


def _one_of(schemas: list[Schema]) -> Schema:
    """What serves for a parameter of which nobody says whose it is."""
    return schemas[0] if len(schemas) == 1 else {"anyOf": schemas}


def _references(schema: Any) -> set[str]:
    """Names of the definitions that a schema refers to, anywhere in it."""
    if isinstance(schema, dict):
        here = {schema["$ref"].rpartition("/")[2]} if isinstance(schema.get("$ref"), str) else set()
        return here.union(*map(_references, schema.values()))
    return set().union(*map(_references, schema)) if isinstance(schema, list) else set()


def _object(properties: Schema, description: str = "", required: Iterable[str] = ()) -> Schema:
    """A mapping with these keys and no others."""
    found: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    found |= {"description": description} if description else {}
    return found | ({"required": list(required)} if required else {})


def _entries(kind: str, key: Schema, description: str) -> Schema:
    return {
        "type": "object",
        "description": description,
        "minProperties": 1,
        "propertyNames": key,
        "additionalProperties": {"$ref": f"#/$defs/{kind}"},
    }


def _ref(name: str, description: str) -> Schema:
    return {"$ref": f"#/$defs/{name}", "description": description}


def _words(words: Iterable[str], description: str) -> Schema:
    return {"enum": list(words), "description": description}


def _named(about: Mapping[str, str | None], description: str) -> Schema:
    """One of some names; editors show what is said about each beside it."""
    return {
        "enum": list(about),
        "enumDescriptions": [text or "" for text in about.values()],
        "description": description,
    }


def _about(found: Registered) -> str:
    entry = found.entry
    return f"{entry.summary} ({entry.source})" if entry.source else entry.summary
