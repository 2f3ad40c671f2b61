"""Runs cells as tasks of a Ray cluster: of one that is there, or of one begun on this machine.

A cell whose node or worker dies is begun again by Ray, from its last checkpoint where the nodes
share the cache; what a cell raises is never tried again. Workers tell of their progress to an actor
on the node of the parent, which outlives any other node.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from clbench.devices import Device
from clbench.errors import ClbenchError
from clbench.executor import Listener, Progress
from clbench.matrix import Cell, Group
from clbench.params import Params
from clbench.records import Record
from clbench.worker import died, raised, run_here, timed_out, use_one_thread

POLL_SECONDS = 0.25
"""Time between two looks at the tasks."""
CONNECT_SECONDS = 10.0
"""How long the head of a cluster may take to answer."""
STORE_BYTES = 80 * 2**20
"""Object store of a cluster begun here; records are small."""


class RayParams(Params):
    """Parameters of the Ray executor."""

    address: str | None = None
    """Address of a cluster, ``auto`` for one that runs here; absent: a new one on this machine."""
    num_cpus: PositiveFloat = 1.0
    """Cores that a cell asks for."""
    num_gpus: NonNegativeFloat | None = None
    """GPUs that a cell asks for, 0.5 lets two share one; absent: 1 with device cuda, else none."""
    device: Device = "cpu"
    """Where a cell computes: cpu, cuda, or auto: on the GPU that it has been given, if any."""
    max_retries: NonNegativeInt = 3
    """How often a cell is begun again whose node or worker died."""
    jobs: PositiveInt | None = None
    """Cells or groups at once; absent: as many as the cluster has room for."""
    timeout: PositiveFloat | None = None
    """Seconds that a cell, or a group in lockstep, may take from its latest beginning."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Seconds between two checkpoints of a cell within a task."""

    @property
    def gpus(self) -> float:
        """GPUs that a cell asks for."""
        return float(self.device == "cuda") if self.num_gpus is None else self.num_gpus


