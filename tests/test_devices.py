"""Which device is chosen, what a worker sees of it, and what a record says of it."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest
import torch
import toys

from clbench import devices, provenance
from clbench.devices import Device, gpus, see_one_gpu
from clbench.engines import engine, read_options
from clbench.errors import ClbenchError, UnknownNameError
from clbench.local_pool import LocalExecutor, LocalParams, usable_cores
from clbench.matrix import Cell
from clbench.params import Params
from clbench.protocols import CPU, LearnerContext
from clbench.registry import Registry
from clbench.runner import run_cell, run_group
from clbench.worker import run_here

GPU = torch.device("cuda:0")


@pytest.fixture
def num_gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Says how many GPUs PyTorch finds; each is called Hx."""

    def found(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Hx")
    return found


@pytest.mark.parametrize(
    ("device", "count", "expected"),
    [("cpu", 0, 0), ("cpu", 2, 0), ("auto", 0, 0), ("auto", 2, 2), ("cuda", 2, 2)],
)
def test_cells_compute_on_the_gpus_that_are_asked_for_and_here(
    device: Device, count: int, expected: int, num_gpus: Callable[[int], None]
) -> None:
    num_gpus(count)

    assert gpus(device) == expected


def test_a_gpu_that_is_not_here_is_refused_in_one_line(num_gpus: Callable[[int], None]) -> None:
    num_gpus(0)

    with pytest.raises(ClbenchError) as caught:
        engine(Registry.discover(), "local", read_options((), {"device": "cuda"}))

    assert str(caught.value) == f"device 'cuda': PyTorch {torch.__version__} finds no GPU here"


def test_an_unknown_device_is_answered_like_any_unknown_name() -> None:
    for name in devices.DEVICES:
        devices.check(name)

    with pytest.raises(UnknownNameError) as caught:
        devices.check("cudo")

    assert str(caught.value) == (
        "unknown device 'cudo'; did you mean 'cuda'?\n    known: auto, cpu, cuda"
    )


@pytest.mark.parametrize(
    ("named", "worker", "expected"),
    [
        (None, 0, "0"),
        (None, 1, "1"),
        (None, 2, "0"),
        ("", 1, "1"),
        ("3,5", 0, "3"),
        ("3, 5", 1, "5"),
        ("GPU-ab,GPU-cd", 3, "GPU-cd"),
    ],
)
def test_workers_take_the_gpus_in_turn(
    named: str | None, worker: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named or "")
    if named is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")

    see_one_gpu(worker, 2)

    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, usable_cores()),
        ({"device": "auto"}, 3),
        ({"device": "cuda"}, 3),
        ({"device": "cuda", "jobs": 5}, 5),
        ({"device": "cpu", "jobs": 5}, 5),
    ],
)
def test_there_is_a_worker_for_each_core_or_each_gpu(
    params: dict[str, Any], expected: int, num_gpus: Callable[[int], None]
) -> None:
    num_gpus(3)

    assert LocalExecutor(LocalParams(**params)).num_workers == expected


def test_a_worker_runs_its_group_on_the_gpu_that_it_sees(
    num_gpus: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("clbench.runner.run_group", lambda *arguments: asked.append(arguments))
    num_gpus(1)

    for device in ("cpu", "auto", "cuda"):
        run_here((Cell("toy", "a/b", toys.config()),), print, 60.0, device)  # type: ignore[arg-type]

    assert [arguments[4] for arguments in asked] == [torch.device("cpu"), GPU, GPU]
    assert torch.backends.cudnn.allow_tf32 is False
    programs = [arguments[3][0]._head["program"]["device"] for arguments in asked]
    assert programs == ["cpu", "Hx", "Hx"]


def test_a_record_and_the_program_of_a_checkpoint_name_the_device(
    num_gpus: Callable[[int], None],
) -> None:
    now = datetime.now(timezone.utc)

    here, there = (provenance.collect("s", "r", now, device=one) for one in (CPU, GPU))

    assert (here.device, there.device) == ("cpu", "Hx")
    assert provenance.program() != provenance.program(GPU)
    assert provenance.program() == provenance.program(CPU)


class _Starved(toys.Plain):
    Params: type[Params] = toys.NoParams

    def __init__(self, params: Any, context: LearnerContext) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_want_of_memory_on_a_gpu_is_told_apart_in_every_record_of_a_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(toys, "Plain", _Starved)
    group = tuple(Cell("toy", "a/b", toys.config(seed=seed)) for seed in (1, 2))

    records = run_group(group, toys.registry(), lambda progress: None)

    assert [record.status for record in records] == ["out-of-memory"] * 2
    assert [record.failure and record.failure.message for record in records] == [
        "CUDA out of memory"
    ] * 2


def test_a_host_without_memory_for_a_tensor_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch raises a plain error there, where Python has one of its own."""
    monkeypatch.setattr(toys.Pictures, "tasks", lambda *arguments: [torch.empty(10**15)])

    record = run_cell(Cell("toy", "a/b", toys.config()), toys.registry(), lambda p: None)

    assert record.failure is not None
    assert (record.status, record.failure.type) == ("out-of-memory", "RuntimeError")
