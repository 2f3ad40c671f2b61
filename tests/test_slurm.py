"""The Slurm executor: its script, and its jobs on this machine."""

from __future__ import annotations

import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest
import records
from engine_runs import Told, alone, cells, singles

from clbench.cache import cache_folder
from clbench.engines import engine
from clbench.errors import ClbenchError
from clbench.executor import Previewing, Progress
from clbench.registry import Registry
from clbench_slurm import chunk
from clbench_slurm.chunk import Chunk
from clbench_slurm.executor import _Run


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


def _slurm(registry: Registry, folder: Path, **options: str) -> Any:
    return engine(registry, "slurm", {"folder": str(folder), "cluster": "local"} | options)


def _command(process: psutil.Process) -> list[str]:
    """Its command line; empty where it has just ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


def _jobs() -> list[psutil.Process]:
    """The first processes of the running jobs, in the order of their begin."""
    children = psutil.Process().children(recursive=True)
    found = [child for child in children if "submitit.core._submit" in _command(child)]
    return sorted(found, key=lambda process: process.create_time())


def test_the_script_that_would_be_sent_is_shown_whole(registry: Registry, tmp_path: Path) -> None:
    options = {
        "cluster": "slurm",
        "partition": "gpu",
        "account": "me",
        "time": "90.5",
        "gpus": "1",
        "cpus": "2",
        "mem": "1.5",
        "jobs": "8",
        "setup": "module load python",
        "array_size": "2",
        "sbatch": {"qos": "low"},
    }
    slurm = engine(registry, "slurm", {"folder": str(tmp_path / "shared")} | options)
    assert isinstance(slurm, Previewing)

    shown = slurm.preview(singles(cells(registry, tmp_path, 10)))

    run = tmp_path / "shared" / "RUN"
    assert shown == (
        "3 jobs in 2 arrays; the script of the first:\n"
        "\n"
        "#!/bin/bash\n"
        "\n"
        "# Parameters\n"
        "#SBATCH --account=me\n"
        "#SBATCH --array=0-1%2\n"
        "#SBATCH --cpus-per-task=2\n"
        f"#SBATCH --error={run}/%A_%a_0_log.err\n"
        "#SBATCH --gpus-per-node=1\n"
        "#SBATCH --job-name=clbench\n"
        "#SBATCH --mem=1536M\n"
        "#SBATCH --nodes=1\n"
        "#SBATCH --open-mode=append\n"
        f"#SBATCH --output={run}/%A_%a_0_log.out\n"
        "#SBATCH --partition=gpu\n"
        "#SBATCH --qos=low\n"
        "#SBATCH --signal=USR2@60\n"
        "#SBATCH --time=91\n"
        "\n"
        "# setup\n"
        "module load python\n"
        "\n"
        "# command\n"
        "export SUBMITIT_EXECUTOR=slurm\n"
        f"srun --unbuffered --output {run}/%A_%a_%t_log.out --error {run}/%A_%a_%t_log.err "
        f"{sys.executable} -u -m submitit.core._submit {run}\n"
    )
    assert not run.exists()  # nothing was sent, and nothing written


def test_a_single_job_is_no_array(registry: Registry, tmp_path: Path) -> None:
    slurm = _slurm(registry, tmp_path, cluster="slurm", jobs="3", cpus="2")

    shown = slurm.preview(singles(cells(registry, tmp_path, 10)[:1]))

    assert shown.startswith("1 job; the script of the first:\n\n#!/bin/bash\n")
    assert "--array" not in shown
    assert slurm.num_workers == 6


def test_every_job_is_sent_once_in_arrays_of_the_size_asked_for(
    registry: Registry, tmp_path: Path
) -> None:
    class Sender:
        arrays: ClassVar[list[list[Chunk]]] = []

        @contextmanager
        def batch(self) -> Iterator[None]:
            self.arrays.append([])
            yield

        def submit(self, chunk: Chunk) -> object:
            self.arrays[-1].append(chunk)
            return object()

    groups = singles(cells(registry, tmp_path, 10)) + singles(cells(registry, tmp_path, 20))[:2]
    slurm = _slurm(registry, tmp_path, array_size="2")
    chunks, run = slurm._chunks(groups, tmp_path), _Run(tmp_path, Told())

    slurm._send(run, Sender(), chunks)

    assert Sender.arrays == [chunks[0:2], chunks[2:4], chunks[4:]]
    assert list(run.jobs.values()) == chunks


def test_a_job_that_is_begun_again_runs_the_cells_without_a_record(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = cells(registry, tmp_path, 10)
    (tmp_path / "records").mkdir()
    job = Chunk(((first, second), (third,)), tmp_path, 2, None, 60.0, "cpu")
    begun: list[Any] = []

    def run_pool(groups: Any, outbox: Any, *others: Any) -> None:
        begun.append(groups)
        outbox.finished(groups[0][0], records.good(groups[0][0].config))

    monkeypatch.setattr(chunk, "run_pool", run_pool)

    found = [[record.id for record in job()] for _ in range(3)]

    assert begun == [[(first, second), (third,)], [(second,), (third,)], [(third,)]]
    ids = [cell.config.id for cell in (first, second, third)]
    assert found == [ids[:1], ids[:2], ids]


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 0), ({"device": "auto"}, 0), ({"device": "cuda"}, 1), ({"gpus": "4"}, 4)],
)
def test_a_job_has_the_gpus_that_its_device_needs(
    options: dict[str, str], expected: int, registry: Registry, tmp_path: Path
) -> None:
    slurm = _slurm(registry, tmp_path, cluster="slurm", **options)

    shown = slurm.preview(singles(cells(registry, tmp_path, 10)))

    assert ("--gpus-per-node" in shown) == (expected > 0)
    assert f"--gpus-per-node={expected or ''}" in shown or not expected
    (job, *_) = slurm._chunks(singles(cells(registry, tmp_path, 10)), tmp_path)
    assert job.device == options.get("device", "cpu")


def test_records_are_those_of_a_run_here_and_nothing_is_left_behind(
    registry: Registry, tmp_path: Path
) -> None:
    asked, told = cells(registry, tmp_path, 10), Told()

    slurm = _slurm(registry, tmp_path / "shared", cells_per_job="2", cpus="2")
    slurm.execute(singles(asked), told, lambda: False)

    assert sorted(told.begun) == sorted(cell.config.id for cell in asked)
    assert {p.cell_id for p in told.reports} <= set(told.begun)
    assert [told.records[cell.config.id].result for cell in asked] == [
        alone(cell, registry) for cell in asked
    ]
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_group_in_lockstep_is_one_job(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))  # with no checkpoint of one alone
    first, second, third = cells(registry, tmp_path, 10)
    told = Told()

    slurm = _slurm(registry, tmp_path / "shared", cells_per_job="2")
    slurm.execute([(first, second), (third,)], told, lambda: False)

    found = [told.records[cell.config.id] for cell in (first, second, third)]
    assert [record.status for record in found] == ["ok"] * 3
    assert [r.provenance.lockstep for r in found if r.provenance is not None] == [2, 2, 1]


@pytest.mark.slow
def test_a_job_that_is_announced_its_end_is_requeued_and_goes_on(
    registry: Registry, tmp_path: Path
) -> None:
    cell = cells(registry, tmp_path, 800)[0]
    announced: list[int] = []

    def announce(progress: Progress) -> None:
        has_checkpoint = any((cache_folder() / "checkpoints" / progress.cell_id).glob("*.pt"))
        if not announced and progress.done > 300 and has_checkpoint:
            announced.append(len(told.reports))
            (job,) = _jobs()
            for process in [*job.children(recursive=True), job]:  # as Slurm: to all of the job
                process.send_signal(signal.SIGUSR2)

    told = Told(announce)
    slurm = _slurm(registry, tmp_path / "shared", checkpoint_seconds="0.1")
    slurm.execute([(cell,)], told, lambda: False)

    record = told.records[cell.config.id]
    assert announced
    assert record.result == alone(cell, registry)
    after = [progress.done for progress in told.reports[announced[0] :]]
    assert min(after) > 100  # not from the beginning
    assert record.provenance is not None
    assert record.provenance.notes == ()


@pytest.mark.slow
def test_killed_workers_and_killed_jobs_become_records_and_the_others_go_on(
    registry: Registry, tmp_path: Path
) -> None:
    first, second, _ = cells(registry, tmp_path, 1_000_000)
    third = cells(registry, tmp_path, 10)[2]
    killed: list[str] = []

    def kill(progress: Progress) -> None:
        if progress.cell_id in killed or progress.cell_id == third.config.id:
            return
        killed.append(progress.cell_id)
        job = _job_of(progress.cell_id, tmp_path / "shared")
        if progress.cell_id == first.config.id:
            for worker in job.children(recursive=True):
                if "spawn_main" in " ".join(worker.cmdline()):
                    worker.kill()
        else:
            job.kill()

    told = Told(kill)
    slurm = _slurm(registry, tmp_path / "shared")
    slurm.execute(singles([first, second, third]), told, lambda: False)

    worker, job = (told.records[cell.config.id] for cell in (first, second))
    assert worker.status == "out-of-memory"
    assert job.status == "failed"
    assert worker.failure is not None
    assert job.failure is not None
    assert worker.failure.type == job.failure.type == "ProcessExpired"  # goes on another time
    assert worker.failure.message == (
        "the worker process died with exit code -9, killed from outside, most likely for want of "
        "memory"
    )
    assert job.failure.message.endswith("ended too early (UncompletedJobError)")
    assert told.records[third.config.id].result == alone(third, registry)
    assert len(list((tmp_path / "shared").iterdir())) == 1  # with what the jobs printed


def _job_of(cell_id: str, folder: Path) -> psutil.Process:
    """The first process of the job of a cell."""
    for job in _jobs():
        (run_folder,) = folder.iterdir()
        parent = job.ppid()  # submitit calls a job by the process that watches it
        submission = pickle.loads((run_folder / f"{parent}_submitted.pkl").read_bytes())
        if cell_id in [cell.config.id for cell in submission.function.cells]:
            return job
    raise AssertionError(f"no job runs {cell_id}")


def test_stopping_ends_the_jobs(registry: Registry, tmp_path: Path) -> None:
    stop = threading.Event()
    told = Told(lambda progress: stop.set())

    _slurm(registry, tmp_path / "shared").execute(
        singles(cells(registry, tmp_path, 100_000)[:1]), told, stop.is_set
    )

    assert stop.is_set()
    assert told.records == {}
    assert _jobs() == []


def test_where_there_is_no_slurm_or_no_submitit_it_says_so(
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    slurm = _slurm(registry, tmp_path / "shared", cluster="slurm")

    with pytest.raises(ClbenchError) as no_slurm:
        slurm.execute(singles(cells(registry, tmp_path, 10)), Told(), lambda: False)
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ClbenchError) as no_submitit:
        slurm.execute(singles(cells(registry, tmp_path, 10)), Told(), lambda: False)

    assert str(no_slurm.value) == (
        "executor 'slurm': there is no srun here, so this is no node of a Slurm cluster\n"
        "    --dry-run shows what would be sent, -x cluster=local runs the jobs here"
    )
    assert str(no_submitit.value) == "executor 'slurm' needs submitit: pip install 'clbench[slurm]'"
    assert not (tmp_path / "shared").exists()
