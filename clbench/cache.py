"""Where clbench keeps what can be made again: datasets, checkpoints, resolved suites."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from clbench.errors import ClbenchError


def expand(path: str) -> Path:
    """A path that somebody wrote, with ``~`` and ``~user`` resolved.

    Raises:
        ClbenchError: There is no such user, or no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ClbenchError(f"{path}: there is no such home directory") from error


def cache_folder() -> Path:
    """Where checkpoints, claims and resolved suites are: ``CLBENCH_CACHE``, or `user_folder`."""
    if named := os.environ.get("CLBENCH_CACHE"):
        return expand(named)
    return user_folder()


def user_folder() -> Path:
    """The folder in the user's cache, whether it exists or not.

    Raises:
        ClbenchError: The user has no home directory.
    """
    home = expand("~")
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "clbench"
