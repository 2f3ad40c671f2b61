"""Tasks and batches on the device of a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import toys
from elsewhere import ELSEWHERE, OneDevice
from torch import Tensor

from clbench.cell_run import CellRun
from clbench.moving import MovedStream, batch_on, tasks_on
from clbench.protocols import CPU, Batch


@dataclass(frozen=True)
class Task:
    own: Tensor
    shared: Tensor

    def moved(self, move: Callable[[Tensor], Tensor]) -> Task:
        return Task(move(self.own), move(self.shared))


def _batch(**values: Any) -> Batch:
    fill = {"inputs": torch.ones(3, 2, 1), "targets": torch.ones(1, 2, 1), "task_id": 1}
    return Batch(**(fill | values))


def test_what_tasks_share_is_moved_once_and_shared_there() -> None:
    shared = torch.zeros(2)
    tasks: list[Any] = [Task(torch.zeros(3), shared), Task(torch.zeros(4), shared)]

    first, second = tasks_on(ELSEWHERE, tasks)

    assert first.shared is second.shared  # type: ignore[attr-defined]
    assert first.shared.device == first.own.device == ELSEWHERE  # type: ignore[attr-defined]
    assert [len(task.own) for task in (first, second)] == [3, 4]  # type: ignore[attr-defined]


def test_on_the_cpu_tasks_keep_their_tensors() -> None:
    task: Any = Task(torch.zeros(3), torch.zeros(2))

    (moved,) = tasks_on(CPU, [task])

    assert moved.own is task.own  # type: ignore[attr-defined]


@pytest.mark.parametrize("mask", [None, torch.ones(1, 2)])
@pytest.mark.parametrize("ids", [None, 1, torch.tensor([0, 1])])
def test_all_of_a_batch_is_moved(ids: Any, mask: Tensor | None) -> None:
    batch = _batch(task_id=ids, mask=mask, window=slice(2, 3))

    moved = batch_on(ELSEWHERE, batch)

    there = [moved.inputs, moved.targets, moved.mask, moved.task_id]
    tensors = [part for part in there if isinstance(part, Tensor)]
    assert {tensor.device for tensor in tensors} == {ELSEWHERE}
    assert len(tensors) == 2 + (mask is not None) + isinstance(ids, Tensor)
    assert isinstance(ids, Tensor) or moved.task_id == ids
    assert (moved.window, moved.inputs.shape) == (batch.window, batch.inputs.shape)
    assert batch_on(CPU, batch).inputs is batch.inputs


def test_a_stream_is_moved_batch_by_batch_and_keeps_its_state() -> None:
    task = toys.Pictures(toys.TwoParams()).tasks(0, toys.Scenario.TASK_IL)[0]
    inner, same = (task.train_stream(torch.Generator().manual_seed(0)) for _ in range(2))
    stream = MovedStream(inner, ELSEWHERE)

    batch = stream.next(5)
    same.restore(stream.state())

    assert batch.inputs.device == batch.targets.device == ELSEWHERE
    assert torch.equal(inner.next(5).inputs, same.next(5).inputs)


@pytest.mark.parametrize("family", ["echoes", "pictures"])
def test_a_family_that_knows_of_no_devices_serves_a_cell_elsewhere(family: str) -> None:
    run = CellRun(
        toys.config(family=family), toys.registry(), lambda progress: None, device=ELSEWHERE
    )

    with OneDevice():
        run.prepare()
        batches = [run.stream(0, "order").next(4), run.mixed_stream(2).next(4), *run.tests[1]]

    assert {batch.inputs.device for batch in batches} == {ELSEWHERE}
    assert isinstance(batches[1].task_id, Tensor)
    assert batches[1].task_id.device == ELSEWHERE