class RayExecutor:
    """See the module's text."""

    Params: ClassVar[type[Params]] = RayParams
    version: ClassVar[int] = 1

    def __init__(self, params: RayParams) -> None:
        self._params = params

    @property
    def num_workers(self) -> int | None:
        """As far as ``jobs`` says (`clbench.executor.KnowsWorkers`)."""
        return self._params.jobs

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Run every group; see `clbench.executor.Executor`.

        Raises:
            ClbenchError: Ray is not installed, there is no cluster at the address, or no node of
                it has what a cell asks for.
        """
        ray = _ray()
        with _connected(ray, self._params.address):
            self._check_resources(ray)
            run = _Run(ray, self._params, groups, listener)
            try:
                while not (run.is_over or should_stop()):
                    run.send()
                    run.look()
            finally:
                run.cancel()

    def _check_resources(self, ray: Any) -> None:
        """A cell that fits no node would wait for ever."""
        asked = {"CPU": self._params.num_cpus, "GPU": self._params.gpus}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if not any(
            all(node.get(name, 0) >= amount for name, amount in asked.items()) for node in nodes
        ):
            sizes = sorted((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes)
            has = ", ".join(f"{cpus:g} CPUs and {gpus:g} GPUs" for cpus, gpus in sizes)
            raise ClbenchError(
                f"executor 'ray': a cell asks for {asked['CPU']:g} CPUs and {asked['GPU']:g} GPUs, "
                f"and no node has them\n    nodes: {has}"
            )


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Connected to a cluster; one that is begun here ends with it."""
    if ray.is_initialized():
        yield
        return
    if address:
        _check_reachable(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # runs touch no network
    here = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            **({} if address else here),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        cause = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ClbenchError(
            f"executor 'ray': no cluster at {address or 'local'}: {cause}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray itself would try for many minutes."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto", or what Ray knows better
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ClbenchError(f"executor 'ray': no cluster at {address}: {cause}") from error


class _Run:
    """The tasks of one call, and what is known of them."""

    def __init__(
        self, ray: Any, params: RayParams, groups: Sequence[Group], listener: Listener
    ) -> None:
        self._ray, self._params, self._listener = ray, params, listener
        self._waiting = deque(groups)
        self._sent: dict[Any, Group] = {}
        self._begun: dict[str, float] = {}
        self._mailbox = _mailbox(ray)
        self._task = ray.remote(_run_group).options(
            num_cpus=params.num_cpus,
            num_gpus=params.gpus,
            max_retries=params.max_retries,
            retry_exceptions=False,
        )

    @property
    def is_over(self) -> bool:
        """Whether every group has ended."""
        return not (self._waiting or self._sent)

    def send(self) -> None:
        """Send as many groups as may run at once."""
        while self._waiting and len(self._sent) < (self._params.jobs or math.inf):
            group = self._waiting.popleft()
            params = self._params
            task = self._task.remote(group, self._mailbox, params.checkpoint_seconds, params.device)
            self._sent[task] = group

    def look(self) -> None:
        """Wait a little, and tell the listener of what has happened."""
        ended, _ = self._ray.wait(list(self._sent), num_returns=1, timeout=POLL_SECONDS)
        self._read_mail()
        now = time.monotonic()
        for task, group in list(self._sent.items()):
            begun = self._begun.get(group[0].config.id, now)
            if task in ended:
                self._finish(task, self._outcome(task, group))
            elif now - begun > (self._params.timeout or math.inf):
                self._ray.cancel(task, force=True)
                self._finish(task, [timed_out(cell) for cell in group])

    def _read_mail(self) -> None:
        cells = {cell.config.id: cell for group in self._sent.values() for cell in group}
        for letter in self._ray.get(self._mailbox.take.remote()):
            if isinstance(letter, Progress):
                if letter.cell_id in cells:
                    self._listener.progressed(letter)
            elif letter in cells:
                self._start(cells[letter])

    def _start(self, cell: Cell) -> None:
        """Of a cell that has begun, or begun again."""
        if cell.config.id not in self._begun:
            self._listener.started(cell)
        self._begun[cell.config.id] = time.monotonic()

    def _finish(self, task: Any, records: Sequence[Record]) -> None:
        for cell, record in zip(self._sent.pop(task), records, strict=True):
            if cell.config.id not in self._begun:
                self._start(cell)
            self._listener.finished(cell, record)

    def _outcome(self, task: Any, group: Group) -> Sequence[Record]:
        """The records of a task that has ended, also where its worker did not live to make them."""
        errors = self._ray.exceptions
        try:
            records: Sequence[Record] = self._ray.get(task)
        except errors.OutOfMemoryError as error:
            message = "Ray ended the worker for want of memory"
            return [died(cell, message, str(error), is_out_of_memory=True) for cell in group]
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, BaseException) else error
            return [raised(cell, cause, str(error)) for cell in group]
        except errors.RayError as error:
            message = f"the worker or its node died ({type(error).__name__})"
            return [died(cell, message, str(error)) for cell in group]
        return records

    def cancel(self) -> None:
        """End the tasks that have not ended."""
        for task in self._sent:
            self._ray.cancel(task, force=True)
        self._ray.kill(self._mailbox)


def _mailbox(ray: Any) -> Any:
    """A new actor on this node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()


class _Mailbox:
    """Keeps what workers tell until the parent takes it."""

    def __init__(self) -> None:
        self._letters: list[Any] = []

    def put(self, letter: Any) -> None:
        """Keep a report, or the id of a cell that has begun."""
        self._letters.append(letter)

    def take(self) -> list[Any]:
        """Everything since the last time."""
        letters, self._letters = self._letters, []
        return letters


def _run_group(
    group: Group, mailbox: Any, checkpoint_seconds: float, device: Device
) -> Sequence[Record]:
    """What a worker does with a group."""
    use_one_thread()
    for cell in group:
        mailbox.put.remote(cell.config.id)
    return run_here(group, mailbox.put.remote, checkpoint_seconds, device)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClbenchError("executor 'ray' needs ray: pip install 'clbench[ray]'") from error
    return ray
