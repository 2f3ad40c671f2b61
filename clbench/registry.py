"""Plugins -> tables of names. The only module that holds a plugin manager."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Any, Literal, get_args

import pluggy

from clbench import hookspecs, sources
from clbench.errors import PluginError, UnknownNameError, suggestion
from clbench.hookspecs import GROUP, Entry

Kind = Literal["task", "model", "learner", "regularizer", "executor", "tracker", "dataset"]
KINDS: tuple[Kind, ...] = get_args(Kind)

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin that was found, working or not.

    Attributes:
        name: The name of its entry point.
        distribution: The installed distribution it came with.
        version: Of the distribution.
        errors: What is wrong with it, one line each; empty when all is well.
    """

    name: str
    distribution: str
    version: str
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """A name of the registry.

    Attributes:
        kind: What it is.
        entry: What the plugin said of it.
        plugin: The plugin it came from.
    """

    kind: Kind
    entry: Entry
    plugin: Plugin

    @property
    def name(self) -> str:
        """As written in suites."""
        return self.entry.name

    def load(self) -> Any:
        """The registered class, imported now.

        Raises:
            PluginError: The import fails, or the class lacks what its kind promises.
        """
        from clbench import promises  # whose import needs pydantic, and completion none

        module_name, _, attribute = self.entry.target.partition(":")
        where = f"{self.kind} '{self.name}' of {_origin(self.plugin)}"
        try:
            loaded = getattr(importlib.import_module(module_name), attribute)
        except (Exception, SystemExit) as error:
            cause = _cause(error, module_name)
            raise PluginError(f"{where} cannot be imported: {cause}") from error
        promises.check(where, self.kind, loaded)
        if self.kind == "dataset" and loaded.name != self.name:
            raise PluginError(f"{where} calls itself '{loaded.name}'")
        return loaded


@dataclass(slots=True)
class Registry:
    """The names that plugins register, and the plugins themselves.

    Make one with `discover`; tests hand `register` modules of their own.
    """

    plugins: list[Plugin] = field(default_factory=list)
    _tables: dict[Kind, dict[str, Registered]] = field(
        default_factory=lambda: {kind: {} for kind in KINDS}
    )
    _codes: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def discover(cls, found: Iterable[EntryPoint] | None = None) -> Registry:
        """The registry of all installed plugins (entry points of group ``clbench``).

        A plugin that fails to import, or that registers a name already taken, is kept in
        `plugins` with its error; everything else works on. The first to register a name keeps
        it: clbench itself, then the other distributions in the order of their names.
        """
        registry = cls()
        points = entry_points(group=GROUP) if found is None else found
        for point in sorted(points, key=_order):
            dist = point.dist
            name, version = (dist.name, dist.version) if dist else ("unknown", "0")
            try:
                module = point.load()
            except (Exception, SystemExit) as error:
                what = f"import failed: {_cause(error, point.module)}"
                registry.plugins.append(Plugin(point.name, name, version, (what,)))
            else:
                registry.register(module, point.name, name, version)
        return registry

    def register(
        self, module: ModuleType | object, name: str, distribution: str, version: str
    ) -> None:
        """Take in what `module` registers through its hooks."""
        manager = pluggy.PluginManager(GROUP)
        manager.add_hookspecs(hookspecs)
        code = module.__name__ if isinstance(module, ModuleType) else type(module).__module__
        plugin = Plugin(name, distribution, version)
        errors: list[str] = []
        accepted: list[tuple[Kind, Entry]] = []
        try:
            manager.register(module, name)
        except Exception as error:
            errors.append(f"hooks refused: {_cause(error, code)}")
        else:
            errors += _unheard(manager, module)
            for kind in KINDS:
                hook = getattr(manager.hook, f"clbench_{kind}s")
                try:
                    entries = [entry for entries in hook() for entry in entries]
                except (Exception, SystemExit) as error:
                    errors.append(f"hook clbench_{kind}s failed: {_cause(error, code)}")
                    continue
                for entry in entries:
                    problem = self._problem(kind, entry)
                    names = [(other, one.name) for other, one in accepted]
                    if problem is None and (kind, entry.name) in names:
                        problem = f"{kind} '{entry.name}' is registered twice"
                    if problem:
                        errors.append(problem)
                    else:
                        accepted.append((kind, entry))
        plugin = Plugin(name, distribution, version, tuple(errors))
        self.plugins.append(plugin)
        for kind, entry in accepted:
            self._tables[kind].setdefault(entry.name, Registered(kind, entry, plugin))

    def _problem(self, kind: Kind, entry: object) -> str | None:
        if not isinstance(entry, Entry):
            return f"hook clbench_{kind}s returned {entry!r} instead of an Entry"
        if not _NAME.fullmatch(entry.name):
            return f"{kind} '{entry.name}': a name is lower-case words joined by '-'"
        if not re.fullmatch(r"[\w.]+:\w+", entry.target):
            return f"{kind} '{entry.name}': its target '{entry.target}' is not 'module:Class'"
        taken = self._tables[kind].get(entry.name)
        if taken is not None:
            return f"{kind} '{entry.name}' is already registered by {_origin(taken.plugin)}"
        return None

    def table(self, kind: Kind) -> Mapping[str, Registered]:
        """All registered names of a kind, sorted."""
        return dict(sorted(self._tables[kind].items()))

    def find(self, kind: Kind, name: str) -> Registered:
        """What `name` stands for.

        Raises:
            UnknownNameError: With the nearest known name, and the plugins that failed, since one
                of them may be the one that should have brought it. Where neither is there, with
                what to do about a plugin of one's own.
        """
        found = self._tables[kind].get(name)
        if found is None:
            known = self._tables[kind]
            broken = [f"{_origin(p)}: {'; '.join(p.errors)}" for p in self.plugins if p.errors]
            note = "plugins with errors: " + "\n      ".join(broken) if broken else ""
            if not note and not suggestion(name, known):
                note = _NOT_INSTALLED
            raise UnknownNameError(_WORDS[kind], name, known, note)
        return found

    def code(self, distribution: str) -> str | None:
        """What stands for the source code of a distribution, as it was when this was first asked.

        That is, of the top-level packages of all that it registers.

        Returns:
            A digest; None for clbench itself, whose commit stands in every record, and where there
            is no source.
        """
        if distribution == GROUP:
            return None
        if distribution not in self._codes:
            self._codes[distribution] = sources.digest(self.packages(distribution))
        return self._codes[distribution]

    def packages(self, distribution: str | None = None) -> set[str]:
        """The top-level packages of all that a distribution registers; None: any distribution."""
        return {
            re.split("[.:]", registered.entry.target)[0]
            for table in self._tables.values()
            for registered in table.values()
            if distribution in (None, registered.plugin.distribution)
        }

    def codes(self, distributions: Iterable[str]) -> dict[str, str]:
        """Distribution -> `code`, of those that have one."""
        return {name: code for name in distributions if (code := self.code(name)) is not None}


