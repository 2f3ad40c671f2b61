"""The Ray executor, on three nodes of one machine: the parent's, and two that run cells."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import psutil
import pytest
from engine_runs import Told, alone, cells, singles

from clbench.engines import engine
from clbench.errors import ClbenchError
from clbench.executor import Progress
from clbench.registry import Registry
from clbench_ray import executor

SMALL = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
QUICK = {  # a dead node is noticed in seconds
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="module")
def nodes() -> Iterator[tuple[Any, list[Any]]]:
    """The cluster, and its nodes of one core each."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own modules
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "_system_config": QUICK, **SMALL}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        workers = [cluster.add_node(num_cpus=1, **SMALL) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        yield cluster, workers
        ray.shutdown()
        cluster.shutdown()


ray_test = pytest.mark.filterwarnings("ignore")


def _ray(registry: Registry, **options: str) -> Any:
    return engine(registry, "ray", options)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, 0), ({"device": "auto"}, 0), ({"device": "cuda"}, 1), ({"num_gpus": "0.5"}, 0.5)],
)
def test_a_cell_asks_for_the_gpus_that_its_device_needs(
    options: dict[str, str], expected: float, registry: Registry
) -> None:
    assert _ray(registry, **options)._params.gpus == expected


@pytest.mark.parametrize(("jobs", "sent"), [(None, 10), (3, 3)])
def test_without_a_number_of_jobs_all_groups_are_sent(
    jobs: int | None, sent: int, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor, "_mailbox", lambda ray: None)
    cell = cells(registry, tmp_path, 10)[0]
    groups = [(cell,)] * 10
    run = executor._Run(MagicMock(), executor.RayParams(jobs=jobs), groups, Told())
    run._task.remote.side_effect = lambda *arguments: object()

    run.send()

    assert len(run._sent) == sent


class _MemoryError(Exception):
    pass


class _NodeError(Exception):
    pass


class _TaskError(Exception):
    def __init__(self, cause: object) -> None:
        super().__init__("at length")
        self.cause = cause


ERRORS = SimpleNamespace(
    OutOfMemoryError=_MemoryError, RayTaskError=_TaskError, RayError=_NodeError
)


@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (
            _MemoryError(),
            "out-of-memory",
            "ProcessExpired",
            "Ray ended the worker for want of memory",
        ),
        (_TaskError(ValueError("no such number")), "failed", "ValueError", "no such number"),
        (_TaskError("of another kind"), "failed", "_TaskError", "at length"),
        (_NodeError(), "failed", "ProcessExpired", "the worker or its node died (_NodeError)"),
    ],
    ids=["memory", "error", "no error", "node"],
)
def test_what_ends_a_task_is_told_of_each_of_its_cells(
    error: Exception, status: str, kind: str, message: str, registry: Registry, tmp_path: Path
) -> None:
    ray, group = MagicMock(exceptions=ERRORS), cells(registry, tmp_path, 10)[:2]
    ray.get.side_effect = error
    run = object.__new__(executor._Run)
    run._ray = ray

    found = run._outcome("task", group)

    assert [record.config for record in found] == [cell.config for cell in group]
    for record in found:
        assert record.failure is not None
        assert (record.status, record.failure.type, record.failure.message) == (
            status,
            kind,
            message,
        )


