"""The source code of packages, as a digest: what the number of a version does not tell."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

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