_NOT_INSTALLED = (
    "if it is yours: 'pip install --editable DIR'; 'clbench list plugins' shows what is installed"
)


_WORDS: dict[Kind, str] = {
    "task": "task family",
    "model": "model",
    "learner": "learner",
    "regularizer": "regularizer",
    "executor": "executor",
    "tracker": "tracker",
    "dataset": "dataset",
}


def _unheard(manager: pluggy.PluginManager, module: object) -> list[str]:
    """What is wrong with functions that were meant as hooks, and that nobody calls."""
    known = [f"clbench_{kind}s" for kind in KINDS]
    found = {name: manager.parse_hookimpl_opts(module, name) for name in dir(module)}
    marked = {name: opts for name, opts in found.items() if opts is not None}
    errors = [
        f"unknown hook '{hook}'{suggestion(hook, known)} (known: {', '.join(known)})"
        for name, opts in marked.items()
        if (hook := opts["specname"] or name) not in known and not opts["optionalhook"]
    ]
    bare = [hook for hook in known if hook not in marked and callable(getattr(module, hook, None))]
    errors += [f"'{hook}' lacks @hookimpl" for hook in bare]
    return errors if marked or bare else ["registers nothing: no function of it has @hookimpl"]


def _order(point: EntryPoint) -> tuple[bool, str, str]:
    name = point.dist.name if point.dist else ""
    return (name != GROUP, name, point.name)


def _origin(plugin: Plugin) -> str:
    return f"plugin '{plugin.name}' ({plugin.distribution} {plugin.version})"


def _cause(error: BaseException, module: str) -> str:
    """What a plugin raised, in one line, with the place in its package where it did."""
    place = sources.raised_at(error, {module.partition(".")[0]})
    text, where = str(error), f" ({place.file}, line {place.line})" if place else ""
    if isinstance(error, SyntaxError) and error.filename is not None:
        text, where = error.msg, f" ({error.filename}, line {error.lineno})"
    return f"{type(error).__name__}: {text}".rstrip(": ").replace("\n", " ") + where
