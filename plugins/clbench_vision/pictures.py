"""What the families of picture tasks share: scaled pixels, and tasks over pictures in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from clbench.batching import SweptStream
from clbench.errors import ClbenchError
from clbench.images import ImageDataset, Split, check
from clbench.protocols import Batch, BatchStream, SequenceSpec, State

Pixels = Literal["unit", "signed", "imagenet"]
"""How bytes become numbers: ``unit``: in [0, 1]; ``signed``: in [-1, 1]; ``imagenet``: [0, 1], less
the mean (0.485, 0.456, 0.406), divided by (0.229, 0.224, 0.225) per channel."""

TEST_BATCH = 1000
"""Pictures at once when a task is tested."""

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


def scaled(pictures: Tensor, pixels: Pixels) -> Tensor:
    """Bytes (N, C, H, W) as float32 numbers."""
    unit = pictures.float().div_(255.0)
    if pixels == "signed":
        return unit.sub_(0.5).div_(0.5)
    if pixels == "imagenet":
        for channel, mean, std in zip(unit.unbind(1), _MEAN, _STD, strict=True):
            channel.sub_(mean).div_(std)
    return unit


def check_pictures(dataset: ImageDataset, pixels: Pixels) -> None:
    """Whether a dataset is one of pictures, and the scale of the numbers is for their channels.

    Raises:
        ClbenchError: It is not.
    """
    check(dataset)
    found, wanted = dataset.shape[0], len(_MEAN)
    if pixels == "imagenet" and found != wanted:
        what = f"pixels: imagenet is for {wanted} channels, and {dataset.name} has {found}"
        raise ClbenchError(what)


def permute(pictures: Tensor, order: Tensor | None, pixels: Pixels) -> Tensor:
    """Bytes (B, C, H, W) as numbers, pixel ``order[p]`` at place p."""
    if order is not None:
        pictures = pictures.flatten(1)[:, order].view_as(pictures)
    return scaled(pictures, pixels)


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
        pixels: How bytes become numbers.
        order: Pixel ``order[p]`` goes to place p, ``(C * H * W,)``; None: as they are.
        augment: Changes training pictures at random, drawing from the generator; None: nothing
        does.
    """

    train: Split
    test: Split
    pixels: Pixels
    order: Tensor | None = None
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None

    @property
    def train_size(self) -> int:
        """Number of training samples."""
        return len(self.train.labels)

    def train_stream(self, generator: torch.Generator) -> BatchStream:
        """Endless shuffled sweeps over the training set, without task ids."""
        device = self.train.labels.device
        if self.augment is None:
            return SweptStream(self.train_size, self._gather, generator, device)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        drawing = torch.Generator().manual_seed(seed)
        inner = SweptStream(self.train_size, self._raw, generator, device)
        return _AugmentedStream(inner, self, drawing)

    def _raw(self, index: Tensor) -> Batch:
        return Batch(
            inputs=self.train.pictures[index], targets=self.train.labels[index], task_id=None
        )

    def _gather(self, index: Tensor) -> Batch:
        batch = self._raw(index)
        return replace(batch, inputs=self.numbers(batch.inputs))

    def numbers(self, pictures: Tensor) -> Tensor:
        """What the task makes of a batch of bytes."""
        return permute(pictures, self.order, self.pixels)

    def moved(self, move: Callable[[Tensor], Tensor]) -> PictureTask:
        """The same task elsewhere (`clbench.protocols.Movable`)."""
        return replace(
            self,
            train=Split(*map(move, self.train)),
            test=Split(*map(move, self.test)),
            order=None if self.order is None else move(self.order),
        )

    def test_batches(self) -> Iterable[Batch]:
        """The test set, once, in its published order."""
        for start in range(0, len(self.test.labels), TEST_BATCH):
            part = slice(start, start + TEST_BATCH)
            yield Batch(
                inputs=self.numbers(self.test.pictures[part]),
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
        return replace(batch, inputs=self.task.numbers(changed))

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
    B, C, H, W = pictures.shape
    device = pictures.device
    wide = pad(pictures, (width,) * 4)
    mirrored = (torch.rand(B, generator=drawing) < 0.5).to(device, non_blocking=True)
    corners = torch.randint(2 * width + 1, (2, B, 1), generator=drawing)
    top, left = corners.to(device, non_blocking=True)
    rows = (top + torch.arange(H, device=device)).view(B, 1, H, 1)
    steps = torch.arange(W, device=device).expand(B, W)
    steps = torch.where(mirrored.view(B, 1), steps.flip(1), steps)
    columns = (left + steps).view(B, 1, 1, W)
    samples = torch.arange(B, device=device).view(B, 1, 1, 1)
    channels = torch.arange(C, device=device).view(1, C, 1, 1)
    return wide[samples, channels, rows, columns]
