"""A learner that trains its own weights of the main net: what most methods begin with.

As it is, it is plain training. A method overrides the one thing it does in its own way:

* `gradient`, where the gradient comes from something else than the loss of the batch;
* `step`, where the weights move by another rule;
* `forward_context`, where a forward pass depends on the task;
* `begin_task` and `end_task`, where something happens between tasks;
* `join`, where cells of several seeds can learn as one program (`clbench.protocols.lockstep`).

Besides, it gives the class attributes of every learner (`Params`, `version`, `scenarios`), passes
the context to ``super().__init__``, and adds what it remembers to `state` and `restore`. Plain
training looks at no regularizers, and where a suite names some it is refused; a class that uses
those of the context says so by ``uses_regularizers = True``.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar

import torch
from torch import Tensor

from clbench.errors import ClbenchError, UnavailableError
from clbench.optimisation import FlatParameters, Optimiser, StackedOptimiser, StackedParameters
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
from clbench.replicas import Program, inherited, joint_context


class WeightLearner:
    """Trains weights of the main net by gradient steps; see the module's text.

    Attributes:
        context: What the learner was built from.
        net: The main net, a function of its weights.
        layout: Which outputs belong to which task.
        parameters: The weights.
        optimiser: Moves the weights along their gradients.

    Raises:
        UnavailableError: The suite names regularizers, and the class does not say that it uses
            them.
    """

    uses_regularizers: ClassVar[bool] = False
    """Whether the class does with ``context.regularizers`` what a regularizer is promised."""

    def __init__(self, context: LearnerContext) -> None:
        if context.regularizers and not self.uses_regularizers:
            names = ", ".join(type(regularizer).__name__ for regularizer in context.regularizers)
            raise UnavailableError(f"{type(self).__name__} takes no regularizers: {names}")
        self.context = context
        self.net, self.layout = context.net, context.layout
        initial = self.net.initial(context.generator("init"))
        self.parameters = FlatParameters(initial, context.device)
        self.optimiser = Optimiser(self.parameters, context.training)

    @property
    def num_parameters(self) -> int:
        """All weights of the main net."""
        return self.parameters.values.numel()

    def begin_task(self, task_id: int) -> None:
        """A task starts; the optimiser forgets its moments unless they are kept."""
        if self.context.training.optimizer_state == "reset":
            self.optimiser.reset()

    def observe(self, batch: Batch) -> Observation:
        """One training step: `gradient`, then `step`."""
        self.parameters.zero_gradients()
        observation = self.gradient(batch)
        with torch.no_grad():
            self.step()
        return observation

    def gradient(self, batch: Batch) -> Observation:
        """Add the gradient of the step to the parameters' gradients, which are zero.

        Here: of the task loss, mean over the batch.
        """
        losses, outputs = self.losses(batch, batch.task_id)
        loss = losses.mean(-1)
        self.parameters.add_gradients(loss.sum())
        return Observation(loss.detach(), outputs.detach())

    def losses(self, batch: Batch, competing: int | Tensor | None) -> tuple[Tensor, Tensor]:
        """The task loss of each sample, ``(B,)``, and the outputs that compete; differentiable.

        Args:
            batch: Samples.
            competing: Whose outputs compete, as `OutputLayout.select` has it.
        """
        context = self.forward_context(batch.task_id, training=True)
        outputs = self.net(self.parameters.named, batch, context)
        outputs = self.layout.select(outputs, competing, batch.num_tasks)
        return self.context.objective.losses(outputs, batch), outputs

    def step(self) -> None:
        """Clip the gradients where the suite says so, and move the weights; without autograd."""
        clip = self.context.training.clip
        if clip is not None:
            self.parameters.clip_gradients(clip)
        self.optimiser.step()

    def forward_context(self, task_id: int | Tensor | None, training: bool) -> Context:
        """What a forward pass on samples of a task depends on besides weights and inputs."""
        return Context(training=training)

    def end_task(self, task_id: int, data: TaskData) -> None:
        """A task has ended, and another will follow. Here: nothing."""

    @torch.no_grad()
    def predict(self, query: Query) -> Tensor:
        """The competing outputs; changes no state."""
        context = self.forward_context(query.task_id, training=False)
        outputs = self.net(self.parameters.detached, query, context)
        return self.layout.select(outputs, query.task_id)

    def weights(self, task_id: int | None) -> NamedTensors:
        """The weights, whatever the task (`clbench.protocols.HasWeights`)."""
        return self.parameters.detached

    def gradients(self) -> NamedTensors:
        """Of the last step, as the optimiser saw them."""
        return self.parameters.split(self.parameters.gradients)

    @classmethod
    def lockstep_obstacle(cls, params: Any) -> str | None:
        """Where a class inherits `join` (`clbench.protocols.RunsInLockstep`)."""
        return inherited(cls, "join")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Any]) -> WeightLearners:
        """Learners of several seeds, put together (`clbench.protocols.RunsInLockstep`).

        Raises:
            ClbenchError: The class inherits `join`.
        """
        obstacle = inherited(cls, "join")
        if obstacle is not None:
            raise ClbenchError(f"{cls.__name__} cannot run in lockstep: {obstacle}")
        together = copy(replicas[0])
        together.join(replicas)
        return WeightLearners(together)

    def join(self, replicas: Sequence[Any]) -> None:
        """Become R learners at once, for the training steps of a task.

        The learner is a copy of the first replica. Whatever differs between replicas, or changes
        in a step, is replaced by that of all: tensors by those with a leading replica axis, and
        what is drawn by draws from the generators of all. The replicas see what changes. From then
        on `observe` is called, and so each hook of a step with stacked tensors: parameters
        ``(R, ...)``, inputs ``(R, S, B, F)``, losses ``(R, B)``, and penalties ``()`` that are
        sums over replicas.

        A class runs in lockstep only if it has a `join` of its own, as what it overrides may not
        take a leading axis.
        """
        self.context = joint_context([replica.context for replica in replicas])
        self.net = self.context.net
        self.parameters = StackedParameters([replica.parameters for replica in replicas])
        self.optimiser = StackedOptimiser(
            [replica.optimiser for replica in replicas], self.parameters
        )

    def state(self) -> State:
        """Weights, moments, and the net's state."""
        return {
            "parameters": self.parameters.state(),
            "optimiser": self.optimiser.state(),
            "net": self.net.state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self.parameters.restore(state["parameters"])
        self.optimiser.restore(state["optimiser"])
        self.net.restore(state["net"])


class WeightLearners(Program):
    """R learners in lockstep."""

    learner: WeightLearner

    def weights(self, task_id: int | None) -> NamedTensors:
        """Of all replicas, ``(R, ...)`` (`clbench.protocols.HasLockstepWeights`)."""
        return self.learner.weights(task_id)
