"""What all rules for streams share: one main net, and one flat step on its weights per batch.

At step t, counted from 1, a learner takes the gradient g of the mean loss of the batch at the
weights p, and a rule turns p and g into the next p. Nothing else happens: no replay, no penalties,
nothing at the boundaries of tasks. Rules work on flat buffers of all P weights, in place, and
never read a number back from the device.

Noise is one standard normal number for each weight and step (`clbench_streaming.noise`), in the
order of the weights, and none at all in rules that add none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from clbench.errors import UnavailableError
from clbench.optimisation import FlatParameters
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
from clbench.scenario import ALL_SCENARIOS, Scenario

from .noise import Noise

P = TypeVar("P", bound=Params)

_TRAINING = Context(training=True)
_PREDICTING = Context(training=False)


class StreamLearner(ABC, Generic[P]):
    """A learner whose rule is its `step`; see the module's text.

    The step size alpha is ``training.learning_rate``. Of ``training``, the optimiser and what
    becomes of its state are not looked at: the rule is the optimiser.

    Raises:
        UnavailableError: The suite names regularizers, or sets ``training.weight_decay`` or
            ``training.clip_grad_norm``; a streaming rule has no place for them.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    def __init__(self, params: P, context: LearnerContext) -> None:
        _refuse_what_has_no_place(type(self).__name__, context)
        self._params = params
        self._net, self._layout = context.net, context.layout
        self._objective = context.objective
        self._alpha = context.training.learning_rate
        self._noise = Noise(context.generator("noise"))
        self._parameters = FlatParameters(self._net.initial(context.generator("init")))
        self._p = self._parameters.values  # (P,)
        self._g = self._parameters.gradients  # (P,)
        self._traces: dict[str, Tensor] = {}
        self._t = 0

    def new_trace(self, name: str) -> Tensor:
        """A buffer of P zeros that `state` and `restore` take care of; rules change it in place."""
        self._traces[name] = torch.zeros_like(self._p)
        return self._traces[name]

    @abstractmethod
    def step(self, t: int) -> None:
        """Move the weights ``self._p`` along the gradient ``self._g``, which stays as it is.

        Args:
            t: Number of this step, from 1.
        """

    @property
    def num_parameters(self) -> int:
        """All weights of the main net."""
        return self._p.numel()

    def begin_task(self, task_id: int) -> None:
        """Nothing: a rule for streams knows of no tasks."""

    def observe(self, batch: Batch) -> Observation:
        """One step of the rule."""
        parameters = self._parameters
        parameters.zero_gradients()
        outputs = self._net(parameters.named, batch, _TRAINING)
        outputs = self._layout.select(outputs, batch.task_id)
        loss = self._objective.losses(outputs, batch).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        self._t += 1
        with torch.no_grad():
            self.step(self._t)
        return Observation(loss.detach(), outputs.detach())

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Nothing: a rule for streams knows of no tasks."""

    @torch.no_grad()
    def predict(self, query: Query) -> Tensor:
        """The competing outputs; changes no state."""
        outputs = self._net(self._parameters.detached, query, _PREDICTING)
        return self._layout.select(outputs, query.task_id)

    def weights(self, task_id: int | None) -> NamedTensors:
        """The weights, whatever the task (`clbench.protocols.HasWeights`)."""
        return self._parameters.detached

    def gradients(self) -> NamedTensors:
        """Of the last step: of the loss alone, without noise or decay."""
        return self._parameters.split(self._g)

    def state(self) -> State:
        """Weights, number of steps, traces of the rule, noise generator, and the net's state."""
        return {
            "parameters": self._parameters.state(),
            "t": self._t,
            "traces": {name: trace.clone() for name, trace in self._traces.items()},
            "noise": self._noise.state(),
            "net": self._net.state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._parameters.restore(state["parameters"])
        self._t = state["t"]
        for name, trace in self._traces.items():
            trace.copy_(state["traces"][name])
        self._noise.restore(state["noise"])
        self._net.restore(state["net"])


def _refuse_what_has_no_place(learner: str, context: LearnerContext) -> None:
    if context.regularizers:
        names = ", ".join(type(regularizer).__name__ for regularizer in context.regularizers)
        raise UnavailableError(f"{learner} is a rule for streams and takes no penalties: {names}")
    training = context.training
    if training.weight_decay:
        raise UnavailableError(
            f"{learner} decays weights by a parameter of its own, "
            f"and training.weight_decay is {training.weight_decay}"
        )
    if training.clip is not None:
        raise UnavailableError(
            f"{learner} clips no gradients, and training.clip_grad_norm is {training.clip}"
        )
