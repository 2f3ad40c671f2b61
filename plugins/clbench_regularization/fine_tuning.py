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

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import torch
from torch import Tensor

from clbench import graphs
from clbench.params import Params
from clbench.penalties import penalties
from clbench.protocols import (
    Batch,
    LearnerContext,
    NamedTensors,
    Observation,
    Regularizer,
    State,
    TaskData,
    WatchesStep,
    WatchesTaskGradient,
)
from clbench.sample_gradients import WeightConsolidation
from clbench.scenario import ALL_SCENARIOS, Scenario
from clbench.weight_learner import WeightLearner


class FineTuningParams(Params):
    """The plain learner has no parameters of its own."""


class FineTuning(WeightLearner):
    """A learner whose weights are regularized; see the module's text for the order of a step."""

    Params: ClassVar[type[Params]] = FineTuningParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS
    uses_regularizers: ClassVar[bool] = True

    def __init__(self, params: FineTuningParams, context: LearnerContext) -> None:
        super().__init__(context)
        for regularizer in context.regularizers:
            regularizer.begin(self.parameters.detached)
        self._take_on(context.regularizers)

    def _take_on(self, regularizers: Sequence[Regularizer]) -> None:
        self._regularizers = regularizers
        self._gradient_watchers = [
            cast(WatchesTaskGradient, r) for r in self._regularizers if "task-gradient" in r.watches
        ]
        self._step_watchers = [
            cast(WatchesStep, r) for r in self._regularizers if "step" in r.watches
        ]

    def gradient(self, batch: Batch) -> Observation:
        """Of the task loss and of all penalties."""
        observation = super().gradient(batch)
        with torch.no_grad():
            self._show_task_gradient()
        terms = self.penalties(self.parameters.named)
        if terms:
            self.parameters.add_gradients(torch.stack(terms).sum())
        return observation

    def penalties(self, weights: NamedTensors) -> list[Tensor]:
        """The terms that are added to the task loss, each ``()``; learners may add their own.

        In lockstep they are sums over replicas.
        """
        return penalties(self._regularizers, weights)

    def _show_task_gradient(self) -> None:
        if self._gradient_watchers:
            gradients = self.parameters.named_gradients
            step = self.optimiser.look_ahead(self.parameters.gradients)
            look_ahead = self.parameters.split(step)
            for watcher in self._gradient_watchers:
                watcher.after_task_gradient(gradients, look_ahead)

    def step(self) -> None:
        """Clip, move the weights, and show the step to those who watch."""
        parameters = self.parameters
        before = parameters.values.clone() if self._step_watchers else None
        super().step()
        if before is not None:
            gradients = parameters.named_gradients
            steps = parameters.split(parameters.values - before)
            for watcher in self._step_watchers:
                watcher.after_step(gradients, steps)

    def join(self, replicas: Sequence[Any]) -> None:
        """The regularizers of all replicas are put together."""
        super().join(replicas)
        self._take_on(self.context.regularizers)

    def graph_obstacle(self) -> str | None:
        """That of the net or of a regularizer (`clbench.protocols.RunsAsGraph`)."""
        return graphs.obstacle(self.net, *self._regularizers)

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Regularizers consolidate."""
        weights = self.parameters.detached
        context = self.forward_context(task_id, training=False)
        consolidation = WeightConsolidation(weights, data, self.context, context)
        for regularizer in self._regularizers:
            regularizer.consolidate(consolidation)

    def state(self) -> State:
        """The base's, with the states of the regularizers."""
        return super().state() | {
            "regularizers": [regularizer.state() for regularizer in self._regularizers]
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        super().restore(state)
        for regularizer, saved in zip(self._regularizers, state["regularizers"], strict=True):
            regularizer.restore(saved)