def test_the_time_of_a_cell_counts_from_its_latest_beginning(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, told = [0.0], Told()
    monkeypatch.setattr(executor, "_mailbox", lambda ray: MagicMock())
    monkeypatch.setattr(executor, "time", SimpleNamespace(monotonic=lambda: now[0]))
    (cell, *_) = cells(registry, tmp_path, 10)
    ray = MagicMock()
    ray.wait.return_value = ([], [])
    run = executor._Run(ray, executor.RayParams(timeout=50.0), [(cell,)], told)
    run.send()

    for now[0], letters in ((0.0, [cell.config.id]), (40.0, [cell.config.id]), (80.0, [])):
        ray.get.return_value = letters
        run.look()
        assert told.records == {}
    now[0], ray.get.return_value = 91.0, []
    run.look()

    assert told.begun == [cell.config.id]  # told once
    assert told.records[cell.config.id].status == "timed-out"
    assert run.is_over


@pytest.mark.slow
@ray_test
def test_what_happens_to_a_cell_stays_with_it(
    registry: Registry, tmp_path: Path, nodes: tuple[Any, list[Any]]
) -> None:
    endless, killed, _ = cells(registry, tmp_path, 1_000_000)
    short = cells(registry, tmp_path, 10)[0]

    def kill(progress: Progress) -> None:
        if progress.cell_id == killed.config.id:
            for process in psutil.Process().children(recursive=True):
                if "ray::_run_group" in " ".join(process.cmdline()):
                    process.kill()

    told = Told(kill)
    _ray(registry, timeout="4").execute([(endless,)], told, lambda: False)
    _ray(registry, jobs="1", max_retries="0").execute([(killed,), (short,)], told, lambda: False)

    assert told.begun == [endless.config.id, killed.config.id, short.config.id]
    assert told.records[endless.config.id].status == "timed-out"
    assert told.records[short.config.id].result == alone(short, registry)
    died = told.records[killed.config.id].failure
    assert died is not None
    assert (died.type, died.message) == (
        "ProcessExpired",
        "the worker or its node died (WorkerCrashedError)",
    )


@pytest.mark.slow
@ray_test
def test_stopping_ends_the_tasks(
    registry: Registry, tmp_path: Path, nodes: tuple[Any, list[Any]]
) -> None:
    stop = threading.Event()
    told = Told(lambda progress: stop.set())

    _ray(registry).execute(singles(cells(registry, tmp_path, 1_000_000)), told, stop.is_set)

    assert stop.is_set()
    assert told.records == {}


@pytest.mark.slow
@ray_test
def test_a_cell_that_fits_no_node_is_refused(
    registry: Registry, tmp_path: Path, nodes: tuple[Any, list[Any]]
) -> None:
    asked = singles(cells(registry, tmp_path, 10))

    with pytest.raises(ClbenchError) as caught:
        _ray(registry, num_cpus="2").execute(asked, Told(), lambda: False)

    assert str(caught.value) == (
        "executor 'ray': a cell asks for 2 CPUs and 0 GPUs, and no node has them\n"
        "    nodes: 0 CPUs and 0 GPUs, 1 CPUs and 0 GPUs, 1 CPUs and 0 GPUs"
    )


@pytest.mark.slow
@ray_test
def test_cells_of_a_node_that_dies_go_on_elsewhere_and_records_are_those_of_a_run_here(
    registry: Registry, tmp_path: Path, nodes: tuple[Any, list[Any]]
) -> None:
    cluster, (node, _) = nodes
    asked = cells(registry, tmp_path, 400)
    dead: list[str] = []

    def kill(progress: Progress) -> None:
        if len(told.begun) == 2 and progress.done > 50 and not dead:  # both nodes are busy
            dead.append(progress.cell_id)
            cluster.remove_node(node, allow_graceful=False)

    told = Told(kill)
    _ray(registry, checkpoint_seconds="0.1").execute(singles(asked), told, lambda: False)

    assert dead
    assert sorted(told.begun) == sorted(cell.config.id for cell in asked)
    assert [told.records[cell.config.id].result for cell in asked] == [
        alone(cell, registry) for cell in asked
    ]


def test_without_ray_or_a_cluster_it_says_so(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = cells(registry, tmp_path, 10)
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        from clbench_ray.executor import _check_reachable

        with pytest.raises(ClbenchError) as no_cluster:
            _check_reachable(address)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ClbenchError) as no_ray:
        _ray(registry).execute(singles(asked), Told(), lambda: False)

    assert str(no_cluster.value) == f"executor 'ray': no cluster at {address}: Connection refused"
    assert str(no_ray.value) == "executor 'ray' needs ray: pip install 'clbench[ray]'"
