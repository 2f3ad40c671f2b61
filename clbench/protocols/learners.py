"""Learners: a model, and the rule by which it learns one task after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from clbench.config import Regime, Training
from clbench.params import Params
from clbench.protocols.nets import MainNet, NamedTensors
from clbench.protocols.regularizers import Regularizer
from clbench.protocols.tasks import (
    CPU,
    Batch,
    Objective,
    Query,
    SequenceSpec,
    State,
    TaskData,
)
from clbench.scenario import OutputLayout, Scenario


@dataclass(frozen=True, slots=True)
class Observation:
    """What a learner reports of one training step.

    Attributes:
        loss: The task loss before the step, mean over the batch, without penalties; shape ``()``,
            detached and not yet read (no device synchronisation).
        outputs: The competing outputs before the step, detached.
    """

    loss: Tensor
    outputs: Tensor


class NetBuilder(Protocol):
    """Makes a net of the suite's model."""

    def __call__(
        self, spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]
    ) -> MainNet:
        """The net, with `changes` of the model's parameters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerContext:
    """What a learner is built from.

    Attributes:
        spec: What the tasks give.
        net: The main net, a function of its parameters.
        layout: Which outputs belong to which task.
        objective: Loss and score of the tasks.
        training: Optimiser and step settings.
        regularizers: In the order of the suite.
        generator: A generator for a purpose, such as ``generator("init")``; equal purposes give
            equal draws, different purposes independent ones.
        model_seed: The seed itself, for sources that specify their draws by it.
        build_net: Makes another net of the suite's model, for other inputs and outputs, with some
            of its parameters changed: ``build_net(spec, layout, {"task_input": True})``.
        build_regularizers: Makes the suite's regularizers anew, for another net.
        device: Where batches arrive, and where the learner keeps its tensors; what it draws it
            draws on the CPU, and moves.
    """

    spec: SequenceSpec
    net: MainNet
    layout: OutputLayout
    objective: Objective
    training: Training
    regularizers: tuple[Regularizer, ...]
    generator: Callable[[str], torch.Generator]
    model_seed: int
    build_net: NetBuilder
    build_regularizers: Callable[[MainNet], tuple[Regularizer, ...]]
    device: torch.device = CPU


class Learner(Protocol):
    """A model together with the rule by which it learns one task after another.

    Constructed as ``Learner(params, context)``. A learner that does not serve all regimes says so
    (`ServesSomeRegimes`). It uses ``context.regularizers``, or raises
    `clbench.errors.UnavailableError` where there are any: a record names them.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]

    def __init__(self, params: Any, context: LearnerContext) -> None: ...

    @property
    def num_parameters(self) -> int:
        """Trained numbers, all tasks together."""

    def begin_task(self, task_id: int) -> None:
        """A task starts. Never called in task-free streams."""

    def observe(self, batch: Batch) -> Observation:
        """One optimisation step on `batch`."""

    def end_task(self, task_id: int, data: TaskData) -> None:
        """A task has ended and another will follow."""

    def predict(self, query: Query) -> Tensor:
        """The competing outputs, ``(W, B, n)`` or ``(B, n)``, detached. Changes no state."""

    def state(self) -> State:
        """Everything that `restore` needs to go on exactly as before."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned, in a learner built from an equal context.

        Tensors of a checkpoint come on the CPU, on whatever device they were.
        """


class ServesSomeRegimes(Protocol):
    """A learner that cannot be trained under every regime; a suite that asks for it is refused.

    Under ``joint`` and ``cumulative`` batches mix tasks (``batch.task_id`` is a (B,) tensor where
    it is given); under ``independent`` every task has a learner of its own, which begins with it.
    """

    regimes: ClassVar[frozenset[Regime]]
    """Those that it serves; without this attribute: all."""


@runtime_checkable
class HasWeights(Protocol):
    """A learner that shows the weights of its main net, own or generated."""

    def weights(self, task_id: int | None) -> NamedTensors:
        """The weights that serve a task (None: the id is withheld), detached."""

    def gradients(self) -> NamedTensors:
        """The gradient of the last step on its own weights; empty where it has none."""


@runtime_checkable
class HasArtefacts(Protocol):
    """A learner that has something worth looking at besides its scores."""

    def artefacts(self) -> NamedTensors:
        """Name -> matrix, detached: a few thousand numbers at most, for they go into the record.

        Asked once, when everything is learnt. ``task_embeddings``, (K, E), is shown as a plane.
        """
