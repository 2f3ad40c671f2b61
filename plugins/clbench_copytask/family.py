"""What the families of copy tasks have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, TypeVar

import numpy as np
from pydantic import PositiveInt

from clbench.params import Params
from clbench.protocols import SequenceSpec
from clbench.scenario import Scenario

from .manipulations import Manipulation, Order, Permute, draw_orders, permutation_seeds
from .scoring import Bitwise, PaddedBitwise
from .sequences import CopyTask, Inputs, Samples, draw_inputs
from .timeline import Timeline


class CopyParams(Params):
    """Parameters of every family of copy tasks."""

    num_tasks: PositiveInt = 5
    """Tasks K of the sequence."""
    input_length: PositiveInt = 5
    """Time steps i of the input of the first task."""
    pattern_width: PositiveInt = 7
    """Bits w of a time step."""
    num_train: PositiveInt = 100_000
    """Training samples of a task."""
    num_test: PositiveInt = 1000
    """Test samples of a task."""
    num_validation: PositiveInt = 1000
    """Validation samples of a task, drawn after the others; no score depends on them."""


P = TypeVar("P", bound=CopyParams)


class CopyFamily(ABC, Generic[P]):
    """A sequence of copy tasks; a family says how long its sequences are and what is recalled."""

    Params: ClassVar[type[Params]]
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_IL, Scenario.DOMAIN_IL})

    objective: PaddedBitwise = Bitwise()

    def __init__(self, params: P) -> None:
        self.params = params

    @property
    def spec(self) -> SequenceSpec:
        """Sequences of ``w`` bits and a stop flag, to ``w`` logits."""
        width = self.params.pattern_width
        return SequenceSpec(
            kind="sequence",
            input_shape=(width + 1,),
            outputs_per_task=width,
            num_tasks=self.params.num_tasks,
        )

    @abstractmethod
    def timelines(self, task_id: int) -> tuple[Timeline, ...]:
        """The timelines that samples of a task may follow, of consecutive input lengths."""

    @abstractmethod
    def manipulations(self, data_seed: int) -> Sequence[Manipulation]:
        """What each task makes of the patterns."""

    def tasks(self, data_seed: int, scenario: Scenario) -> list[CopyTask]:
        """The tasks in order; those with equal timelines have equal inputs, kept in memory once."""
        drawn: dict[tuple[Timeline, ...], tuple[Inputs, ...]] = {}
        tasks = []
        for task_id, manipulation in enumerate(self.manipulations(data_seed)):
            timelines = self.timelines(task_id)
            if timelines not in drawn:
                drawn[timelines] = self._splits(data_seed, timelines)
            train, test, validation = (Samples.of(i, manipulation) for i in drawn[timelines])
            tasks.append(CopyTask(train, test, validation))
        return tasks

    def _splits(self, data_seed: int, timelines: tuple[Timeline, ...]) -> tuple[Inputs, ...]:
        params = self.params
        random = np.random.RandomState(data_seed)  # one stream: the order of the splits matters
        return tuple(
            draw_inputs(random, count, params.pattern_width, timelines)
            for count in (params.num_train, params.num_test, params.num_validation)
        )

    def orders(
        self, data_seed: int, length: int, permute: Permute, count: int
    ) -> list[list[Order]]:
        """`count` random orders for each task, of patterns of `length` steps."""
        return [
            draw_orders(seed, count, length, self.params.pattern_width, permute)
            for seed in permutation_seeds(data_seed, self.params.num_tasks)
        ]
