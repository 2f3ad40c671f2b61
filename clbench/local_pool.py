"""The local executor: one worker process per core, one thread in each.

Workers are spawned (nothing is inherited from the parent) and kept for many cells. Whatever a cell
does to its worker, the parent makes a record of it and goes on: Pebble tells of time-outs and dead
workers and replaces them.

A worker reports its progress by replacing a small file, which the parent reads. A worker killed in
the middle of a report leaves the last whole one; a queue could be left locked. Its output goes to a
file too, so that nothing a plugin prints disturbs the display; the end of it stands in the record
if the worker dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, ClassVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool
from pydantic import PositiveFloat, PositiveInt

from clbench.executor import Listener, Progress
from clbench.matrix import Cell
from clbench.params import Params
from clbench.records import Failure, Record, Status

POLL_SECONDS = 0.25
"""Time between two looks at the workers."""
LOG_CHARACTERS = 2000
"""How much of a dead worker's output goes into its record."""

Work = Callable[[Cell, Callable[[Progress], None]], Record]


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalParams(Params):
    """Parameters of the local executor."""

    jobs: PositiveInt | None = None
    """Worker processes; absent: one per usable core."""
    timeout: PositiveFloat | None = None
    """Seconds that a cell may take; absent: as long as it likes."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Seconds between two checkpoints of a cell within a task."""


class LocalExecutor:
    """See the module's text."""

    Params: ClassVar[type[Params]] = LocalParams
    version: ClassVar[int] = 1

    def __init__(self, params: LocalParams) -> None:
        self._jobs = params.jobs or usable_cores()
        self._timeout = params.timeout
        self._work = partial(_run_cell, checkpoint_seconds=params.checkpoint_seconds)

    def execute(
        self, cells: Sequence[Cell], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Run every cell; see `clbench.executor.Executor`."""
        jobs = min(self._jobs, len(cells)) or 1
        with tempfile.TemporaryDirectory(prefix="clbench-") as name:
            run_pool(cells, listener, should_stop, self._work, jobs, self._timeout, Path(name))


def run_pool(
    cells: Sequence[Cell],
    listener: Listener,
    should_stop: Callable[[], bool],
    work: Work,
    jobs: int,
    timeout: float | None,
    folder: Path,
) -> None:
    """Let `jobs` workers do the work of all cells, and tell the listener.

    Args:
        cells: What to do.
        listener: Told in this process.
        should_stop: Asked a few times a second.
        work: What a worker does with a cell; a function of a module.
        jobs: Worker processes.
        timeout: Seconds for one cell.
        folder: For progress files and the output of workers.
    """
    pool = ProcessPool(
        max_workers=jobs,
        context=get_context("spawn"),
        initializer=_prepare_worker,
        initargs=(folder, os.getpid()),
    )
    pending: dict[ProcessFuture[Record], Cell] = {}
    started: set[str] = set()
    seen: dict[str, str] = {}
    try:
        with _interrupts_held():  # the pool's threads, and so its workers, keep holding them
            for cell in cells:
                future = pool.schedule(_work, args=(work, cell, folder), timeout=timeout)
                pending[future] = cell
        while pending and not should_stop():
            done, _ = wait(pending, POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future, cell in pending.items():
                if future.running() and cell.config.id not in started:
                    started.add(cell.config.id)
                    listener.started(cell)
            for future in [future for future in pending if future in done]:
                cell = pending.pop(future)
                if cell.config.id not in started:
                    listener.started(cell)
                listener.finished(cell, _outcome(future, cell, folder))
            for cell in pending.values():
                _pass_on(cell.config.id, folder, seen, listener)
        if pending:
            pool.stop()  # type: ignore[no-untyped-call]
        else:
            pool.close()  # type: ignore[no-untyped-call]
    except BaseException:
        pool.stop()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.join()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back for a while; threads and processes begun meanwhile never get it.

    So a worker that is still starting prints no traceback of its own.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pass_on(cell_id: str, folder: Path, seen: dict[str, str], listener: Listener) -> None:
    """Tell the listener of a progress report that it has not seen."""
    with contextlib.suppress(FileNotFoundError):
        text = (folder / f"{cell_id}.json").read_text()
        if seen.get(cell_id) != text:
            seen[cell_id] = text
            listener.progressed(Progress(**json.loads(text)))


def _outcome(future: Future[Record], cell: Cell, folder: Path) -> Record:
    """The record of a finished cell, also where its worker did not live to make one."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, TimeoutError):
        status: Status = "timed-out"
        failure = Failure(type="TimeoutError", message="the time limit was reached", traceback="")
    elif isinstance(error, ProcessExpired):
        killed = error.exitcode == -signal.SIGKILL
        status = "out-of-memory" if killed else "failed"
        message = f"the worker process died with exit code {error.exitcode}" + (
            ", killed from outside, most likely for want of memory" if killed else ""
        )
        failure = Failure(
            type="ProcessExpired", message=message, traceback=_end_of_log(folder, error.pid)
        )
    else:
        status = "failed"
        failure = Failure(
            type=type(error).__name__,
            message=str(error),
            traceback=str(getattr(error, "traceback", "")),
        )
    return Record(status=status, config=cell.config, failure=failure)


def _end_of_log(folder: Path, pid: int | None) -> str:
    with contextlib.suppress(OSError):
        return (folder / f"{pid}.log").read_text(errors="replace")[-LOG_CHARACTERS:]
    return ""


# in the worker


def _prepare_worker(folder: Path, parent: int) -> None:
    """One thread, no terminal, no interrupt of its own, and no life after the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    log = os.open(folder / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _work(work: Work, cell: Cell, folder: Path) -> Record:
    path = folder / f"{cell.config.id}.json"

    def report(progress: Progress) -> None:
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # the parent is gone, or its disk is full
            temporary.write_text(json.dumps(asdict(progress)))
            temporary.replace(path)

    return work(cell, report)


_registries: list[Any] = []


def _run_cell(cell: Cell, report: Callable[[Progress], None], checkpoint_seconds: float) -> Record:
    """Run a cell with the plugins of this process, found once, from its last checkpoint."""
    import torch  # here, not at the top: the parent needs none

    from clbench import provenance
    from clbench.checkpoints import Checkpoints
    from clbench.registry import Registry
    from clbench.runner import run_cell

    torch.set_num_threads(1)
    if not _registries:
        _registries.append(Registry.discover())
    checkpoints = Checkpoints(cell.config.id, provenance.program(), checkpoint_seconds)
    return run_cell(cell, _registries[0], report, checkpoints)
