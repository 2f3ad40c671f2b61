"""Streams of pictures in which something is permuted anew at every task (Elsayed & Mahmood 2024).

A task is a window of the stream that nobody is told of. At its beginning the training set is
shuffled anew, so a task's samples are drawn without replacement. Nothing but the training set is
used.

* ``input-permuted-stream``: at each task, the first one included, all pixels get another order.
* ``label-permuted-stream``: at each task, the first one included, the classes get other labels.

How many samples a task has is the suite's ``training: {iterations: ..., batch_size: 1}``.

Departures from the source:

1. Pixel orders there come from an unseeded generator, and label permutations are composed with all
   earlier ones; here each task's permutation is drawn by itself from the data seed. Uniform
   permutations stay uniform when composed, so the streams are equal in distribution.
2. Order, permutations, initialisation and noise have generators of their own; there all but the
   pixel orders share one, so that learners of equal seed see different data on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import ClassVar

import torch
from pydantic import PositiveInt
from torch import Tensor

from clbench.batching import SweptStream
from clbench.images import ImageDataset, Split, load
from clbench.params import DatasetName, Params
from clbench.protocols import Batch, BatchStream, Objective, SequenceSpec, Task
from clbench.randomness import generator
from clbench.scenario import Scenario
from clbench_vision.classification import Classification
from clbench_vision.pictures import Pixels, check_pictures, permute


class PermutedStreamParams(Params):
    """Parameters of the streams."""

    dataset: DatasetName = "mnist"
    """Whose training pictures."""
    num_tasks: PositiveInt
    """Number of tasks K; with the steps per task it is the length of the stream."""
    pixels: Pixels = "signed"
    """Scale of the numbers."""


@dataclass(frozen=True, slots=True)
class StreamTask:
    """One task of a stream; `clbench.protocols.Task`.

    Attributes:
        train: The training set, which all tasks share.
        pixels: Scale of the numbers.
        order: Pixel ``order[p]`` goes to place p, ``(C * H * W,)``; None: as they are.
        labels: Class c gets the label ``labels[c]``, ``(classes,)``; None: as they are.
    """

    train: Split
    pixels: Pixels
    order: Tensor | None
    labels: Tensor | None

    @property
    def train_size(self) -> int:
        """Number of training samples."""
        return len(self.train.labels)

    def train_stream(self, generator: torch.Generator) -> BatchStream:
        """Endless shuffled sweeps over the training set."""
        device = self.train.labels.device
        return SweptStream(self.train_size, self._gather, generator, device)

    def moved(self, move: Callable[[Tensor], Tensor]) -> StreamTask:
        """The same task elsewhere (`clbench.protocols.Movable`)."""
        return replace(
            self,
            train=Split(*map(move, self.train)),
            order=None if self.order is None else move(self.order),
            labels=None if self.labels is None else move(self.labels),
        )

    def _gather(self, index: Tensor) -> Batch:
        pictures, targets = self.train.pictures[index], self.train.labels[index]
        if self.labels is not None:
            targets = self.labels[targets]
        inputs = permute(pictures, self.order, self.pixels)
        return Batch(inputs=inputs, targets=targets, task_id=None)

    def test_batches(self) -> Iterable[Batch]:
        """None: predictions before updates are what counts."""
        return ()


class _PermutedStream:
    """What both families share."""

    Params: ClassVar[type[Params]] = PermutedStreamParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_FREE})

    def __init__(self, params: PermutedStreamParams, dataset: ImageDataset) -> None:
        self._params = params
        check_pictures(dataset, params.pixels)
        self._dataset = dataset

    @cached_property
    def _train(self) -> Split:
        """The training set, which all tasks and seeds share."""
        return load(self._dataset, "train")

    @property
    def spec(self) -> SequenceSpec:
        """What the stream gives."""
        return SequenceSpec(
            kind="classification",
            input_shape=self._dataset.shape,
            outputs_per_task=self._dataset.num_classes,
            num_tasks=self._params.num_tasks,
        )

    @property
    def objective(self) -> Objective:
        """Cross-entropy and accuracy."""
        return Classification()


class InputPermutedStream(_PermutedStream):
    """See the module's text."""

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[Task]:
        """The tasks in order; all share one copy of the pictures."""
        train, size = self._train, torch.Size(self._dataset.shape).numel()
        return [
            StreamTask(
                train,
                self._params.pixels,
                order=torch.randperm(size, generator=generator(data_seed, "pixels", k)),
                labels=None,
            )
            for k in range(self._params.num_tasks)
        ]


class LabelPermutedStream(_PermutedStream):
    """See the module's text."""

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[Task]:
        """The tasks in order; all share one copy of the pictures."""
        train, size = self._train, self._dataset.num_classes
        return [
            StreamTask(
                train,
                self._params.pixels,
                order=None,
                labels=torch.randperm(size, generator=generator(data_seed, "labels", k)),
            )
            for k in range(self._params.num_tasks)
        ]
