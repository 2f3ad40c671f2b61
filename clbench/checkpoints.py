"""Checkpoints of a running cell: a killed cell goes on, and ends as if nothing had happened.

A cell has a folder in the cache, ``checkpoints/<id>`` (`clbench.cache`), with two generations, each
written whole or not at all; if the newer one cannot be read the older one serves. They hold
tensors, numbers, text, lists and dicts, and are read by `torch.load` with ``weights_only``, so that
a file that somebody changed runs no code. Tensors are written from the CPU and read to it, wherever
they are used. A checkpoint serves as many cells in lockstep as it was made with (`clbench.runner`),
and only the program that made it: the same commit, and the same code where a checkout has changes
or git does not tell, or the same installed version; the same torch, the same code of third-party
plugins, and the same device. With ``CLBENCH_CACHE`` the cache is elsewhere. When a cell has ended,
whoever keeps its record removes its checkpoints, where it sees the cache of the worker.
"""

from __future__ import annotations

import io
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from clbench.cache import cache_folder
from clbench.errors import in_one_line
from clbench.files import written_whole

FORMAT = 2
SECONDS = 60.0
"""Time between two checkpoints of a cell within a task."""


def forget(cell_id: str) -> None:
    """Remove the checkpoints of a cell, if it has any."""
    shutil.rmtree(cache_folder() / "checkpoints" / cell_id, ignore_errors=True)


def begin_anew(cell_id: str, command: str) -> None:
    """Remove the checkpoints of a cell, but those made since the same command first asked for it.

    So a worker goes on where one before it, that was to begin anew and died, had come to.
    """
    mark = cache_folder() / "checkpoints" / cell_id / command
    with suppress(OSError):
        if not mark.exists():
            forget(cell_id)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()


class Checkpoints:
    """The checkpoints of one cell.

    Args:
        cell_id: Whose.
        program: What made them, as plain values; others' are not taken.
        seconds: Time between two of them.
        folder: Of all cells; None: in the cache.

    Attributes:
        notes: What went wrong with reading and writing; the run goes on without.
    """

    def __init__(
        self,
        cell_id: str,
        program: Mapping[str, str],
        seconds: float = SECONDS,
        folder: Path | None = None,
    ) -> None:
        self.notes: list[str] = []
        self._folder = (folder or cache_folder() / "checkpoints") / cell_id
        self._head = {"format": FORMAT, "cell": cell_id, "program": dict(program)}
        self._seconds = seconds
        self._number = 0
        self._is_tried = False
        self._last = time.monotonic()

    def load(self) -> list[dict[str, Any]]:
        """The states that can be used, the newest first."""
        found = []
        try:
            paths = sorted(self._folder.glob("*.pt"))
        except OSError as error:
            self.notes.append(f"checkpoints cannot be read ({error})")
            return []
        for path in paths:
            content = self._read(path)
            if content is not None:
                found.append(content)
        found.sort(key=lambda content: -int(content["number"]))
        if found:
            self._number = int(found[0]["number"])
        return [content["state"] for content in found]

    def _read(self, path: Path) -> dict[str, Any] | None:
        import torch  # here, not at the top: who only forgets needs none

        try:
            content = torch.load(path, weights_only=True, map_location="cpu")
        except Exception as error:  # a damaged file may raise anything
            self.notes.append(f"checkpoint {path.name} cannot be read ({type(error).__name__})")
            return None
        if not isinstance(content, dict) or {"number", "state"} - content.keys():
            self.notes.append(f"checkpoint {path.name} is no checkpoint")
            return None
        if {key: content.get(key) for key in self._head} != self._head:
            self.notes.append(f"checkpoint {path.name} was made by another version, code or device")
            return None
        return content

    @property
    def is_due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self._last >= self._seconds

    def save(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint in place of the older of the two; where it fails, leave a note.

        The first one is read again, since not all that can be written can.
        """
        import torch

        self._last = time.monotonic()
        self._number += 1
        path = self._folder / f"{self._number % 2}.pt"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with written_whole(path, durable=True) as file:
                content = {"number": self._number, "state": _on_cpu(state)}
                torch.save(self._head | content, file)
        except Exception as error:  # the disk is full; or what a plugin's state has in it may raise
            note = f"checkpoint cannot be written ({in_one_line(error)})"
            if note not in self.notes:
                self.notes.append(note)
        else:
            if not self._is_tried:
                self._is_tried = True
                self._read(path)


def reread(state: Mapping[str, Any]) -> Any:
    """A state as it comes back from a checkpoint.

    Raises:
        ValueError: A checkpoint cannot hold it; the text is what torch says.
    """
    import torch

    file = io.BytesIO()
    try:
        torch.save(_on_cpu(state), file)
        file.seek(0)
        return torch.load(file, weights_only=True)
    except Exception as error:  # what is in a state may raise anything
        raise ValueError(f"a checkpoint cannot hold the state ({error})") from error


def _on_cpu(state: Any) -> Any:
    """A state with its tensors on the CPU; those that are there are not copied."""
    if isinstance(state, Mapping):
        return {key: _on_cpu(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [_on_cpu(value) for value in state]
    return state.cpu() if hasattr(state, "cpu") else state
