"""What all rules for streams share: one main net, and one flat step on its weights per batch.

At step t, counted from 1, a learner takes the gradient g of the mean loss of the batch at the
weights p, and a rule turns p and g into the next p. Nothing else happens: no replay, no penalties,
nothing at the boundaries of tasks. Rules work on flat buffers of all P weights, in place, and
never read a number back from the device. In lockstep the buffers are ``(R, P)``.

Noise is one standard normal number for each weight and step (`clbench_streaming.noise`), in the
order of the weights, and none at all in rules that add none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from copy import copy
from typing import Any, ClassVar, Generic, TypeVar

import torch
from torch import Tensor

from clbench.errors import UnavailableError
from clbench.optimisation import FlatParameters, StackedParameters
from clbench.params import Params
from clbench.protocols import (
    Batch,
    Context,
    HasLockstepGradients,
    LearnerContext,
    LockstepNet,
    NamedTensors,
    Observation,
    Query,
    State,
    TaskData,
)
from clbench.replicas import (
    LockstepObjective,
    inherited,
    joint_tensors,
    observations,
    put_together,
    stacked,
)
from clbench.scenario import ALL_SCENARIOS, Scenario

from .noise import Noise, NoiseRows

P = TypeVar("P", bound=Params)

_TRAINING = Context(training=True)
_PREDICTING = Context(training=False)

_TOGETHER = 2**18
"""Weights of as many replicas as take their steps at once; others take theirs one by one."""


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
        self._fill_with_noise = self._noise.fill
        initial = self._net.initial(context.generator("init"))
        self._parameters = FlatParameters(initial, context.device)
        self._traces: dict[str, Tensor] = {}
        self._scratch: dict[str, Tensor] = {}
        self._t = 0

    @property
    def _p(self) -> Tensor:
        """The weights, ``(P,)`` or ``(R, P)``."""
        return self._parameters.values

    @property
    def _g(self) -> Tensor:
        """The gradient, of the shape of the weights."""
        return self._parameters.gradients

    def trace(self, name: str) -> Tensor:
        """A buffer, at first of zeros, that `state` keeps; rules ask in `bind` and change it."""
        if name not in self._traces:
            self._traces[name] = torch.zeros_like(self._p)
        return self._traces[name]

    def scratch(self, name: str) -> Tensor:
        """A buffer of P numbers that mean nothing from one step to the next."""
        if name not in self._scratch:
            self._scratch[name] = torch.empty_like(self._p)
        return self._scratch[name]

    def bind(self) -> None:
        """Take hold of buffers: at the beginning, and whenever they are others."""

    def _join(
        self, replicas: Sequence[StreamLearner[P]], values: Tensor, gradients: Tensor
    ) -> None:
        """Become R learners at once, for their steps: a copy of the first of them does.

        Weights, gradients and traces of the replicas are rows of its own from then on.
        """
        self._parameters = copy(self._parameters)
        self._parameters.move(values, gradients)
        self._fill_with_noise = NoiseRows([replica._noise for replica in replicas]).fill
        self._traces = joint_tensors([replica._traces for replica in replicas])
        self._scratch = {}
        self.bind()
        for r, replica in enumerate(replicas):
            replica._traces = {name: rows[r] for name, rows in self._traces.items()}
            replica.bind()

    def _share_scratch(self, other: StreamLearner[P]) -> None:
        """Use the scratch of another learner, so that it stays in the processor's cache."""
        self._scratch = other._scratch
        self._noise.share_scratch(other._noise)
        self.bind()

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
        outputs = self._layout.select(outputs, batch.task_id, batch.num_tasks)
        loss = self._objective.losses(outputs, batch).mean()
        loss.backward()
        self._t += 1
        with torch.no_grad():
            self.step(self._t)
        return Observation(loss.detach(), outputs.detach())

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Nothing: a rule for streams knows of no tasks."""

    @classmethod
    def lockstep_obstacle(cls, params: P) -> str | None:
        """None for a rule that says so by an `in_lockstep` of its own."""
        return inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[StreamLearner[P]]) -> StreamLearners:
        """Learners of several seeds, put together (`clbench.protocols.RunsInLockstep`).

        A rule whose step takes every weight by itself, or the weights of a replica along the last
        axis, says by overriding this that its ``(P,)`` may be ``(R, P)``.
        """
        return StreamLearners(replicas)

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


class StreamLearners:
    """Learners of R seeds in lockstep.

    The gradients of all are taken at once, and then the steps of some replicas at a time: of so
    few that their weights, and what is computed of them, stay in the cache.
    """

    def __init__(self, replicas: Sequence[StreamLearner[Any]]) -> None:
        first = replicas[0]
        self._replicas = replicas
        self._parameters = StackedParameters([replica._parameters for replica in replicas])
        rows = _TOGETHER // first.num_parameters
        self._blocks = replicas
        for replica in replicas:
            replica._share_scratch(first)
        if rows > 1:
            self._blocks = _blocks(replicas, self._parameters, rows)
        self._net: LockstepNet = put_together([replica._net for replica in replicas])
        self._layout, self._objective = first._layout, LockstepObjective(first._objective)

    def observe(self, batches: Sequence[Batch]) -> Sequence[Observation]:
        """One step of the rule in each replica."""
        batch = stacked(batches)
        losses, outputs = self._differentiate(batch)
        with torch.no_grad():
            for replica in self._replicas:
                replica._t += 1
            for block in self._blocks:
                block.step(self._replicas[0]._t)
        return observations(losses, outputs, batch, batches)

    def _differentiate(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Take the gradients; the losses ``(R,)`` and competing outputs ``(R, ..., B, n)``."""
        net, parameters = self._net, self._parameters
        seen: list[Tensor] = []

        def losses(outputs: Tensor) -> Tensor:
            selected = self._layout.select(outputs, batch.task_id, batch.num_tasks)
            found = self._objective.losses(selected, batch).mean(1)
            seen[:] = [found.detach(), selected.detach()]
            return found.sum()

        def loss_gradient(outputs: Tensor) -> Tensor:
            leaf = outputs.detach().requires_grad_()
            with torch.enable_grad():
                return torch.autograd.grad(losses(leaf), leaf)[0]

        if isinstance(net, HasLockstepGradients):
            net.backpropagate(
                parameters.detached, batch, _TRAINING, loss_gradient, parameters.named_gradients
            )
        else:
            parameters.zero_gradients()
            parameters.add_gradients(losses(net(parameters.named, batch, _TRAINING)))
        return seen[0], seen[1]

    def weights(self, task_id: int | None) -> NamedTensors:
        """Of all replicas, ``(R, ...)`` (`clbench.protocols.HasLockstepWeights`)."""
        return self._parameters.detached


def _blocks(
    replicas: Sequence[StreamLearner[Any]], parameters: StackedParameters, rows: int
) -> Sequence[StreamLearner[Any]]:
    """Learners that each take the steps of some replicas."""
    blocks = []
    for start in range(0, len(replicas), rows):
        some, block = slice(start, start + rows), copy(replicas[start])
        block._join(replicas[some], parameters.values[some], parameters.gradients[some])
        blocks.append(block)
    return blocks


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
