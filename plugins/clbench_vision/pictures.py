"""What the families of picture tasks share: scaled pixels, and tasks over pictures in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from clbench.batching import SweptStream
from clbench.protocols import Batch, BatchStream, SequenceSpec, State

from .datasets import Split

Pixels = Literal["unit", "signed", "imagenet"]
"""How bytes become numbers: ``unit``: in [0, 1]; ``signed``: in [-1, 1]; ``imagenet``: [0, 1], less
the mean (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225) per channel."""

TEST_BATCH = 1000
"""Pictures at once when a task is tested."""

_MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
_STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def scaled(pictures: Tensor, pixels: Pixels) -> Tensor:
    """Bytes (N, C, H, W) as float32 numbers."""
    unit = pictures.float().div_(255.0)
    if pixels == "signed":
        return unit.sub_(0.5).div_(0.5)
    if pixels == "imagenet":
        return unit.sub_(_MEAN).div_(_STD)
    return unit


def padded(pictures: Tensor, width: int) -> Tensor:
    """Pictures with `width` black pixels on each side."""
    return pad(pictures, (width,) * 4) if width else pictures


def picture_spec(
    shape: tuple[int, int, int], padding: int, outputs_per_task: int, num_tasks: int
) -> SequenceSpec:
    """What a sequence of classifications of padded pictures (C, H, W) gives."""
    C, H, W = shape
    return SequenceSpec(
        kind="classification",
        input_shape=(C, H + 2 * padding, W + 2 * padding),
        outputs_per_task=outputs_per_task,
        num_tasks=num_tasks,
    )


@dataclass(frozen=True, slots=True)
class PictureTask:
    """Pictures with labels; `clbench.protocols.Task`.

    Attributes:
        train, test: uint8 pictures (N, C, H, W) and labels (N,), which tasks may share.
        transform: What the task makes of a batch of bytes.
        augment: Changes training pictures at random, drawing from the generator; None: nothing
        does.
    """

    train: Split
    test: Split
    transform: Callable[[Tensor], Tensor]
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None

    @property
    def train_size(self) -> int:
        """Number of training samples."""
        return len(self.train.labels)

    def train_stream(self, generator: torch.Generator) -> BatchStream:
        """Endless shuffled sweeps over the training set, without task ids."""
        if self.augment is None:
            return SweptStream(self.train_size, self._gather, generator)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        drawing = torch.Generator().manual_seed(seed)
        inner = SweptStream(self.train_size, lambda index: self._raw(index), generator)
        return _AugmentedStream(inner, self, drawing)

    def _raw(self, index: Tensor) -> Batch:
        return Batch(
            inputs=self.train.pictures[index], targets=self.train.labels[index], task_id=None
        )

    def _gather(self, index: Tensor) -> Batch:
        batch = self._raw(index)
        return replace(batch, inputs=self.transform(batch.inputs))

    def test_batches(self) -> Iterable[Batch]:
        """The test set, once, in its published order."""
        for start in range(0, len(self.test.labels), TEST_BATCH):
            part = slice(start, start + TEST_BATCH)
            yield Batch(
                inputs=self.transform(self.test.pictures[part]),
                targets=self.test.labels[part],
                task_id=None,
            )


@dataclass(frozen=True, slots=True)
class _AugmentedStream:
    inner: BatchStream
    task: PictureTask
    drawing: torch.Generator

    def next(self, size: int) -> Batch:
        batch = self.inner.next(size)
        assert self.task.augment is not None  # made for tasks that augment
        changed = self.task.augment(batch.inputs, self.drawing)
        return replace(batch, inputs=self.task.transform(changed))

    def state(self) -> State:
        return {"inner": self.inner.state(), "drawing": self.drawing.get_state()}

    def restore(self, state: State) -> None:
        self.inner.restore(state["inner"])
        self.drawing.set_state(state["drawing"])


def flip_and_crop(pictures: Tensor, drawing: torch.Generator, width: int = 4) -> Tensor:
    """Each picture mirrored or not, and cut at random from itself with `width` black pixels around.

    Args:
        pictures: (B, C, H, W), of any number type.
        drawing: Draws mirroring and position of each picture.
        width: Pixels around.
    """
    B, _, H, W = pictures.shape
    wide = pad(pictures, (width,) * 4)
    mirrored = torch.rand(B, generator=drawing) < 0.5
    top, left = torch.randint(2 * width + 1, (2, B, 1), generator=drawing)
    rows = (top + torch.arange(H)).view(B, 1, H, 1)
    steps = torch.arange(W).expand(B, W)
    steps = torch.where(mirrored.view(B, 1), steps.flip(1), steps)
    columns = (left + steps).view(B, 1, 1, W)
    samples = torch.arange(B).view(B, 1, 1, 1)
    channels = torch.arange(pictures.shape[1]).view(1, -1, 1, 1)
    return wide[samples, channels, rows, columns]
