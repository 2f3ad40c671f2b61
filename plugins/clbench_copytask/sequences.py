"""The data of the copy tasks: random patterns as sequences, and their targets.

Bits are stored as bytes, sample by sample, which makes gathering a batch as fast as from floats in
a quarter of the memory; batches are float32 and time-major.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clbench.batching import SweptStream
from clbench.protocols import Batch

from .manipulations import Bits, Manipulation
from .timeline import Timeline

Rows: TypeAlias = slice | NDArray[np.bool_]
"""Which samples: all, or those that are marked."""

EVALUATION_BATCH = 1000
"""Samples at once in evaluation."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of one split, which tasks share.

    Attributes:
        stored: ``(n, S, w + 1)`` uint8: pattern channels, then the stop flag.
        patterns: ``(p, w, n)``: the bits of the first steps, p being that of the longest timeline.
        groups: The timelines, shortest first, each with the samples that follow it.
        window: The smallest that covers the windows of all timelines, W steps.
        mask: ``(n, W)`` uint8, the scored steps of the window; None: all.
    """

    stored: Tensor
    patterns: Bits
    groups: Sequence[tuple[Timeline, Rows]]
    window: slice
    mask: Tensor | None


def draw_inputs(
    random: np.random.RandomState, count: int, width: int, timelines: Sequence[Timeline]
) -> Inputs:
    """Random inputs of `count` samples.

    As in the source, bits are drawn for all steps of the longest timeline, also for those that
    hold no random bits; a bit is 1 where a uniform draw is above 0.5. Then, where there is more
    than one timeline, the input length of each sample is drawn.

    Args:
        random: Where the splits of a task are drawn from, one after the other.
        count: Samples n.
        width: Bits w of a step.
        timelines: Of consecutive input lengths, shortest first.
    """
    shortest, longest = timelines[0], timelines[-1]
    bits = np.empty((longest.random_steps, width, count), dtype=np.uint8)
    for step in range(longest.steps):  # step by step: the same stream, without the memory of all
        drawn = random.rand(count, width)
        if step < longest.random_steps:
            bits[step] = (drawn > 0.5).T

    groups: list[tuple[Timeline, Rows]] = [(longest, slice(None))]
    if len(timelines) > 1:
        lengths = random.randint(shortest.input_length, longest.input_length + 1, size=count)
        groups = [(timeline, lengths == timeline.input_length) for timeline in timelines]

    stored = np.zeros((count, longest.steps, width + 1), dtype=np.uint8)
    for timeline, rows in groups:
        filled = timeline.random_steps
        stored[rows, :filled, :width] = bits[:filled, :, rows].transpose(2, 0, 1)
        stored[rows, timeline.stop, width] = 1
    window = slice(shortest.window.start, longest.window.stop)
    return Inputs(
        stored=torch.from_numpy(stored),
        patterns=bits[: longest.pattern_length],
        groups=groups,
        window=window,
        mask=_mask(groups, window, count) if len(groups) > 1 else None,
    )


def _mask(groups: Sequence[tuple[Timeline, Rows]], window: slice, count: int) -> Tensor:
    """Which steps of `window` each sample's own window has, ``(n, W)``."""
    mask = np.zeros((count, window.stop - window.start), dtype=np.uint8)
    for timeline, rows in groups:
        mask[rows, _within(timeline.window, window)] = 1
    return torch.from_numpy(mask)


def _within(steps: slice, window: slice) -> slice:
    """`steps` counted from the start of `window`."""
    return slice(steps.start - window.start, steps.stop - window.start)


@dataclass(frozen=True, slots=True)
class Samples:
    """One split of one task.

    Attributes:
        inputs: ``(n, S, w + 1)`` uint8.
        targets: ``(n, W, w)`` uint8.
        window: The W steps of the targets.
        mask: ``(n, W)`` uint8, the scored steps of the window; None: all.
    """

    inputs: Tensor
    targets: Tensor
    window: slice
    mask: Tensor | None

    @classmethod
    def of(cls, inputs: Inputs, manipulation: Manipulation) -> Samples:
        """The samples of the task that makes `manipulation` of the patterns."""
        window = inputs.window
        p, width, count = inputs.patterns.shape
        results = manipulation(inputs.patterns.reshape(p * width, count)).reshape(p, width, count)
        targets = np.zeros((count, window.stop - window.start, width), dtype=np.uint8)
        for timeline, rows in inputs.groups:
            recalled = results[: timeline.pattern_length, :, rows]
            targets[rows, _within(timeline.recall, window)] = recalled.transpose(2, 0, 1)
        return cls(inputs.stored, torch.from_numpy(targets), window, inputs.mask)

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def batch(self, index: Tensor) -> Batch:
        """The samples with the given indices ``(B,)``, without a task id."""
        return Batch(
            inputs=_gather(self.inputs, index),
            targets=_gather(self.targets, index),
            task_id=None,
            window=self.window,
            mask=None if self.mask is None else _gather(self.mask, index),
        )

    def batches(self) -> Iterator[Batch]:
        """All samples, once, in order."""
        device = self.inputs.device
        for start in range(0, len(self), EVALUATION_BATCH):
            stop = min(start + EVALUATION_BATCH, len(self))
            yield self.batch(torch.arange(start, stop, device=device))

    def moved(self, move: Callable[[Tensor], Tensor]) -> Samples:
        """The same samples elsewhere (`clbench.protocols.Movable`)."""
        return replace(
            self,
            inputs=move(self.inputs),
            targets=move(self.targets),
            mask=None if self.mask is None else move(self.mask),
        )


def _gather(stored: Tensor, index: Tensor) -> Tensor:
    """Samples ``(n, S, ...)`` of bytes -> time-major floats ``(S, B, ...)``, contiguous."""
    return stored.index_select(0, index).float().transpose(0, 1).contiguous()


@dataclass(frozen=True, slots=True)
class CopyTask:
    """One task of a sequence (`clbench.protocols.Task`).

    Attributes:
        train: Training samples.
        test: Test samples.
        validation: Samples that take no part in any score; the source logs accuracies on them.
    """

    train: Samples
    test: Samples
    validation: Samples

    @property
    def train_size(self) -> int:
        """Number of training samples."""
        return len(self.train)

    def train_stream(self, generator: torch.Generator) -> SweptStream:
        """Endless shuffled sweeps over the training samples."""
        return SweptStream(len(self.train), self.train.batch, generator, self.train.inputs.device)

    def moved(self, move: Callable[[Tensor], Tensor]) -> CopyTask:
        """The same task elsewhere (`clbench.protocols.Movable`)."""
        splits = (self.train, self.test, self.validation)
        return CopyTask(*(split.moved(move) for split in splits))

    def test_batches(self) -> Iterator[Batch]:
        """The test samples, once, in order."""
        return self.test.batches()
