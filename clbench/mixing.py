"""Batches that mix tasks, for joint and cumulative training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from clbench.protocols import Batch, BatchStream, State


class MixedStream:
    """Samples whose tasks are drawn independently and uniformly, sample by sample.

    Within a task, samples come in that task's own shuffled sweeps.

    Args:
        streams: One per task; task ids are their positions.
        generator: Draws the tasks.
        gives_task_id: Whether the ids are told (as ``(B,)`` tensors).
    """

    def __init__(
        self, streams: Sequence[BatchStream], generator: torch.Generator, gives_task_id: bool
    ) -> None:
        self._streams = streams
        self._generator = generator
        self._gives_task_id = gives_task_id

    def next(self, size: int) -> Batch:
        """The next `size` samples, ordered by task."""
        drawn = torch.randint(len(self._streams), (size,), generator=self._generator)
        counts = torch.bincount(drawn, minlength=len(self._streams)).tolist()
        parts = [s.next(n) for s, n in zip(self._streams, counts, strict=True) if n > 0]
        ids = drawn.sort().values if self._gives_task_id else None
        return replace(concatenate(parts), task_id=ids, num_tasks=len(self._streams))

    def state(self) -> State:
        """Positions in all tasks, and the generator that draws the tasks."""
        return {
            "streams": [stream.state() for stream in self._streams],
            "generator": self._generator.get_state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        for stream, saved in zip(self._streams, state["streams"], strict=True):
            stream.restore(saved)
        self._generator.set_state(state["generator"])


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch of all samples, in order, with ``task_id`` None.

    Sequences of different lengths are filled up with zeros at their ends; the window is then the
    smallest that covers all windows, and the mask says which steps of it count.
    """
    first = batches[0]
    if len(batches) == 1:
        return replace(first, task_id=None)
    if first.window is None:
        return Batch(
            inputs=torch.cat([b.inputs for b in batches]),
            targets=torch.cat([b.targets for b in batches]),
            task_id=None,
        )
    S = max(b.inputs.shape[0] for b in batches)
    windows = [b.window for b in batches if b.window is not None]
    window = slice(min(w.start for w in windows), max(w.stop for w in windows))
    same = all(w == window for w in windows) and all(b.mask is None for b in batches)
    return Batch(
        inputs=torch.cat([_fill(b.inputs, 0, S) for b in batches], dim=1),
        targets=torch.cat([_fill(b.targets, *_around(b, window)) for b in batches], dim=1),
        task_id=None,
        window=window,
        mask=None if same else torch.cat([_mask(b, window) for b in batches], dim=1),
    )


def _around(batch: Batch, window: slice) -> tuple[int, int]:
    """Steps of `window` before the batch's own, and the length of `window`."""
    assert batch.window is not None  # a sequence
    return batch.window.start - window.start, window.stop - window.start


def _fill(steps: Tensor, before: int, length: int) -> Tensor:
    """Zero steps before and after, so that axis 0 has `length` steps."""
    after = length - before - steps.shape[0]
    if before == after == 0:
        return steps
    return pad(steps, (0, 0) * (steps.dim() - 1) + (before, after))


def _mask(batch: Batch, window: slice) -> Tensor:
    own = batch.targets.new_ones(batch.targets.shape[:2]) if batch.mask is None else batch.mask
    return _fill(own, *_around(batch, window))
