"""Split CIFAR-10/100: all of CIFAR-10 first, then tasks of ten CIFAR-100 classes each.

The benchmark of Zenke et al. 2017 and von Oswald et al. 2020: task 1 has 50,000 training pictures,
the others 5,000; labels in numeric order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from clbench.images import Split
from clbench.params import Params
from clbench.protocols import Objective, SequenceSpec, Task
from clbench.scenario import ALL_SCENARIOS, Scenario

from .classification import Classification
from .datasets import CIFAR10, CIFAR100
from .pictures import PictureTask, Pixels, flip_and_crop
from .split_images import global_labels, only

_CLASSES = 10


class IncrementalCifarParams(Params):
    """Parameters of split CIFAR-10/100."""

    num_tasks: Annotated[int, Field(ge=1, le=11)] = 6
    """Number of tasks K, CIFAR-10 included."""
    pixels: Pixels = "imagenet"
    """Scale of the numbers."""
    augmentation: Literal["none", "flip-crop"] = "none"
    """``flip-crop``: training pictures are mirrored at random and cut from a frame 4 pixels
    wider."""


class IncrementalCifar:
    """See the module's text."""

    Params: ClassVar[type[Params]] = IncrementalCifarParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    def __init__(self, params: IncrementalCifarParams) -> None:
        self._params = params

    @property
    def spec(self) -> SequenceSpec:
        """What the sequence gives."""
        return SequenceSpec(
            kind="classification",
            input_shape=CIFAR10.shape,
            outputs_per_task=_CLASSES,
            num_tasks=self._params.num_tasks,
        )

    @property
    def objective(self) -> Objective:
        """Cross-entropy and accuracy."""
        return Classification()

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[Task]:
        """The tasks in order."""
        pairs: list[tuple[Split, Split]] = [(CIFAR10.load("train"), CIFAR10.load("test"))]
        if self._params.num_tasks > 1:
            train, test = CIFAR100.load("train"), CIFAR100.load("test")
            for t in range(self._params.num_tasks - 1):
                classes = range(t * _CLASSES, (t + 1) * _CLASSES)
                pairs.append((only(train, classes), only(test, classes)))
        return [
            PictureTask(
                global_labels(train, i * _CLASSES, scenario),
                global_labels(test, i * _CLASSES, scenario),
                self._params.pixels,
                augment=flip_and_crop if self._params.augmentation == "flip-crop" else None,
            )
            for i, (train, test) in enumerate(pairs)
        ]
