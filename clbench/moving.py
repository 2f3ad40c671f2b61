"""Tasks and batches on the device of a cell.

A task that knows of devices is moved whole, once, and gathers its batches there; the batches of any
other are moved one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clbench.protocols import Batch, BatchStream, Movable, State, Task


def tasks_on(device: torch.device, tasks: Sequence[Task]) -> Sequence[Task]:
    """The tasks with their data on a device, as far as they can be moved.

    A tensor that tasks share is moved once, and they share it there too.
    """
    moved: dict[int, tuple[Tensor, Tensor]] = {}  # kept with its origin, whose id is the key

    def move(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            moved[id(tensor)] = tensor, tensor.to(device)
        return moved[id(tensor)][1]

    return [task.moved(move) if isinstance(task, Movable) else task for task in tasks]


def batch_on(device: torch.device, batch: Batch) -> Batch:
    """The batch on a device; what is there already stays as it is. Nobody waits for the copy."""

    def move(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    ids = batch.task_id
    return replace(
        batch,
        inputs=move(batch.inputs),
        targets=move(batch.targets),
        task_id=move(ids) if isinstance(ids, Tensor) else ids,
        mask=None if batch.mask is None else move(batch.mask),
    )


@dataclass(frozen=True, slots=True)
class MovedStream:
    """A stream whose batches lie on a device, wherever it makes them."""

    inner: BatchStream
    device: torch.device

    def next(self, size: int) -> Batch:
        """The next `size` samples."""
        return batch_on(self.device, self.inner.next(size))

    def state(self) -> State:
        """The inner stream's."""
        return self.inner.state()

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self.inner.restore(state)
