"""What both learners share: own weights of the main net, an optimiser and a memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from clbench.config import Regime
from clbench.errors import UnavailableError
from clbench.params import Params
from clbench.protocols import Batch, LearnerContext, Observation, State
from clbench.scenario import Scenario
from clbench.weight_learner import WeightLearner
from pydantic import PositiveInt
from torch import Tensor

from .memory import Memory, Reservoir, Ring, num_samples


class RehearsalParams(Params):
    """Parameters of both learners."""

    memory_size: PositiveInt = 100
    """Samples that are stored, all tasks together."""
    memory: Literal["ring", "reservoir"] = "ring"
    """The newest samples of each task, equally many, or a uniform sample of all."""
    replay_batch_size: PositiveInt = 64
    """Stored samples that are rehearsed at each step (fewer while there are fewer)."""


class Rehearsal(WeightLearner, ABC):
    """A learner with a memory; its rule is `gradient`.

    Raises:
        UnavailableError: The suite names regularizers; a ring has no place for any sample of a
            task; or a ring would have to do without ids of tasks.
    """

    Params: ClassVar[type[Params]] = RehearsalParams
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]
    regimes: ClassVar[frozenset[Regime]] = frozenset({"sequential", "cumulative"})

    def __init__(self, params: RehearsalParams, context: LearnerContext) -> None:
        super().__init__(context)
        self._replay_batch_size = params.replay_batch_size
        self._memory = _memory(params, context)
        self._task_id: int | None = None

    @abstractmethod
    def gradient(self, batch: Batch) -> Observation:
        """Leave the gradient of the rule in the parameters' gradients, which are zero."""

    def rehearsed(self) -> tuple[Tensor, int]:
        """The loss of some stored samples, summed, ``()``, and how many they are.

        In class-il a stored sample competes with all classes so far, not only with those that
        there were when it was new.
        """
        total, count = torch.zeros(()), 0
        is_growing = self.layout.scenario is Scenario.CLASS_IL
        for batch in self._memory.draw(self._replay_batch_size):
            losses, _ = self.losses(batch, self._task_id if is_growing else batch.task_id)
            total, count = total + losses.sum(), count + num_samples(batch)
        return total, count

    def begin_task(self, task_id: int) -> None:
        """A task starts."""
        super().begin_task(task_id)
        self._task_id = task_id

    def state(self) -> State:
        """Weights, moments, the net's state, and the memory."""
        return super().state() | {"memory": self._memory.state(), "task_id": self._task_id}

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        super().restore(state)
        self._memory.restore(state["memory"])
        self._task_id = state["task_id"]


def _memory(params: RehearsalParams, context: LearnerContext) -> Memory:
    generator = context.generator("memory")
    if params.memory == "reservoir":
        return Reservoir(params.memory_size, generator, context.device)
    if context.layout.scenario is Scenario.TASK_FREE:
        raise UnavailableError("a ring of each task's samples needs ids of tasks; use a reservoir")
    K = context.layout.num_tasks
    if params.memory_size < K:
        raise UnavailableError(
            f"a memory of {params.memory_size} samples is too small for {K} tasks"
        )
    return Ring(params.memory_size // K, generator, context.device)
