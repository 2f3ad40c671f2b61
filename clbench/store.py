"""The records of a results folder: one JSON file per cell, written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from clbench.config import CellConfig
from clbench.errors import ClbenchError, RecordError
from clbench.files import written_whole
from clbench.records import Record, from_text, to_text

WAIT_SECONDS = 10.0
"""How long another process may take to write a record."""


class Store:
    """Records under ``<root>/records/<id>.json``.

    Several processes may write at once: a record appears whole, under a name of its own, or not at
    all, and a lock, ``<root>/.lock``, keeps a failure from replacing what another has just written.
    Within one, a record that was read is kept for as long as its file stays the same.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / "records"
        self._found: dict[Path, tuple[tuple[int, int, int], Record]] = {}

    def path(self, cell_id: str) -> Path:
        """Where the record of a cell is kept."""
        return self._folder / f"{cell_id}.json"

    def find(self, config: CellConfig) -> Record | None:
        """The record of a configuration.

        Raises:
            RecordError: There is one, and it is damaged.
        """
        path = self.path(config.id)
        state = _state(path)
        if state is None:
            return None
        known = self._found.get(path)
        if known is None or known[0] != state:
            known = self._found[path] = (state, _read(path))
        return known[1]

    def put(self, record: Record) -> Path:
        """Keep a record, in place of an older one of the same cell.

        A record of a failure never takes the place of a good one.

        Raises:
            ClbenchError: The folder cannot be written to.
        """
        path = self.path(record.id)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _alone(self.root):
                if record.status == "ok" or not (path.exists() and _is_ok(path)):
                    with written_whole(path, durable=True) as file:
                        file.write(to_text(record).encode())
        except OSError as error:
            raise ClbenchError(f"cannot write {path}: {error.strerror}") from error
        return path

    def prepare(self) -> None:
        """Make the folder, and see whether it can be written to, before hours of work.

        Raises:
            ClbenchError: It cannot.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
        except OSError as error:
            raise ClbenchError(f"cannot write {self._folder}: {error.strerror}") from error

    def scan(self) -> tuple[tuple[Record, ...], tuple[RecordError, ...]]:
        """All records, and the errors of those that are damaged."""
        records, errors = [], []
        for path in sorted(self._folder.glob("*.json")):
            try:
                known = self._found.get(path)
                is_known = known is not None and known[0] == _state(path)
                records.append(known[1] if known and is_known else _read(path))
            except RecordError as error:
                errors.append(error)
        return tuple(records), tuple(errors)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """While no other process writes to a results folder, as far as its file system has locks."""
    from filelock import FileLock, Timeout  # here, not at the top: most commands write nothing

    with ExitStack() as stack:
        with suppress(OSError, NotImplementedError, Timeout):
            stack.enter_context(FileLock(root / ".lock", timeout=WAIT_SECONDS))
        yield


def _read(path: Path) -> Record:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordError(path, f"cannot be read: {error}") from error
    return from_text(text, path)


def _state(path: Path) -> tuple[int, int, int] | None:
    """What tells one state of a file from another; None where there is no file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(path, f"cannot be read: {error}") from error
    return found.st_ino, found.st_mtime_ns, found.st_size


def _is_ok(path: Path) -> bool:
    try:
        return _read(path).status == "ok"
    except RecordError:
        return False
