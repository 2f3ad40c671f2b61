"""The local executor: one worker process per core, or per GPU, with one thread.

Workers are spawned (nothing is inherited from the parent) and kept for many cells. Whatever a cell
does to its worker, the parent makes a record of it and goes on: Pebble tells of time-outs and dead
workers and replaces them.

A worker reports its progress through a file (`clbench.worker`); a worker killed in the middle of a
report could leave a queue locked. Its output goes to a file too, so that nothing a plugin prints
disturbs the display; the end of it stands in the record if the worker dies.

On GPUs each worker sees one of them only. Workers have numbers, the least that are free, and worker
i has the GPU ``i mod count``; a worker that replaces a dead one gets its number.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

from pebble import ProcessExpired, ProcessFuture, ProcessPool
from pydantic import PositiveFloat, PositiveInt

from clbench.devices import Device, gpus, see_one_gpu
from clbench.errors import ClbenchError
from clbench.executor import Listener, Progress
from clbench.matrix import Group
from clbench.params import Params
from clbench.records import Record
from clbench.worker import Reports, died, raised, reporter, run_here, timed_out, use_one_thread

POLL_SECONDS = 0.25
"""Time between two looks at the workers."""

Work = Callable[[Group, Callable[[Progress], None]], Sequence[Record]]


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class LocalParams(Params):
    """Parameters of the local executor."""

    jobs: PositiveInt | None = None
    """Worker processes; absent: one per usable core, or per GPU where cells compute on these."""
    device: Device = "cpu"
    """Where cells compute: cpu, cuda (the GPUs here, one for each worker in turn), or auto: cuda
    where there is a GPU, else cpu."""
    timeout: PositiveFloat | None = None
    """Seconds that a cell, or a group in lockstep, may take; absent: as long as it likes."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Seconds between two checkpoints of a cell within a task."""


class LocalExecutor:
    """See the module's text.

    Raises:
        ClbenchError: Cells are to compute on a GPU, and there is none.
    """

    Params: ClassVar[type[Params]] = LocalParams
    version: ClassVar[int] = 1

    def __init__(self, params: LocalParams) -> None:
        self._gpus = gpus(params.device)
        self._jobs = params.jobs or self._gpus or usable_cores()
        self._timeout = params.timeout
        self._work = partial(
            run_here,
            checkpoint_seconds=params.checkpoint_seconds,
            device="cuda" if self._gpus else "cpu",
        )

    @property
    def num_workers(self) -> int:
        """Worker processes (`clbench.executor.KnowsWorkers`)."""
        return self._jobs

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Run every group; see `clbench.executor.Executor`.

        Raises:
            ClbenchError: There is no folder for temporary files, or no room in it.
            KeyboardInterrupt: By Ctrl-C, or by the signal with which others ask a process to end.
        """
        jobs = min(self._jobs, len(groups)) or 1
        try:
            folder = tempfile.TemporaryDirectory(prefix="clbench-")
        except OSError as error:
            raise ClbenchError(f"no place for temporary files: {error.strerror}") from error
        with folder as name, _termination_interrupts():
            run_pool(
                groups,
                listener,
                should_stop,
                self._work,
                jobs,
                self._timeout,
                Path(name),
                self._gpus,
            )


def run_pool(
    groups: Sequence[Group],
    listener: Listener,
    should_stop: Callable[[], bool],
    work: Work,
    jobs: int,
    timeout: float | None,
    folder: Path,
    num_gpus: int = 0,
) -> None:
    """Let `jobs` workers do the work of all groups, and tell the listener.

    Args:
        groups: What to do.
        listener: Told in this process.
        should_stop: Asked a few times a second.
        work: What a worker does with a group: a record for each cell; a function of a module.
        jobs: Worker processes.
        timeout: Seconds for one group.
        folder: For progress files and the output of workers.
        num_gpus: GPUs that workers share; 0: they compute on the CPU.
    """
    pool = ProcessPool(
        max_workers=jobs,
        context=get_context("spawn"),
        initializer=_prepare_worker,
        initargs=(folder, os.getpid(), num_gpus),
    )
    pending: dict[ProcessFuture[Sequence[Record]], Group] = {}
    running: set[ProcessFuture[Sequence[Record]]] = set()
    reports = Reports(folder, listener)
    try:
        with _signals_held():  # the pool's threads, and so its workers, keep holding them
            for group in groups:
                future = pool.schedule(_work, args=(work, group, folder), timeout=timeout)
                pending[future] = group
        while pending and not should_stop():
            done, _ = wait(pending, POLL_SECONDS, return_when=FIRST_COMPLETED)
            for future, group in pending.items():
                if future in running or not (future in done or future.running()):
                    continue
                running.add(future)
                for cell in group:
                    listener.started(cell)
            for future in [future for future in pending if future in done]:
                group = pending.pop(future)
                running.discard(future)  # it holds its records
                for cell, record in zip(group, _outcome(future, group, folder), strict=True):
                    listener.finished(cell, record)
            for group in pending.values():
                for cell in group:
                    reports.pass_on(cell)
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
def _termination_interrupts() -> Iterator[None]:
    """Let SIGTERM, as of `kill` and `timeout`, do what Ctrl-C does: nothing is left behind.

    Unless somebody handles it already, or this is a thread, which cannot handle signals.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold Ctrl-C back for a while; threads and processes begun meanwhile never get it.

    So a worker that is still starting prints no traceback of its own. The same goes for the signal
    by which batch systems announce the time limit, to all processes of a job.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGUSR2})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _outcome(future: Future[Sequence[Record]], group: Group, folder: Path) -> Sequence[Record]:
    """The records of a finished group, also where its worker did not live to make them."""
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, TimeoutError):
        return [timed_out(cell) for cell in group]
    if isinstance(error, ProcessExpired):
        killed = error.exitcode == -signal.SIGKILL
        message = f"the worker process died with exit code {error.exitcode}" + (
            ", killed from outside, most likely for want of memory" if killed else ""
        )
        log = _log(folder, error.pid)
        return [died(cell, message, log, is_out_of_memory=killed) for cell in group]
    return [raised(cell, error, str(getattr(error, "traceback", ""))) for cell in group]


def _log(folder: Path, pid: int | None) -> str:
    with contextlib.suppress(OSError):
        return (folder / f"{pid}.log").read_text(errors="replace")
    return ""


# in the worker


def _prepare_worker(folder: Path, parent: int, num_gpus: int) -> None:
    """One thread, one GPU, no terminal, no interrupt of its own, no life after the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    use_one_thread()
    if num_gpus:
        see_one_gpu(_number(folder), num_gpus)
    log = os.open(folder / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()


def _number(folder: Path) -> int:
    """The least number that no living worker of the pool has; this one has it until it ends."""
    for number in count():
        handle = os.open(folder / f"{number}.worker", os.O_WRONLY | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # its end releases it, however
        except BlockingIOError:
            os.close(handle)
        else:
            return number
    raise AssertionError("numbers have no end")


def _die_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)


def _work(work: Work, group: Group, folder: Path) -> Sequence[Record]:
    return work(group, reporter(folder))
