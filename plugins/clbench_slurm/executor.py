"""Sends cells to a Slurm cluster, and gathers their records while they come."""

from __future__ import annotations

import math
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import psutil
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from clbench.cache import cache_folder, expand
from clbench.devices import Device
from clbench.errors import ClbenchError
from clbench.executor import Listener
from clbench.matrix import Cell, Group
from clbench.params import Params
from clbench.records import Record
from clbench.worker import Reports, died
from clbench_slurm.chunk import Chunk, find, has_started

if TYPE_CHECKING:
    from submitit import Job

POLL_SECONDS = 1.0
"""Time between two looks at the jobs."""


class SlurmParams(Params):
    """Parameters of the Slurm executor."""

    cluster: Literal["slurm", "local"] = "slurm"
    """Where jobs go; local: all at once on this machine, for trying out."""
    partition: str | None = None
    """Partition; absent: the cluster's default."""
    account: str | None = None
    """Account that is charged; absent: yours."""
    time: PositiveFloat = 60.0
    """Minutes that a job may take before it is requeued."""
    cpus: PositiveInt = 1
    """Cores of a job, and cells or groups that run in it at once."""
    gpus: NonNegativeInt | None = None
    """GPUs of a job; absent: one with device cuda, else none."""
    device: Device = "cpu"
    """Where cells compute: cpu, cuda (the GPUs of a job, one for each of its workers in turn), or
    auto: cuda where the job has a GPU, else cpu."""
    mem: PositiveFloat = 4.0
    """Memory of a job in GB."""
    sbatch: dict[str, str] = Field(default_factory=dict)
    """Further options of sbatch: ``sbatch.qos=low``."""
    setup: str | None = None
    """Line of shell that a job begins with, such as ``module load python``."""
    jobs: PositiveInt = 256
    """Jobs of an array that run at once."""
    cells_per_job: PositiveInt = 1
    """Cells, or groups in lockstep, that a job runs; more than one where they take seconds."""
    array_size: PositiveInt = 1000
    """Jobs of an array; a cluster's MaxArraySize is the limit."""
    requeues: NonNegativeInt = 20
    """How often a job may reach its time limit and go on."""
    signal_seconds: PositiveInt = 60
    """How long before the time limit a job is requeued."""
    folder: str | None = None
    """Folder that all nodes see, for what jobs need and print; absent: slurm/ in the cache."""
    timeout: PositiveFloat | None = None
    """Seconds that a cell or group may take in one job; absent: as long as it likes."""
    checkpoint_seconds: PositiveFloat = 60.0
    """Seconds between two checkpoints of a cell within a task: what a requeue may cost."""

    @property
    def num_gpus(self) -> int:
        """GPUs of a job."""
        return int(self.device == "cuda") if self.gpus is None else self.gpus


