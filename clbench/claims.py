"""Who runs which cells: a second run on a results folder leaves alone what the first has.

A run that claims cells writes a list of them into the cache, and holds a lock of the operating
system for as long as it lives. The lock ends with the process, however that ends, so a claim is
never stale. Where claims cannot be seen, because two machines have caches of their own or a file
system has no locks, both run the same cells: a waste, and nothing worse, as both write the same
records.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from clbench.cache import cache_folder

WAIT_SECONDS = 10.0
"""How long others may take to write down their claims."""


@contextmanager
def claim(results: Path, cell_ids: Sequence[str]) -> Iterator[frozenset[str]]:
    """Claim cells while the context lasts.

    Args:
        results: The results folder that their records go to.
        cell_ids: Which cells.

    Yields:
        Those that nobody else has claimed.
    """
    from filelock import FileLock, Timeout  # here, not at the top: most commands claim nothing

    folder = cache_folder() / "claims" / _name(results.resolve())
    name = uuid.uuid4().hex
    own, mine = FileLock(folder / f"{name}.lock"), frozenset(cell_ids)
    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError, Timeout):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "all.lock", timeout=WAIT_SECONDS):
                mine -= _claimed(folder)
                stack.callback(_remove, folder, name)
                stack.enter_context(own)
                (folder / f"{name}.json").write_text(json.dumps(sorted(mine)))
        yield mine


def _name(results: Path) -> str:
    return hashlib.sha256(os.fsencode(results)).hexdigest()[:16]


def _claimed(folder: Path) -> frozenset[str]:
    """What processes that are alive have claimed; the claims of others are removed."""
    from filelock import FileLock, Timeout

    found: set[str] = set()
    for path in folder.glob("*.json"):
        try:
            with FileLock(path.with_suffix(".lock"), timeout=0):
                pass
        except Timeout:
            with suppress(OSError, ValueError):  # it has just ended
                found |= set(json.loads(path.read_text()))
        else:
            _remove(folder, path.stem)
    return frozenset(found)


def _remove(folder: Path, name: str) -> None:
    for suffix in ("json", "lock"):
        with suppress(OSError):
            (folder / f"{name}.{suffix}").unlink()
