"""What the shell may complete: names of plugins, and rows of the suites on the command line.

Completers look at text only (no class is imported, no suite checked) and never raise: where
nothing can be said, they say nothing, and the shell completes file names.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clbench.devices import DEVICES
from clbench.errors import ClbenchError
from clbench.registry import KINDS, Registry
from clbench.yaml12 import read as read_yaml


def listings(incomplete: str) -> list[str]:
    """What `clbench list` can list."""
    return _fitting(incomplete, [*(f"{kind}s" for kind in KINDS), "plugins"])


def kinds(incomplete: str) -> list[str]:
    """The kinds of which `clbench plugin new` knows a skeleton."""
    from clbench.scaffold import SKELETONS

    return _fitting(incomplete, SKELETONS)


def names(incomplete: str) -> list[str]:
    """Everything registered, and the kinds, for `clbench show`."""
    registry = Registry.discover()
    registered = {name for kind in KINDS for name in registry.table(kind)}
    return _fitting(incomplete, sorted({*KINDS, *registered}))


def executors(incomplete: str) -> list[str]:
    """Registered executors."""
    return _fitting(incomplete, Registry.discover().table("executor"))


def trackers(incomplete: str) -> list[str]:
    """Registered trackers."""
    return _fitting(incomplete, Registry.discover().table("tracker"))


def devices(incomplete: str) -> list[str]:
    """Where cells may compute."""
    return _fitting(incomplete, DEVICES)


def datasets(incomplete: str) -> list[str]:
    """Registered datasets."""
    return _fitting(incomplete, Registry.discover().table("dataset"))


def rows(incomplete: str) -> list[str]:
    """Tasks, methods and rows of the suites that stand on the command line already."""
    found = [row for word in _words() if word.endswith((".yaml", ".yml")) for row in _rows(word)]
    return _fitting(incomplete, dict.fromkeys(found))


def _words() -> list[str]:
    """The command line as the shell hands it over; its parser stops at an option without a value.

    Bash uses the first variable, all others the second.
    """
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return line.split()


def _rows(suite: str) -> list[str]:
    try:
        root, _ = read_yaml(Path(suite))
    except ClbenchError:
        return []
    content = root.plain()
    if not isinstance(content, dict):
        return []
    tasks, methods = (content.get(key) or {} for key in ("tasks", "methods"))
    if not (isinstance(tasks, dict) and isinstance(methods, dict)):
        return []
    return [*tasks, *methods, *(f"{task}/{method}" for task in tasks for method in methods)]


def _fitting(incomplete: str, known: Iterable[str]) -> list[str]:
    return [name for name in known if name.startswith(incomplete)]