class SlurmExecutor:
    """See the module's text."""

    Params: ClassVar[type[Params]] = SlurmParams
    version: ClassVar[int] = 1

    def __init__(self, params: SlurmParams) -> None:
        self._params = params
        base = expand(params.folder) if params.folder else cache_folder() / "slurm"
        self._base = base.absolute()

    @property
    def num_workers(self) -> int:
        """Jobs at once, and what runs in each (`clbench.executor.KnowsWorkers`)."""
        return self._params.jobs * self._params.cpus

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        """Run every group; see `clbench.executor.Executor`.

        Raises:
            ClbenchError: submitit or Slurm is not here, or Slurm refuses the jobs.
        """
        folder = self._base / uuid.uuid4().hex[:12]
        sender = self._sender(folder)
        try:
            (folder / "records").mkdir(parents=True)
        except OSError as error:
            raise ClbenchError(f"cannot write {folder}: {error.strerror}") from error
        run = _Run(folder, listener)
        try:
            self._send(run, sender, self._chunks(groups, folder))
            while run.jobs and not should_stop():
                time.sleep(POLL_SECONDS)
                run.look()
        finally:
            run.cancel()
        if not run.deaths:
            shutil.rmtree(folder, ignore_errors=True)

    def _send(self, run: _Run, sender: Any, chunks: list[Chunk]) -> None:
        for first in range(0, len(chunks), self._params.array_size):
            array = chunks[first : first + self._params.array_size]
            try:
                with sender.batch():
                    jobs = [sender.submit(chunk) for chunk in array]
            except Exception as error:  # submitit raises what sbatch says, and more
                raise ClbenchError(f"the jobs cannot be sent: {error}") from error
            run.jobs.update(zip(jobs, array, strict=True))

    def _chunks(self, groups: Sequence[Group], folder: Path) -> list[Chunk]:
        params, size = self._params, self._params.cells_per_job
        return [
            Chunk(
                groups=tuple(groups[first : first + size]),
                folder=folder,
                jobs=params.cpus,
                timeout=params.timeout,
                checkpoint_seconds=params.checkpoint_seconds,
                device=params.device,
            )
            for first in range(0, len(groups), size)
        ]

    def _sender(self, folder: Path) -> Any:
        """Submitit's executor for the cluster."""
        submitit, params = _submitit(), self._params
        setup = [params.setup] if params.setup else []
        if params.cluster == "local":
            sender = submitit.LocalExecutor(folder, max_num_timeout=params.requeues)
            delay = params.signal_seconds
            sender.update_parameters(
                timeout_min=params.time, signal_delay_s=delay, gpus_per_node=params.num_gpus
            )
            return sender
        try:
            sender = submitit.SlurmExecutor(folder, max_num_timeout=params.requeues)
        except RuntimeError as error:
            raise ClbenchError(
                "executor 'slurm': there is no srun here, so this is no node of a Slurm cluster\n"
                "    --dry-run shows what would be sent, -x cluster=local runs the jobs here"
            ) from error
        self._configure(sender, setup)
        return sender

    def _configure(self, sender: Any, setup: list[str]) -> None:
        params = self._params
        given = {
            "partition": params.partition,
            "account": params.account,
            "gpus_per_node": params.num_gpus or None,
            "setup": setup or None,
            "additional_parameters": params.sbatch or None,
        }
        sender.update_parameters(
            job_name="clbench",
            time=math.ceil(params.time),
            cpus_per_task=params.cpus,
            mem=f"{math.ceil(1024 * params.mem)}M",
            wckey=None,
            array_parallelism=params.jobs,
            signal_delay_s=params.signal_seconds,
            **{name: value for name, value in given.items() if value is not None},
        )

    def preview(self, groups: Sequence[Group]) -> str:
        """The batch script of the first array."""
        submitit, params = _submitit(), self._params

        class Anywhere(submitit.SlurmExecutor):  # type: ignore[misc, name-defined]
            """Sends nothing, so it needs no Slurm."""

            @classmethod
            def affinity(cls) -> int:
                return 1

        folder = self._base / "RUN"
        sender = Anywhere(folder, max_num_timeout=params.requeues)
        self._configure(sender, [params.setup] if params.setup else [])
        count = len(self._chunks(groups, folder))
        if count > 1:
            sender.parameters["map_count"] = min(count, params.array_size)
        script: str = sender._make_submission_file_text(sender._submitit_command_str, "RUN")
        arrays = math.ceil(count / params.array_size)
        head = f"{count} jobs in {arrays} arrays" if count > 1 else "1 job"
        return f"{head}; the script of the first:\n\n{script}"


class _Run:
    """The jobs of one call, and what is known of them.

    Attributes:
        jobs: Those that have not ended, with what they do.
        deaths: Cells whose workers died.
    """

    def __init__(self, folder: Path, listener: Listener) -> None:
        self.jobs: dict[Job[list[Record]], Chunk] = {}
        self.deaths = 0
        self._folder, self._listener = folder, listener
        self._reports = Reports(folder, listener)
        self._started: set[str] = set()
        self._ended: set[str] = set()

    def look(self) -> None:
        """Tell the listener of what has happened."""
        for job, chunk in list(self.jobs.items()):
            has_ended = job.done()
            for cell in chunk.cells:
                self._look_at(cell)
            if has_ended:
                del self.jobs[job]
                self._end(job, chunk)

    def _look_at(self, cell: Cell) -> None:
        if cell.config.id in self._ended:
            return
        if has_started(self._folder, cell):
            self._start(cell)
            self._reports.pass_on(cell)
        record = find(self._folder, cell)
        if record is not None:
            self._finish(cell, record)

    def _start(self, cell: Cell) -> None:
        if cell.config.id not in self._started:
            self._started.add(cell.config.id)
            self._listener.started(cell)

    def _finish(self, cell: Cell, record: Record) -> None:
        self._start(cell)
        self._ended.add(cell.config.id)
        self._listener.finished(cell, record)

    def _end(self, job: Job[list[Record]], chunk: Chunk) -> None:
        """Of a job that has ended: every cell whose record is not here yet."""
        records: dict[str, Record] = {}
        message = f"job {job.job_id} ended without a record of the cell"
        try:
            records = {record.id: record for record in job.result()}
        except Exception as error:  # submitit's, or what the job raised
            message = f"job {job.job_id} ended too early ({type(error).__name__})"
        for cell in chunk.cells:
            if cell.config.id not in self._ended:
                found = records.get(cell.config.id)
                self.deaths += 1
                self._finish(cell, found or died(cell, message, job.stderr() or ""))

    def cancel(self) -> None:
        """End the jobs that have not ended."""
        for job in self.jobs:
            if hasattr(job, "_process"):
                _kill(job._process)
            else:
                job.cancel(check=False)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a job on this machine with all its processes.

    What submitit sends is an interrupt, which a job begun by a shell in the background ignores.
    """
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        for one in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                one.kill()
    process.wait()


def _submitit() -> Any:
    try:
        import submitit
    except ImportError as error:
        raise ClbenchError(
            "executor 'slurm' needs submitit: pip install 'clbench[slurm]'"
        ) from error
    return submitit
