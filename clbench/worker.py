"""What executors share: running a cell in a worker process, and what the parent makes of it.

Progress goes through small files which a worker replaces and the parent reads, where both see the
same folder. A worker killed in the middle of a report leaves the last whole one.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

from clbench.devices import Device, gpus
from clbench.executor import WORKER_DIED, Listener, Progress
from clbench.files import written_whole
from clbench.matrix import Cell, Group
from clbench.records import Failure, Record
from clbench.registry import Registry

LOG_CHARACTERS = 2000
"""How much of a dead worker's output goes into its record."""


# in the worker


def use_one_thread() -> None:
    """Let libraries that are imported from now on compute with one thread."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"


def run_here(
    group: Group,
    report: Callable[[Progress], None],
    checkpoint_seconds: float,
    device: Device = "cpu",
) -> tuple[Record, ...]:
    """Run a group with the plugins of this process, on one thread, from its last checkpoints.

    Of cells that are to begin anew, checkpoints of other commands are removed from the cache here.

    Args:
        group: What to run.
        report: Told of the progress.
        checkpoint_seconds: Time between two checkpoints.
        device: Where to compute: of several GPUs on the first that this process sees.

    Raises:
        ClbenchError: There is no GPU here, and it is to compute on one.
    """
    import torch  # here, not at the top: the parent needs none

    from clbench import provenance
    from clbench.checkpoints import Checkpoints, begin_anew
    from clbench.runner import run_group

    torch.set_num_threads(1)
    keep_freed_memory()
    place = torch.device("cuda:0" if gpus(device) else "cpu")
    if place.type == "cuda":  # convolutions, else of 10 bits, as exact as on the CPU
        torch.backends.cudnn.allow_tf32 = False
    registry = _plugins()
    program = provenance.program(place, registry.codes(group[0].config.plugins))
    for cell in group:
        if cell.anew:
            begin_anew(cell.config.id, cell.anew)
    checkpoints = [Checkpoints(cell.config.id, program, checkpoint_seconds) for cell in group]
    return run_group(group, registry, report, checkpoints, place)


def keep_freed_memory() -> None:
    """Let the C library keep the memory of tensors that are gone for the next ones.

    glibc gives freed memory back to the system beyond a limit, and gets it back page by page: a
    fifth of the time of a training step in lockstep. The limit grows with the largest block that
    was ever freed, up to 32 MiB; elsewhere this does nothing.
    """
    import torch

    torch.empty(31 * 2**20, dtype=torch.uint8)


@cache
def _plugins() -> Registry:
    return Registry.discover()


def reporter(folder: Path) -> Callable[[Progress], None]:
    """What tells a parent that reads `folder` of the progress of cells."""

    def report(progress: Progress) -> None:
        path = folder / f"{progress.cell_id}.json"
        # nobody is told where the parent is gone or its disk full
        with contextlib.suppress(OSError), written_whole(path) as file:
            file.write(json.dumps(asdict(progress)).encode())

    return report


# in the parent


class Reports:
    """Reads what workers tell of their progress.

    Args:
        folder: Where `reporter` writes.
        listener: Told of every report that is new.
    """

    def __init__(self, folder: Path, listener: Listener) -> None:
        self._folder, self._listener = folder, listener
        self._seen: dict[str, str] = {}

    def pass_on(self, cell: Cell) -> None:
        """Tell the listener of the last report of a cell, if there is a new one."""
        cell_id = cell.config.id
        with contextlib.suppress(FileNotFoundError):
            text = (self._folder / f"{cell_id}.json").read_text()
            if self._seen.get(cell_id) != text:
                self._seen[cell_id] = text
                self._listener.progressed(Progress(**json.loads(text)))


def timed_out(cell: Cell) -> Record:
    """The record of a cell that took longer than it may."""
    failure = Failure(type="TimeoutError", message="the time limit was reached", traceback="")
    return Record(status="timed-out", config=cell.config, failure=failure)


def died(cell: Cell, message: str, log: str, *, is_out_of_memory: bool = False) -> Record:
    """The record of a cell whose worker did not live to make one.

    Args:
        cell: Which one.
        message: What is known of the end.
        log: What the worker printed; the end of it is kept.
        is_out_of_memory: Whether it was ended for want of memory.
    """
    failure = Failure(type=WORKER_DIED, message=message, traceback=log[-LOG_CHARACTERS:])
    status = "out-of-memory" if is_out_of_memory else "failed"
    return Record.model_validate({"status": status, "config": cell.config, "failure": failure})


def raised(cell: Cell, error: BaseException, traceback: str) -> Record:
    """The record of a cell whose worker raised instead of making one."""
    failure = Failure(type=type(error).__name__, message=str(error), traceback=traceback)
    return Record(status="failed", config=cell.config, failure=failure)
