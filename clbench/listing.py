"""What is registered, for a person to read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, get_args

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clbench import data, grids
from clbench.errors import PluginError, UnknownNameError
from clbench.hookspecs import GROUP
from clbench.params import dataset_fields
from clbench.registry import KINDS, Registered, Registry


def to_rich(registry: Registry, what: str | None) -> RenderableType:
    """All names of a kind (``learners``), the plugins, or everything (None)."""
    if what == "plugins":
        return _plugins(registry)
    kinds = [kind for kind in KINDS if what in (None, f"{kind}s")]
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("kind", "name"):
        grid.add_column(heading, header_style="bold", no_wrap=True)
    grid.add_column("what it does", header_style="bold", overflow="fold")
    for kind in kinds:
        for found in registry.table(kind).values():
            entry, plugin = found.entry, found.plugin
            text = Text(entry.summary)
            text.append(f"  {entry.source}" if entry.source else "", style="dim")
            if plugin.distribution != GROUP:
                text.append(f"  [{plugin.distribution} {plugin.version}]", style="cyan")
            grid.add_row(kind, entry.name, text)
    broken = sum(bool(plugin.errors) for plugin in registry.plugins)
    if not broken:
        return grid
    have = "1 plugin has" if broken == 1 else f"{broken} plugins have"
    note = f"{have} errors; see 'clbench list plugins'"
    return Group(grid, Text(note, style="yellow"))


def _plugins(registry: Registry) -> RenderableType:
    """Every plugin, and below them whole, so that paths can be followed, what is wrong."""
    faults = {id(plugin): list(plugin.errors) for plugin in registry.plugins}
    for kind in KINDS:
        for found in registry.table(kind).values():
            try:
                found.load()
            except PluginError as error:
                faults[id(found.plugin)].append(str(error))
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("plugin", "distribution", "version", "status"):
        grid.add_column(heading, header_style="bold", overflow="fold")
    told: list[Text] = []
    for plugin in registry.plugins:
        errors = faults[id(plugin)]
        count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
        status = Text(count, style="red") if errors else Text("ok")
        grid.add_row(plugin.name, plugin.distribution, plugin.version, status)
        if errors:
            told += [Text(f"\n{plugin.name}:"), *(Text(f"  {error}") for error in errors)]
    return Group(grid, *told)


_STATES = {"ok": "green", "missing": "yellow", "damaged": "red"}


def data_status(registry: Registry, width: int) -> RenderableType:
    """Every file of every dataset, where it is, and whether it is right.

    As a table, or as a list where that does not go into `width` columns. No path is broken.
    """
    found: dict[str, list[tuple[str, Text, str]]] = {}
    problems = []
    for name, registered in registry.table("dataset").items():
        try:
            loaded = registered.load()
        except PluginError as error:
            problems.append(Text(str(error), style="red"))
            continue
        found[name] = [
            (file.name, Text(state, style=_STATES[state]), str(path or "–"))
            for file, path, state in data.status(loaded)
        ] or [("needs no files", Text("ok", style=_STATES["ok"]), "–")]
    rows = [
        ("" if i else name, *file) for name, files in found.items() for i, file in enumerate(files)
    ]
    grid = grids.fitting(("dataset", "file", "status", "where"), rows, width, wraps=False)
    looked = ", ".join(str(home) for home in data.homes())
    note = Text(f"looked in {looked} ({data.VARIABLE} names other folders)")
    if grid is not None:
        return Group(grid, Text(""), *problems, note)
    lines: list[str | Text] = []
    for name, files in found.items():
        lines.append(name)
        for file_name, state, where in files:
            lines.append(Text.assemble(f"  {file_name}: ", state))
            lines += [f"    {where}"] if where != "–" else []
    return Group(*lines, "", *problems, note)


def describe(
    registry: Registry, name: str, tell: Callable[[str], None] = lambda text: None
) -> RenderableType:
    """Everything registered under a name, with its parameters; of a kind, what it must have.

    Args:
        registry: Where the name is looked up.
        name: Of something registered, or of a kind.
        tell: Told of what cannot be used where another thing of that name can.

    Raises:
        UnknownNameError: Nothing is.
        PluginError: It cannot be used.
    """
    found = [table[name] for kind in KINDS if name in (table := registry.table(kind))]
    if not found and name in _PROTOCOLS:
        return Text("\n\n".join(_code(target) for target in _PROTOCOLS[name]))
    if not found:
        known = sorted({key for kind in KINDS for key in registry.table(kind)})
        raise UnknownNameError("name", name, known)
    shown: list[RenderableType] = []
    broken: list[PluginError] = []
    for one in found:
        try:
            shown.append(_described(one))
        except PluginError as error:
            broken.append(error)
    if not shown:
        raise broken[0]
    for problem in broken:
        tell(str(problem))
    return Group(*shown)


_PROTOCOLS: Mapping[str, tuple[str, ...]] = {
    "task": tuple(
        f"clbench.protocols:{part}" for part in ("TaskFamily", "Task", "BatchStream", "Objective")
    ),
    "model": ("clbench.protocols:MainNet",),
    "learner": ("clbench.protocols:Learner", "clbench.protocols:LearnerContext"),
    "regularizer": tuple(
        f"clbench.protocols:{part}"
        for part in ("Regularizer", "WatchesTaskGradient", "WatchesStep", "Consolidation")
    ),
    "executor": ("clbench.executor:Executor", "clbench.executor:Listener"),
    "tracker": ("clbench.tracking:Tracker",),
    "dataset": ("clbench.data:Dataset", "clbench.images:ImageDataset", "clbench.images:Split"),
}
"""Kind -> what its classes follow, and what they are given."""


def _code(target: str) -> str:
    """Signatures and docstrings, as they stand in the code."""
    module, name = target.split(":")
    return inspect.getsource(getattr(import_module(module), name))


def _described(found: Registered) -> RenderableType:
    entry, plugin = found.entry, found.plugin
    loaded = found.load()
    version = f", version {loaded.version}" if hasattr(loaded, "version") else ""
    lines = [
        Text(f"{found.kind} '{entry.name}'{version}", style="bold"),
        Text(entry.summary),
    ]
    if entry.source:
        lines.append(Text(f"source: {entry.source}"))
    lines.append(Text(f"plugin: {plugin.name} ({plugin.distribution} {plugin.version})"))
    if hasattr(loaded, "scenarios"):
        served = ", ".join(sorted(scenario.value for scenario in loaded.scenarios))
        lines.append(Text(f"scenarios: {served}"))
    if hasattr(loaded, "regimes"):
        lines.append(Text(f"regimes: {', '.join(sorted(loaded.regimes))}"))
    if found.kind == "dataset":
        files = ", ".join(file.name for file in loaded.files) or "none"
        lines.append(Text(f"files: {files}"))
        if hasattr(loaded, "shape") and hasattr(loaded, "num_classes"):
            shape = " x ".join(map(str, loaded.shape))
            lines.append(Text(f"pictures: {shape}, in {loaded.num_classes} classes"))
        return Group(*lines, Text(""))
    fields = loaded.Params.model_fields
    if not fields:
        return Group(*lines, Text("no parameters"), Text(""))
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("parameter", "type", "default", "meaning"):
        grid.add_column(heading, header_style="bold", overflow="fold")
    for name, field in fields.items():
        default = "required" if field.is_required() else _as_in_suites(field.default)
        meaning = " ".join((field.description or "").replace("``", "").split())
        of_a_dataset = name in dataset_fields(loaded.Params)
        what = "name of a dataset" if of_a_dataset else _type(field.annotation)
        grid.add_row(name, what, default, meaning)
    return Group(*lines, Text(""), grid, Text(""))


def _as_in_suites(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_WORDS = {int: "whole number", float: "number", bool: "true or false", str: "text"}


def _type(annotation: Any) -> str:
    """A type as the documentation of suites calls it."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    if annotation is type(None):
        return "nothing"
    arguments = get_args(annotation)
    if not arguments:
        return getattr(annotation, "__name__", str(annotation))
    origin = str(getattr(annotation, "__origin__", ""))
    if "Literal" in origin or "Literal" in str(annotation).split("[")[0]:
        return " or ".join(map(str, arguments))
    if "tuple" in origin or "list" in origin:
        return f"list of {_type(arguments[0])}s"
    if hasattr(annotation, "__metadata__"):
        return _type(arguments[0])
    return " or ".join(dict.fromkeys(_type(one) for one in arguments))
