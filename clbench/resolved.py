"""Resolved suites in the cache, so that commands that only read need not import torch.

To check a suite file the classes that it names are imported, for their parameters, and that takes
longer than all else that a table needs. So what a file without mistakes comes to is kept in the
cache, ``<cache>/clbench/suites``, one file for each suite file. It serves for as long as nothing
has changed of the suite file, the code of clbench and of the packages of plugins, what they
register, what is installed at which versions, and code that was imported from elsewhere, such as
an editable package that is no plugin. What a plugin reads besides, such as files of data or the
environment, is not looked at.

A kept suite is plain JSON with a checksum, and is validated strictly when it is read. Whatever is
wrong with it, or with the folder, the suite file is resolved anew.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pydantic

from clbench import sources, suite
from clbench.cache import cache_folder
from clbench.config import digest
from clbench.errors import ClbenchError
from clbench.files import written_whole
from clbench.hookspecs import GROUP
from clbench.params import Params
from clbench.registry import KINDS, Registry
from clbench.suite import Suite

FORMAT = 1
MOST = 100
"""Suites that are kept; the oldest make room."""

_INSTALLED = {"site-packages", "dist-packages"}
_UNUSABLE = (OSError, ValueError, ClbenchError)  # the last where there is no home directory


class _Kept(Params):
    """The content of a file of the cache."""

    key: str
    elsewhere: dict[str, str]
    """Files of imported modules that the key does not cover -> digest."""
    suite: Suite
    """Without its path."""


def load(path: Path, registry: Registry, *, anew: bool = False) -> Suite:
    """The suite in a file, equal to what `clbench.suite.load` makes of it now.

    Args:
        path: The file.
        registry: Where names are looked up.
        anew: Whether to resolve it, and keep that, whatever is kept already.

    Raises:
        SuiteError: With every mistake of the file, each with its line.
    """
    key = _key(path, registry)
    kept = None if key is None or anew else _read(path, key)
    if kept is not None:
        return kept
    found = suite.load(path, registry)
    if key is not None and key == _key(path, registry):  # else something has changed meanwhile
        with suppress(*_UNUSABLE):
            _keep(found, key, _packages(registry))
    return found


def _key(path: Path, registry: Registry) -> str | None:
    """What a resolution depends on, as a digest; None where not all of it can be known."""
    codes = {name: sources.digest([name]) for name in _packages(registry)}
    if None in codes.values() or any(plugin.errors for plugin in registry.plugins):
        return None
    try:
        content = _digest(path) if path.is_file() else None  # a pipe can be read only once
    except _UNUSABLE:
        return None
    if content is None:
        return None
    tables = {kind: registry.table(kind) for kind in KINDS}
    return digest(
        {
            "format": FORMAT,
            "suite": content,
            "codes": codes,
            "plugins": sorted([p.name, p.distribution, p.version] for p in registry.plugins),
            "names": {
                kind: {name: [one.entry.target, one.plugin.name] for name, one in table.items()}
                for kind, table in tables.items()
            },
            "installed": _installed(),
            "pydantic": pydantic.VERSION,
            "python": sys.version,
        }
    )


def _packages(registry: Registry) -> set[str]:
    """The top-level packages whose code the key covers."""
    return {GROUP, *registry.packages()}


def _installed() -> list[str]:
    """The installed distributions with their versions, as the names of their folders have them."""
    found: set[str] = set()
    for folder in map(Path, sys.path):
        with suppress(OSError):
            found |= {p.name for p in folder.iterdir() if p.suffix in (".dist-info", ".egg-info")}
    return sorted(found)


def _elsewhere(known: set[str]) -> dict[str, str]:
    """Digests of the imported files that belong neither to Python, nor to an installed package.

    Args:
        known: Top-level packages that the key covers.
    """
    found = {}
    python = sysconfig.get_path("stdlib")
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__dict__", {}).get("__file__")
        if not isinstance(file, str) or name.partition(".")[0] in {"__main__", *known}:
            continue
        path = Path(file).absolute()
        if not (_INSTALLED & set(path.parts) or path.is_relative_to(python)):
            found[str(path)] = _digest(path)
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _place(path: Path) -> Path:
    """Where the resolution of a suite file is kept."""
    name = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()[:16]
    return cache_folder() / "suites" / f"{name}.json"


def _read(path: Path, key: str) -> Suite | None:
    """What is kept of a suite file, if it still holds."""
    try:
        checksum, _, content = _place(path).read_bytes().partition(b"\n")
        if checksum.decode() != hashlib.sha256(content).hexdigest():
            return None
        kept = _Kept.model_validate_json(content, strict=True)
        if kept.key != key or any(_digest(Path(f)) != d for f, d in kept.elsewhere.items()):
            return None
    except _UNUSABLE:
        return None
    return replace(kept.suite, path=path)


def _keep(found: Suite, key: str, known: set[str]) -> None:
    """Keep a suite, if it comes back from JSON as it was."""
    kept = _Kept(key=key, elsewhere=_elsewhere(known), suite=replace(found, path=Path()))
    content = kept.model_dump_json(warnings=False)
    again = _Kept.model_validate_json(content, strict=True)
    if again == kept and again.model_dump_json(warnings=False) == content:
        checksum = hashlib.sha256(content.encode()).hexdigest()
        _write(_place(found.path), f"{checksum}\n{content}".encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, and remove the oldest of its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as file:
        file.write(content)
    newest_first = sorted(path.parent.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    for old in newest_first[MOST:]:
        old.unlink(missing_ok=True)
