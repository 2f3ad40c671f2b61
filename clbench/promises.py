"""What the class of each kind of plugin must have, checked when it is imported."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from pydantic import PydanticUserError

from clbench.config import Regime
from clbench.data import DataFile
from clbench.errors import ClbenchError, PluginError, in_one_line, suggestion
from clbench.params import Params, dataset_fields, inner_dataset_fields
from clbench.scenario import Scenario

if TYPE_CHECKING:
    from clbench.registry import Kind

RESERVED: Mapping[Kind, tuple[str, ...]] = {
    "task": ("label", "family", "scenario", "model", "training", "data_seed"),
    "model": ("name", "heads"),
    "learner": ("name",),
}
"""Keys that mean something to suites where the parameters of a kind stand."""

_PROMISED: Mapping[Kind, tuple[str, ...]] = {
    "task": ("Params", "version", "scenarios"),
    "model": ("Params", "version", "scenarios", "kinds"),
    "learner": ("Params", "version", "scenarios"),
    "regularizer": ("Params", "version", "scenarios"),
    "executor": ("Params", "version"),
    "tracker": ("Params", "version"),
}

_METHODS: Mapping[Kind, tuple[str, ...]] = {
    "task": ("tasks",),
    "model": ("initial", "__call__", "state", "restore"),
    "learner": ("begin_task", "observe", "end_task", "predict", "state", "restore"),
    "regularizer": ("begin", "penalty", "consolidate", "state", "restore"),
    "executor": ("execute",),
    "tracker": ("started", "learnt", "evaluated", "finished"),
    "dataset": (),
}
"""Those of the protocols, whose import needs torch."""

_SETS: Mapping[str, Mapping[str, object]] = {
    "scenarios": {f"Scenario.{scenario.name}": scenario for scenario in Scenario},
    "regimes": {regime: regime for regime in get_args(Regime)},
    "kinds": {kind: kind for kind in ("sequence", "classification", "regression")},
}
"""Attributes that are sets -> what may be in them, by the names that messages have for it."""

_WATCHERS = {"task-gradient": "after_task_gradient", "step": "after_step"}
"""What a regularizer may watch -> the method that it is shown it by."""


def check(where: str, kind: Kind, loaded: Any) -> None:
    """Whether what a plugin registers has what its kind promises.

    Args:
        where: What the text of an error begins with.
        kind: As which it is registered.
        loaded: The class; of datasets, the object.

    Raises:
        PluginError: It has not.
    """
    if kind == "dataset":
        _check_dataset(where, loaded)
        return
    for promised in _PROMISED[kind]:
        if not hasattr(loaded, promised):
            raise PluginError(f"{where} lacks the attribute '{promised}'")
    if not isinstance(loaded, type):
        raise PluginError(f"{where} is no class")
    lacking = [name for name in _METHODS[kind] if not _has_method(loaded, name)]
    if lacking:
        word = "method" if len(lacking) == 1 else "methods"
        raise PluginError(f"{where} lacks the {word} {_listed(lacking)}")
    values: Any = loaded
    _check_params(where, kind, values.Params)
    if type(values.version) is not int:
        raise PluginError(f"{where} has version = {values.version!r}; expected a whole number")
    for name, known in _SETS.items():
        may_have = name == "regimes" and kind == "learner" and hasattr(loaded, name)
        if may_have or name in _PROMISED[kind]:
            _check_set(where, name, getattr(loaded, name), known)
    watches = getattr(loaded, "watches", None)
    if kind == "regularizer" and watches is not None and not hasattr(watches, "__get__"):
        check_watches(where, loaded)  # else its instances have it


def _check_dataset(where: str, dataset: Any) -> None:
    """Whether a dataset is an object that has a name and knows its files."""
    if isinstance(dataset, type):
        raise PluginError(f"{where} is a class; expected an object, such as {dataset.__name__}()")
    for promised in ("name", "files"):
        try:
            getattr(dataset, promised)
        except ClbenchError:  # of a folder that may not be looked into
            raise
        except Exception as error:  # a plugin may raise anything
            if isinstance(error, AttributeError) and not hasattr(type(dataset), promised):
                raise PluginError(f"{where} lacks the attribute '{promised}'") from error
            what = f"has '{promised}', which fails: {in_one_line(error)}"
            raise PluginError(f"{where} {what}") from error
    files = dataset.files
    if isinstance(files, str) or not isinstance(files, Sequence):
        what = f"{type(files).__name__}; expected a tuple of clbench.data.DataFile"
        raise PluginError(f"{where} has files of type {what}")
    for file in files:
        if not isinstance(file, DataFile):
            what = f"{file!r} among its files; expected a clbench.data.DataFile"
            raise PluginError(f"{where} has {what}")


def check_watches(where: str, regularizer: Any) -> None:
    """Whether a regularizer, or its class, watches what there is, and has the methods for it.

    Raises:
        PluginError: It does not; the text begins with `where`.
    """
    if not hasattr(regularizer, "watches"):
        raise PluginError(f"{where} lacks the attribute 'watches'")
    watches = regularizer.watches
    if isinstance(watches, str) or not isinstance(watches, Collection):
        raise PluginError(f"{where} has watches = {watches!r}; expected a set of texts")
    for watch in watches:
        if watch not in _WATCHERS:
            near = suggestion(str(watch), _WATCHERS)
            known = ", ".join(_WATCHERS)
            raise PluginError(f"{where} watches the unknown '{watch}'{near} (known: {known})")
        if not hasattr(regularizer, _WATCHERS[watch]):
            raise PluginError(f"{where} watches '{watch}' and lacks '{_WATCHERS[watch]}'")


def _check_params(where: str, kind: Kind, params: Any) -> None:
    """Whether parameters are all that a suite may write, and a suite can write each of them."""
    if not isinstance(params, type) or not issubclass(params, Params):
        raise PluginError(f"{where} has a Params that is no subclass of clbench.params.Params")
    extra = params.model_config.get("extra")
    if extra != "forbid":
        what = f"lets unknown parameters pass (extra={extra!r})"
        raise PluginError(f"{where} has a Params that {what}")
    for name in _open_parts(params):
        what = f"lets unknown keys of '{name}' pass; a part that is a Params too refuses them"
        raise PluginError(f"{where} has a Params that {what}")
    if kind != "task" and (fields := dataset_fields(params)):
        what = f"names datasets by {_listed(fields)}, which only task families are given"
        raise PluginError(f"{where} has a Params that {what}")
    if inner := inner_dataset_fields(params):
        what = f"has a DatasetName within the type of {_listed(inner)}; it is a whole type only"
        raise PluginError(f"{where} has a Params that {what}")
    taken = [name for name in params.model_fields if name in RESERVED.get(kind, ())]
    if taken:
        word = "a parameter" if len(taken) == 1 else "parameters"
        raise PluginError(f"{where} has {word} {_listed(taken)}, which suites take for their own")


def _open_parts(params: type[Params]) -> list[str]:
    """The names of models within parameters that ignore unknown keys."""
    try:
        parts = params.model_json_schema().get("$defs", {})
    except PydanticUserError:  # what has no schema is told of where schemas are made
        return []
    return [
        name
        for name, part in parts.items()
        if "properties" in part and part.get("additionalProperties") is not False
    ]


def _check_set(where: str, name: str, found: Any, known: Mapping[str, object]) -> None:
    """Whether an attribute is a set of known values with at least one of them."""
    listed = ", ".join(known)
    if isinstance(found, str) or not isinstance(found, Collection) or not found:
        raise PluginError(f"{where} has {name} = {found!r}; expected a set of some of {listed}")
    for one in found:
        # by the type too: a text equals the scenario of that value, which is a text
        if not any(type(one) is type(value) and one == value for value in known.values()):
            near = suggestion(one, known) if isinstance(one, str) else ""
            raise PluginError(f"{where} has {one!r} among its {name}{near} (known: {listed})")


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _has_method(loaded: type, name: str) -> bool:
    """Whether instances have a method; every class has the ``__call__`` of its type."""
    return any(name in vars(base) or "__getattr__" in vars(base) for base in loaded.__mro__)
