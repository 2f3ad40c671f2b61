"""What both learners share: own weights of the main net, an optimiser and a memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from clbench.errors import UnavailableError
from clbench.optimisation import FlatParameters, Optimiser
from clbench.params import Params
from clbench.protocols import (
    Batch,
    Context,
    LearnerContext,
    NamedTensors,
    Observation,
    Query,
    State,
    TaskData,
)
from clbench.scenario import Scenario
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


class Rehearsal(ABC):
    """A learner with a memory; its rule is `gradient`.

    One step: the gradient of the rule, clipped where ``training.clip_grad_norm`` says so, then the
    optimiser.

    Raises:
        UnavailableError: The suite names regularizers; a ring has no place for any sample of a
            task; or a ring would have to do without ids of tasks.
    """

    Params: ClassVar[type[Params]] = RehearsalParams
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]

    def __init__(self, params: RehearsalParams, context: LearnerContext) -> None:
        if context.regularizers:
            raise UnavailableError(f"{type(self).__name__} takes no regularizers")
        self._context = context
        self._net, self._layout = context.net, context.layout
        self._replay_batch_size = params.replay_batch_size
        self._parameters = FlatParameters(self._net.initial(context.generator("init")))
        self._optimiser = Optimiser(self._parameters, context.training)
        self._memory = _memory(params, context)
        self._task_id: int | None = None

    @abstractmethod
    def gradient(self, batch: Batch) -> Observation:
        """Leave the gradient of the rule in the parameters' gradients, which are zero."""

    def losses(self, batch: Batch, competing: int | Tensor | None) -> tuple[Tensor, Tensor]:
        """The loss of each sample, ``(B,)``, and the outputs that compete.

        Args:
            batch: Samples of one task, new or stored.
            competing: Whose outputs compete, as `OutputLayout.select` has it.
        """
        outputs = self._net(self._parameters.named, batch, Context(training=True))
        outputs = self._layout.select(outputs, competing)
        return self._context.objective.losses(outputs, batch), outputs

    def rehearsed(self) -> tuple[Tensor, int]:
        """The loss of some stored samples, summed, ``()``, and how many they are.

        In class-il a stored sample competes with all classes so far, not only with those that
        there were when it was new.
        """
        total, count = torch.zeros(()), 0
        is_growing = self._layout.scenario is Scenario.CLASS_IL
        for batch in self._memory.draw(self._replay_batch_size):
            losses, _ = self.losses(batch, self._task_id if is_growing else batch.task_id)
            total, count = total + losses.sum(), count + num_samples(batch)
        return total, count

    @property
    def num_parameters(self) -> int:
        """All weights of the main net."""
        return self._parameters.values.numel()

    def begin_task(self, task_id: int) -> None:
        """A task starts; the optimiser forgets its moments unless they are kept."""
        self._task_id = task_id
        if self._context.training.optimizer_state == "reset":
            self._optimiser.reset()

    def observe(self, batch: Batch) -> Observation:
        """One step of the rule."""
        self._parameters.zero_gradients()
        observation = self.gradient(batch)
        with torch.no_grad():
            clip = self._context.training.clip
            if clip is not None:
                self._parameters.clip_gradients(clip)
            self._optimiser.step()
        return observation

    def end_task(self, task_id: int, consolidation: TaskData) -> None:
        """Nothing, unless the rule stores samples now."""

    @torch.no_grad()
    def predict(self, query: Query) -> Tensor:
        """The competing outputs; changes no state."""
        outputs = self._net(self._parameters.detached, query, Context())
        return self._layout.select(outputs, query.task_id)

    def weights(self, task_id: int | None) -> NamedTensors:
        """The weights, whatever the task (`clbench.protocols.HasWeights`)."""
        return self._parameters.detached

    def gradients(self) -> NamedTensors:
        """Of the last step, as the optimiser saw them."""
        return self._parameters.split(self._parameters.gradients)

    def state(self) -> State:
        """Weights, moments, the net's state, and the memory."""
        return {
            "parameters": self._parameters.state(),
            "optimiser": self._optimiser.state(),
            "net": self._net.state(),
            "memory": self._memory.state(),
            "task_id": self._task_id,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._parameters.restore(state["parameters"])
        self._optimiser.restore(state["optimiser"])
        self._net.restore(state["net"])
        self._memory.restore(state["memory"])
        self._task_id = state["task_id"]


def _memory(params: RehearsalParams, context: LearnerContext) -> Memory:
    generator = context.generator("memory")
    if params.memory == "reservoir":
        return Reservoir(params.memory_size, generator)
    if context.layout.scenario is Scenario.TASK_FREE:
        raise UnavailableError("a ring of each task's samples needs ids of tasks; use a reservoir")
    K = context.layout.num_tasks
    if params.memory_size < K:
        raise UnavailableError(
            f"a memory of {params.memory_size} samples is too small for {K} tasks"
        )
    return Ring(params.memory_size // K, generator)
