"""A learner that trains its own weights of the main net: what most methods begin with.

As it is, it is plain training. A method overrides the one thing it does in its own way:

* `gradient`, where the gradient comes from something else than the loss of the batch;
* `step`, where the weights move by another rule;
* `forward_context`, where a forward pass depends on the task;
* `begin_task` and `end_task`, where something happens between tasks.

Besides, it gives the class attributes of every learner (`Params`, `version`, `scenarios`), passes
the context to ``super().__init__``, and adds what it remembers to `state` and `restore`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clbench.optimisation import FlatParameters, Optimiser
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


class WeightLearner:
    """Trains weights of the main net by gradient steps; see the module's text.

    Attributes:
        context: What the learner was built from.
        net: The main net, a function of its weights.
        layout: Which outputs belong to which task.
        parameters: The weights.
        optimiser: Moves the weights along their gradients.
    """

    def __init__(self, context: LearnerContext) -> None:
        self.context = context
        self.net, self.layout = context.net, context.layout
        self.parameters = FlatParameters(self.net.initial(context.generator("init")))
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
        loss = losses.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return Observation(loss.detach(), outputs.detach())

    def losses(self, batch: Batch, competing: int | Tensor | None) -> tuple[Tensor, Tensor]:
        """The task loss of each sample, ``(B,)``, and the outputs that compete; differentiable.

        Args:
            batch: Samples.
            competing: Whose outputs compete, as `OutputLayout.select` has it.
        """
        context = self.forward_context(batch.task_id, training=True)
        outputs = self.layout.select(self.net(self.parameters.named, batch, context), competing)
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
