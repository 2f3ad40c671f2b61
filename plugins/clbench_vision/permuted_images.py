"""Permuted pictures: each task is the same dataset with its pixels in another fixed order.

Sources draw the orders differently, so that is a parameter:

* ``one-generator``: ``numpy.random.RandomState(data_seed)`` draws one permutation after another,
  for the permuted tasks only (von Oswald et al. 2020);
* ``by-task``: task i uses ``RandomState(i)``, whatever the data seed (Lomonaco 2019).

Both permute all pixels, padding included, of all channels together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from clbench.images import ImageDataset, Split, load
from clbench.params import DatasetName, Params
from clbench.protocols import Objective, SequenceSpec, Task
from clbench.scenario import ALL_SCENARIOS, Scenario

from .classification import Classification
from .pictures import PictureTask, Pixels, check_pictures, padded, picture_spec
from .split_images import global_labels


class PermutedImagesParams(Params):
    """Parameters of permuted pictures."""

    dataset: DatasetName = "mnist"
    """Whose pictures."""
    num_tasks: PositiveInt = 10
    """Number of tasks K."""
    padding: NonNegativeInt = 0
    """Black pixels added on each side before the permutation: 2 makes 32 x 32 of MNIST."""
    first_task: Literal["identity", "permuted"] = "permuted"
    """Whether the first task's pixels stay in order."""
    permutations: Literal["one-generator", "by-task"] = "one-generator"
    """How the orders are drawn."""
    pixels: Pixels = "unit"
    """Scale of the numbers."""


class PermutedImages:
    """See the module's text."""

    Params: ClassVar[type[Params]] = PermutedImagesParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    def __init__(self, params: PermutedImagesParams, dataset: ImageDataset) -> None:
        self._params = params
        check_pictures(dataset, params.pixels)
        self._dataset = dataset

    @property
    def spec(self) -> SequenceSpec:
        """What the sequence gives."""
        params = self._params
        return picture_spec(
            self._dataset.shape, params.padding, self._dataset.num_classes, params.num_tasks
        )

    @property
    def objective(self) -> Objective:
        """Cross-entropy and accuracy."""
        return Classification()

    def permutations(self, data_seed: int) -> list[Tensor | None]:
        """The order of the pixels of each task, ``(C * H * W,)``; None: as they are."""
        params = self._params
        size = int(np.prod(self.spec.input_shape))
        shared = np.random.RandomState(data_seed)
        found: list[Tensor | None] = []
        for i in range(params.num_tasks):
            if i == 0 and params.first_task == "identity":
                found.append(None)
                continue
            drawing = shared if params.permutations == "one-generator" else np.random.RandomState(i)
            found.append(torch.from_numpy(drawing.permutation(size)))
        return found

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[Task]:
        """The tasks in order; all share one copy of the pictures."""
        train, test = (
            Split(padded(split.pictures, self._params.padding), split.labels)
            for split in (load(self._dataset, "train"), load(self._dataset, "test"))
        )
        n = self._dataset.num_classes
        return [
            PictureTask(
                global_labels(train, i * n, scenario),
                global_labels(test, i * n, scenario),
                self._params.pixels,
                order,
            )
            for i, order in enumerate(self.permutations(data_seed))
        ]
