"""The source code of packages: a digest, and the place in it where something was raised.

The digest is what the number of a version does not tell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from traceback import walk_tb
from typing import NamedTuple

DIGITS = 16
"""Hexadecimal digits of a digest."""


def digest(packages: Iterable[str]) -> str | None:
    """What stands for the Python files of top-level packages and modules, none of them imported.

    SHA-256 over the names and contents of all ``.py`` files; how lines end does not matter.

    Returns:
        `DIGITS` hexadecimal digits; None where there is no such file, or one cannot be read.
    """
    found = hashlib.sha256()
    is_empty = True
    try:
        for package in sorted(set(packages)):
            for name, path in _files(package):
                content = path.read_bytes().replace(b"\r\n", b"\n")
                found.update(f"{name}\0{len(content)}\0".encode(errors="replace") + content)
                is_empty = False
    except (OSError, ImportError, ValueError):  # what finding a package may raise
        return None
    return None if is_empty else found.hexdigest()[:DIGITS]


def _files(package: str) -> Iterator[tuple[str, Path]]:
    """The Python files of a top-level package or module, each with its name from there."""
    spec = find_spec(package)
    if spec is None:
        return
    if spec.submodule_search_locations is None:
        if spec.origin is not None and spec.origin.endswith(".py"):
            yield Path(spec.origin).name, Path(spec.origin)
        return
    for folder in sorted(map(Path, spec.submodule_search_locations)):
        for path in sorted(folder.rglob("*.py")):
            yield f"{package}/{path.relative_to(folder).as_posix()}", path


class Place(NamedTuple):
    """A line of a top-level package or module."""

    package: str
    file: str
    line: int


def raised_at(error: BaseException, packages: Collection[str]) -> Place | None:
    """The innermost place in some top-level packages that an error came through; None: in none."""
    found = None
    for frame, line in walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        if package in packages:
            found = Place(package, frame.f_code.co_filename, line)
    return found
