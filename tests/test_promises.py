"""What the classes of plugins must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import isfunction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import toys
from pydantic import BaseModel, ConfigDict, ValidationError
from toys import NoParams

from clbench import listing, protocols, schema
from clbench.data import DataFile
from clbench.errors import PluginError
from clbench.executor import Executor
from clbench.hookspecs import Entry, hookimpl
from clbench.params import DatasetName, Params, read
from clbench.promises import _METHODS, _SETS, RESERVED, check_watches
from clbench.protocols import Learner, MainNet, Regularizer, TaskFamily
from clbench.registry import Kind, Plugin, Registered, Registry
from clbench.scenario import ALL_SCENARIOS, WITH_BOUNDARIES
from clbench.tracking import Tracker


class _Whole:
    """All that a class of any kind must have."""

    Params: Any = NoParams
    version: Any = 1
    scenarios: Any = ALL_SCENARIOS
    watches: Any = frozenset()
    kinds: Any = frozenset({"regression"})

    def _method(self, *arguments: object) -> None:
        pass

    begin = penalty = consolidate = state = restore = _method  # of regularizers
    begin_task = observe = end_task = predict = tasks = initial = __call__ = _method


class _Unfinished:
    Params, version, scenarios = NoParams, 1, ALL_SCENARIOS

    def begin(self, params: object) -> None:
        pass

    def state(self) -> None:
        pass


class _Misspelt(_Whole):
    watches = frozenset({"steps"})


class _Blind(_Whole):
    watches = frozenset({"task-gradient"})


class _Seeing(_Whole):
    watches = frozenset({"task-gradient", "step"})
    after_task_gradient = after_step = _Whole._method


class _SeeingLater(_Whole):
    after_step = _Whole._method

    @property
    def watches(self) -> Any:
        return frozenset({"step"})


class _Delegating:
    Params, version, scenarios = NoParams, 1, WITH_BOUNDARIES

    def __getattr__(self, name: str) -> object:
        return getattr(_Whole(), name)


_PLACED: dict[str, Any] = {}


def __getattr__(name: str) -> Any:
    """Classes that a test has made, for `Registered.load` to find."""
    try:
        return _PLACED[name]
    except KeyError:
        raise AttributeError(name) from None


def _registered(loaded: Any, kind: Kind = "regularizer") -> Registered:
    _PLACED["made"] = loaded
    entry = Entry("r", f"{__name__}:made", "for a test")
    return Registered(kind, entry, Plugin("p", "dist-p", "1.0"))


def _error(loaded: Any, kind: Kind = "regularizer") -> str:
    with pytest.raises(PluginError) as caught:
        _registered(loaded, kind).load()
    return str(caught.value)


@pytest.mark.parametrize(
    ("loaded", "error"),
    [
        (_Unfinished, "lacks the methods 'penalty', 'consolidate', 'restore'"),
        (
            _Misspelt,
            "watches the unknown 'steps'; did you mean 'step'? (known: task-gradient, step)",
        ),
        (_Blind, "watches 'task-gradient' and lacks 'after_task_gradient'"),
        (_Whole(), "is no class"),
    ],
)
def test_a_class_that_lacks_what_its_protocol_asks_for_is_told(loaded: Any, error: str) -> None:
    assert _error(loaded) == f"regularizer 'r' of plugin 'p' (dist-p 1.0) {error}"


@pytest.mark.parametrize("loaded", [_Whole, _Seeing, _SeeingLater, _Delegating])
def test_a_class_that_has_it_or_passes_it_on_is_loaded(loaded: Any) -> None:
    assert _registered(loaded).load().version == 1


def test_parts_of_parameters_that_refuse_unknown_keys_pass() -> None:
    closed = type("Made", (_Whole,), {"Params": _Closed})

    params = _registered(closed).load().Params

    with pytest.raises(ValidationError):
        read(params, {"data": [{"strenght": 1}]})


class _Bare(BaseModel):
    strength: float = 1.0


@dataclass
class _Data:
    strength: float = 1.0


class _Open(Params):
    model_config = ConfigDict(extra="ignore")


class _Nested(Params):
    bounds: tuple[_Bare, ...] = ()


class _OfPictures(Params):
    pictures: DatasetName = "mnist"


class _OfSomePictures(Params):
    one: DatasetName = "mnist"
    perhaps: DatasetName | None = None
    several: tuple[DatasetName, ...] = ()
    part: _OfPictures = _OfPictures()


class _Closed(Params):
    bounds: NoParams | None = None
    data: tuple[_Data, ...] = ()  # which has the configuration of what it stands in


_SCENARIOS = "Scenario.TASK_IL, Scenario.DOMAIN_IL, Scenario.CLASS_IL, Scenario.TASK_FREE"
_REGIMES = "sequential, independent, joint, cumulative"
_NO_PARAMS = "has a Params that is no subclass of clbench.params.Params"


@pytest.mark.parametrize(
    ("kind", "attributes", "error"),
    [
        ("regularizer", {"Params": None}, _NO_PARAMS),
        ("regularizer", {"Params": _Bare}, _NO_PARAMS),
        ("learner", {"Params": _Data}, _NO_PARAMS),
        ("task", {"Params": NoParams()}, _NO_PARAMS),
        (
            "regularizer",
            {"Params": _Open},
            "has a Params that lets unknown parameters pass (extra='ignore')",
        ),
        (
            "learner",
            {"Params": _OfPictures},
            "has a Params that names datasets by 'pictures', which only task families are given",
        ),
        (
            "task",
            {"Params": _OfSomePictures},
            "has a Params that has a DatasetName within the type of 'perhaps', 'several', 'part'; "
            "it is a whole type only",
        ),
        (
            "learner",
            {"Params": _Nested},
            "has a Params that lets unknown keys of '_Bare' pass; a part that is a Params too "
            "refuses them",
        ),
        ("task", {"version": "1"}, "has version = '1'; expected a whole number"),
        ("task", {"version": True}, "has version = True; expected a whole number"),
        (
            "learner",
            {"scenarios": "task-il"},
            f"has scenarios = 'task-il'; expected a set of some of {_SCENARIOS}",
        ),
        (
            "learner",
            {"scenarios": frozenset()},
            f"has scenarios = frozenset(); expected a set of some of {_SCENARIOS}",
        ),
        (
            "learner",
            {"scenarios": ["task-il"]},
            "has 'task-il' among its scenarios; did you mean 'Scenario.TASK_IL'? "
            f"(known: {_SCENARIOS})",
        ),
        (
            "learner",
            {"regimes": "sequential"},
            f"has regimes = 'sequential'; expected a set of some of {_REGIMES}",
        ),
        (
            "learner",
            {"regimes": {"sequental"}},
            f"has 'sequental' among its regimes; did you mean 'sequential'? (known: {_REGIMES})",
        ),
        (
            "model",
            {"kinds": {1}},
            "has 1 among its kinds (known: sequence, classification, regression)",
        ),
        ("regularizer", {"watches": "step"}, "has watches = 'step'; expected a set of texts"),
        ("regularizer", {"watches": 1}, "has watches = 1; expected a set of texts"),
    ],
)
def test_an_attribute_of_another_type_is_told_with_its_plugin(
    kind: Kind, attributes: dict[str, Any], error: str
) -> None:
    loaded = type("Made", (_Whole,), attributes)

    assert _error(loaded, kind) == f"{kind} 'r' of plugin 'p' (dist-p 1.0) {error}"


def test_what_an_instance_watches_is_checked_too() -> None:
    whole = _Whole()
    whole.watches = frozenset({"step"})

    with pytest.raises(PluginError, match=r"^it watches 'step' and lacks 'after_step'$"):
        check_watches("it", whole)
    with pytest.raises(PluginError, match=r"^it lacks the attribute 'watches'$"):
        check_watches("it", object())
    with pytest.raises(PluginError, match=r"^it has watches = 'step'; expected a set of texts$"):
        check_watches("it", SimpleNamespace(watches="step"))


class _Taken(Params):
    name: str = ""
    heads: int = 1
    label: str = ""


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("learner", "has a parameter 'name', which suites take for their own"),
        ("model", "has parameters 'name', 'heads', which suites take for their own"),
        ("task", "has a parameter 'label', which suites take for their own"),
    ],
)
def test_a_parameter_that_no_suite_can_set_is_refused(kind: Kind, error: str) -> None:
    loaded = type("Made", (_Whole,), {"Params": _Taken})

    assert _error(loaded, kind) == f"{kind} 'r' of plugin 'p' (dist-p 1.0) {error}"


def test_a_regularizer_stands_under_its_own_name_so_its_parameters_may_have_any() -> None:
    loaded = type("Made", (_Whole,), {"Params": _Taken})

    assert _registered(loaded).load() is loaded


def _with(params: Any) -> Registry:
    class Offers:
        @hookimpl
        def clbench_regularizers(self) -> list[Entry]:
            return [Entry("plain", f"{__name__}:made", "has no parameters")]

    _PLACED["made"] = type("Made", (_Whole,), {"Params": params})
    registry = toys.registry()
    registry.register(Offers(), "p", "dist-p", "1.0")
    return registry


_BROKEN = f"regularizer 'plain' of plugin 'p' (dist-p 1.0) {_NO_PARAMS}"


def test_the_schema_goes_on_without_a_broken_class_and_tells_of_it() -> None:
    told: list[str] = []

    found = schema.of_suites(_with(None), told.append)

    assert told == [_BROKEN]
    assert found["$defs"]["regularizers"]["properties"]["plain"] == {"description": _BROKEN}


def test_the_schema_goes_on_without_parameters_that_have_none() -> None:
    class Odd(Params):
        rule: Callable[[], int] = int

    told: list[str] = []

    schema.of_suites(_with(Odd), told.append)

    assert told == [
        "regularizer 'plain': PydanticInvalidForJsonSchema: Cannot generate a JsonSchema for "
        "core_schema.CallableSchema"
    ]


def test_a_broken_class_does_not_hide_what_else_has_its_name() -> None:
    told: list[str] = []

    shown = listing.describe(_with(None), "plain", told.append)

    assert told == [_BROKEN]
    assert len(shown.renderables) == 1  # type: ignore[union-attr]


def test_the_methods_that_are_looked_for_are_those_of_the_protocols() -> None:
    classes = {"task": TaskFamily, "model": MainNet, "learner": Learner, "regularizer": Regularizer}
    classes |= {"executor": Executor, "tracker": Tracker}

    for kind, protocol in classes.items():
        methods = {name for name, value in vars(protocol).items() if isfunction(value)}
        private = {"__init__", "__subclasshook__", "_no_init_or_replace_init"}
        assert set(_METHODS[kind]) == methods - private, kind  # type: ignore[index]


def test_the_kinds_of_samples_are_those_of_the_protocols() -> None:
    assert tuple(_SETS["kinds"]) == get_args(protocols.Kind)


def test_the_guide_lists_the_names_that_no_parameter_may_have() -> None:
    guide = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text()

    for kind, names in RESERVED.items():
        assert f"| {kind} | {', '.join(f'`{name}`' for name in names)} |\n" in guide


class _Shapes:
    """A dataset, as plugins often write them."""

    name = "r"
    files: Any = ()


class _Broken(_Shapes):
    @property
    def files(self) -> Any:
        raise ZeroDivisionError("division by zero")


class _Misspelt(_Shapes):
    @property
    def files(self) -> Any:
        return self.nmae


def _shapes(files: Any) -> _Shapes:
    made = _Shapes()
    made.files = files
    return made


@pytest.mark.parametrize(
    ("loaded", "error"),
    [
        (_Shapes, "is a class; expected an object, such as _Shapes()"),
        (object(), "lacks the attribute 'name'"),
        (SimpleNamespace(name="r"), "lacks the attribute 'files'"),
        (_Broken(), "has 'files', which fails: ZeroDivisionError: division by zero"),
        (
            _Misspelt(),
            "has 'files', which fails: AttributeError: '_Misspelt' object has no attribute 'nmae'",
        ),
        (
            _shapes(DataFile("a.npz")),
            "has files of type DataFile; expected a tuple of clbench.data.DataFile",
        ),
        (_shapes("a.npz"), "has files of type str; expected a tuple of clbench.data.DataFile"),
        (_shapes(None), "has files of type NoneType; expected a tuple of clbench.data.DataFile"),
        (_shapes(["a.npz"]), "has 'a.npz' among its files; expected a clbench.data.DataFile"),
    ],
)
def test_a_dataset_is_an_object_that_knows_its_files(loaded: Any, error: str) -> None:
    assert _error(loaded, "dataset") == f"dataset 'r' of plugin 'p' (dist-p 1.0) {error}"


@pytest.mark.parametrize("files", [(), [DataFile("a.npz")]])
def test_a_dataset_that_knows_its_files_is_loaded(files: Any) -> None:
    assert _registered(_shapes(files), "dataset").load().files == files
