"""The plain learner: one main net, one optimiser, whatever regularizers the suite names.

Alone it is fine-tuning; under the runner's regimes it is also training from scratch
(independent), multitask training (joint) and cumulative training. One training step, in this
order, which regularizers may rely on:

1. the gradient of the task loss (mean over the batch);
2. regularizers that watch the task gradient see it, and the step the optimiser would take on it;
3. the gradients of all penalties are added;
4. the total gradient is clipped;
5. the optimiser steps;
6. regularizers that watch steps see the clipped total gradient and the step taken.
"""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor

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
    WatchesStep,
    WatchesTaskGradient,
)
from clbench.sample_gradients import WeightConsolidation
from clbench.scenario import ALL_SCENARIOS, Scenario


class FineTuningParams(Params):
    """The plain learner has no parameters of its own."""


class FineTuning:
    """Trains its own weights of the main net; see the module's text for the order of a step."""

    Params: ClassVar[type[Params]] = FineTuningParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    def __init__(self, params: FineTuningParams, context: LearnerContext) -> None:
        self._context = context
        self._net, self._layout = context.net, context.layout
        self._regularizers = context.regularizers
        self._clip = context.training.clip
        self._parameters = FlatParameters(self._net.initial(context.generator("init")))
        self._optimiser = Optimiser(self._parameters, context.training)
        for regularizer in self._regularizers:
            regularizer.begin(self._parameters.detached)
        self._gradient_watchers = [
            cast(WatchesTaskGradient, r) for r in self._regularizers if "task-gradient" in r.watches
        ]
        self._step_watchers = [
            cast(WatchesStep, r) for r in self._regularizers if "step" in r.watches
        ]

    @property
    def num_parameters(self) -> int:
        """All weights of the main net."""
        return self._parameters.values.numel()

    def forward_context(self, task_id: int | Tensor | None, training: bool) -> Context:
        """What a forward pass on samples of a task depends on besides weights and inputs.

        Learners that change the pass with the task override this.
        """
        return Context(training=training)

    def begin_task(self, task_id: int) -> None:
        """A task starts; the optimiser forgets its moments unless they are kept."""
        if self._context.training.optimizer_state == "reset":
            self._optimiser.reset()

    def observe(self, batch: Batch) -> Observation:
        """One training step."""
        parameters = self._parameters
        parameters.zero_gradients()
        context = self.forward_context(batch.task_id, training=True)
        outputs = self._net(parameters.named, batch, context)
        outputs = self._layout.select(outputs, batch.task_id)
        loss = self._context.objective.losses(outputs, batch).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self._show_task_gradient()
        penalties = self.penalties(parameters.named)
        if penalties:
            torch.stack(penalties).sum().backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self._step()
        return Observation(loss.detach(), outputs.detach())

    def penalties(self, weights: NamedTensors) -> list[Tensor]:
        """The terms that are added to the task loss, each ``()``; learners may add their own."""
        terms = (regularizer.penalty(weights) for regularizer in self._regularizers)
        return [term for term in terms if term is not None]

    def _show_task_gradient(self) -> None:
        if self._gradient_watchers:
            gradients = self._parameters.split(self._parameters.gradients)
            step = self._optimiser.look_ahead(self._parameters.gradients)
            look_ahead = self._parameters.split(step)
            for watcher in self._gradient_watchers:
                watcher.after_task_gradient(gradients, look_ahead)

    def _step(self) -> None:
        parameters = self._parameters
        if self._clip is not None:
            parameters.clip_gradients(self._clip)
        before = parameters.values.clone() if self._step_watchers else None
        self._optimiser.step()
        if before is not None:
            gradients = parameters.split(parameters.gradients)
            steps = parameters.split(parameters.values - before)
            for watcher in self._step_watchers:
                watcher.after_step(gradients, steps)

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Regularizers consolidate."""
        weights = self._parameters.detached
        context = self.forward_context(task_id, training=False)
        consolidation = WeightConsolidation(weights, data, self._context, context)
        for regularizer in self._regularizers:
            regularizer.consolidate(consolidation)

    @torch.no_grad()
    def predict(self, query: Query) -> Tensor:
        """The competing outputs; changes no state."""
        context = self.forward_context(query.task_id, training=False)
        outputs = self._net(self._parameters.detached, query, context)
        return self._layout.select(outputs, query.task_id)

    def weights(self, task_id: int | None) -> NamedTensors:
        """The weights, whatever the task (`clbench.protocols.HasWeights`)."""
        return self._parameters.detached

    def gradients(self) -> NamedTensors:
        """Of the last step, as the optimiser saw them."""
        return self._parameters.split(self._parameters.gradients)

    def state(self) -> State:
        """Weights, moments, and the states of net and regularizers."""
        return {
            "parameters": self._parameters.state(),
            "optimiser": self._optimiser.state(),
            "net": self._net.state(),
            "regularizers": [regularizer.state() for regularizer in self._regularizers],
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._parameters.restore(state["parameters"])
        self._optimiser.restore(state["optimiser"])
        self._net.restore(state["net"])
        for regularizer, saved in zip(self._regularizers, state["regularizers"], strict=True):
            regularizer.restore(saved)
