"""Split pictures: the classes of a dataset are dealt out to tasks.

Task t owns the classes ``order[t * c], ..., order[t * c + c - 1]`` with c classes per task. Labels
are local in task-il and domain-il, 0 to c - 1 in the order of the classes, and global in class-il,
``t * c`` plus the local one.

That a data seed of 0 shuffles nothing is how van de Ven & Tolias 2019 have it; so one suite can
hold methods from sources that fix the classes of tasks and from sources that deal them out anew for
each seed (``data_seed: seed``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.images import ImageDataset, Split, load
from clbench.params import DatasetName, Params
from clbench.protocols import Objective, SequenceSpec, Task
from clbench.scenario import ALL_SCENARIOS, Scenario

from .classification import Classification
from .pictures import (
    PictureTask,
    Pixels,
    check_pictures,
    flip_and_crop,
    padded,
    picture_spec,
)


class SplitImagesParams(Params):
    """Parameters of split pictures."""

    dataset: DatasetName = "mnist"
    """Whose pictures."""
    num_tasks: PositiveInt = 5
    """Number of tasks K."""
    classes_per_task: PositiveInt = 2
    """Classes c of each task."""
    class_order: Literal["numeric", "shuffled"] = "numeric"
    """``shuffled``: by ``numpy.random.RandomState(data_seed)``, but numeric for the data seed 0."""
    padding: NonNegativeInt = 0
    """Black pixels added on each side."""
    pixels: Pixels = "unit"
    """Scale of the numbers."""
    augmentation: Literal["none", "flip-crop"] = "none"
    """``flip-crop``: training pictures are mirrored at random and cut from a frame 4 pixels
    wider."""


class SplitImages:
    """See the module's text."""

    Params: ClassVar[type[Params]] = SplitImagesParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    def __init__(self, params: SplitImagesParams, dataset: ImageDataset) -> None:
        self._params = params
        check_pictures(dataset, params.pixels)
        self._dataset = dataset
        wanted, there = params.num_tasks * params.classes_per_task, dataset.num_classes
        if wanted > there:
            raise ClbenchError(
                f"{params.num_tasks} tasks of {params.classes_per_task} classes need {wanted} "
                f"classes, and {dataset.name} has {there}"
            )

    @property
    def spec(self) -> SequenceSpec:
        """What the sequence gives."""
        params = self._params
        return picture_spec(
            self._dataset.shape, params.padding, params.classes_per_task, params.num_tasks
        )

    @property
    def objective(self) -> Objective:
        """Cross-entropy and accuracy."""
        return Classification()

    def class_order(self, data_seed: int) -> list[int]:
        """The classes in the order in which tasks get them."""
        n = self._dataset.num_classes
        if self._params.class_order == "numeric" or data_seed == 0:
            return list(range(n))
        order: list[int] = np.random.RandomState(data_seed).permutation(n).tolist()
        return order

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[Task]:
        """The tasks in order."""
        params = self._params
        splits = [load(self._dataset, "train"), load(self._dataset, "test")]
        splits = [Split(padded(s.pictures, params.padding), s.labels) for s in splits]
        order, c = self.class_order(data_seed), params.classes_per_task
        tasks = []
        for t in range(params.num_tasks):
            classes = order[t * c : (t + 1) * c]
            train, test = (global_labels(only(split, classes), t * c, scenario) for split in splits)
            tasks.append(
                PictureTask(
                    train,
                    test,
                    params.pixels,
                    augment=flip_and_crop if params.augmentation == "flip-crop" else None,
                )
            )
        return tasks


def only(split: Split, classes: Sequence[int]) -> Split:
    """The pictures of some classes, with labels counted from 0 in the order of `classes`."""
    local = torch.full((max(int(split.labels.max()), *classes) + 1,), -1)
    local[list(classes)] = torch.arange(len(classes))
    labels = local[split.labels]
    chosen: Tensor = labels >= 0
    return Split(split.pictures[chosen], labels[chosen])


def global_labels(split: Split, offset: int, scenario: Scenario) -> Split:
    """Labels as the scenario counts them: from `offset` in class-il, from 0 otherwise."""
    if scenario is not Scenario.CLASS_IL:
        return split
    return Split(split.pictures, split.labels + offset)
