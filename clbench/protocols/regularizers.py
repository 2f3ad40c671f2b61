"""Regularizers: penalties on the main net's parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Protocol

from torch import Tensor

from clbench.params import Params
from clbench.protocols.nets import MainNet, NamedTensors
from clbench.protocols.tasks import Batch, State
from clbench.scenario import Scenario


class Consolidation(Protocol):
    """What a regularizer may look at when a task ends."""

    @property
    def params(self) -> NamedTensors:
        """The parameters at the end of the task, detached."""

    @property
    def num_samples(self) -> int:
        """Size of the task's training set."""

    def batches(self, num_samples: int) -> Iterator[Batch]:
        """`num_samples` training samples of the ended task in all, in batches of at most 256.

        They come from a sweep that is shuffled for this call, whoever asked before.
        """

    def predicted(self, batch: Batch) -> Batch:
        """The batch with the targets that the learner would predict in place of the true ones.

        Raises:
            clbench.errors.UnavailableError: As of `Objective.predictions`.
        """

    def outputs(self, params: NamedTensors, batch: Batch) -> Tensor:
        """The competing outputs at any parameters, ``(W, B, n)`` or ``(B, n)``; differentiable.

        With the task's own context (masks, say), outside training: without dropout. Gradients
        are on or off as where it is called.
        """

    def squared_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Per parameter, the sum over samples of the squared gradient of a sample's task loss.

        No penalty is in it. Each value has the shape of its parameter.
        """

    def sample_gradients(
        self, batch: Batch, of: Callable[[Tensor], Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """Sample by sample, the gradient of a number that is made of the sample's outputs.

        Gradients are on in `of`, whatever they are where this is called, and what comes out is
        detached. Each value has the shape of its parameter.

        Args:
            batch: B samples.
            of: The competing outputs of all samples, ``(W, B, n)`` or ``(B, n)`` -> a number for
                each sample, ``(B,)``, or for each step of each sample, ``(W, B)``, which are then
                summed over steps. A sample's number depends on its own outputs only.
        """


Watch = Literal["task-gradient", "step"]


class Regularizer(Protocol):
    """A penalty that keeps parameters near values that served earlier tasks.

    It sees the main net's parameters, own or generated, by name. Constructed as
    ``Regularizer(params, net)``.

    Attributes:
        watches: What it must be shown at each training step; most need nothing. With
            ``"task-gradient"`` it implements `WatchesTaskGradient`, with ``"step"``
            `WatchesStep`, besides.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]

    def __init__(self, params: Any, net: MainNet) -> None: ...

    @property
    def watches(self) -> frozenset[Watch]:
        """See above."""

    def begin(self, params: NamedTensors) -> None:
        """Called once, before the first task, with the initial parameters."""

    def penalty(self, params: NamedTensors) -> Tensor | None:
        """The scalar to add to the task loss, differentiable; None: nothing to add now."""

    def consolidate(self, consolidation: Consolidation) -> None:
        """A task has ended (not called after the last one)."""

    def state(self) -> State:
        """Everything that `restore` needs to go on exactly as before."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


class WatchesTaskGradient(Protocol):
    """A regularizer that looks at the gradient of the task loss alone."""

    def after_task_gradient(self, gradients: NamedTensors, look_ahead: NamedTensors) -> None:
        """Called at each training step, before penalties are added.

        The tensors are valid during the call only.

        Args:
            gradients: Of the task loss alone, unclipped.
            look_ahead: The step that the live optimiser would take on `gradients`; taking it is
                only pretended: its moments are unchanged.
        """


class WatchesStep(Protocol):
    """A regularizer that looks at the step that was really taken."""

    def after_step(self, gradients: NamedTensors, steps: NamedTensors) -> None:
        """Called after each training step.

        The tensors are valid during the call only.

        Args:
            gradients: Of the total loss, clipped, as the optimiser saw them.
            steps: Parameters after the step minus before.
        """
