"""Main nets: functions of their parameters, inputs and context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from clbench.params import Params
from clbench.protocols.tasks import Kind, Query, SequenceSpec, State
from clbench.scenario import OutputLayout, Scenario

NamedTensors: TypeAlias = Mapping[str, Tensor]
"""Parameters (or gradients, steps) by name, in a fixed order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a forward pass depends on besides parameters and inputs.

    Attributes:
        gains: Factors on pre-activations by the name of the layer, ``(H,)`` or ``(B, H)``;
            empty: all ones. Masks per task are gains of 0 and 1.
        training: Whether the pass belongs to a training step (dropout, running statistics).
    """

    gains: Mapping[str, Tensor] = field(default_factory=dict)
    training: bool = False


class MainNet(Protocol):
    """The network that solves the tasks, as a function of its parameters.

    It holds no parameters: a learner supplies its own or generates them. Class attributes are
    those of every plugin class: `Params`, `version`, `scenarios`; also `kinds` of samples it
    takes. Constructed as ``Net(params, spec, layout)``.

    Attributes:
        shapes: Name -> shape of every parameter, in order.
        output_names: The parameters whose leading axis runs over the rows of the output layer.
        recurrent_blocks: Recurrent weight -> number of square blocks stacked in it (1 for a
            simple recurrent net, 4 for an LSTM).
        gain_sizes: Layer -> number of pre-activations that a context's gains may scale; empty
            where the net takes no gains.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]
    kinds: ClassVar[frozenset[Kind]]

    shapes: Mapping[str, tuple[int, ...]]
    output_names: tuple[str, ...]
    recurrent_blocks: Mapping[str, int]
    gain_sizes: Mapping[str, int]

    def __init__(self, params: Any, spec: SequenceSpec, layout: OutputLayout) -> None: ...

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Fresh parameters, drawn in the order of `shapes`."""

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """All outputs of the wanted steps: ``(W, B, num_outputs)`` or ``(B, num_outputs)``."""

    def state(self) -> State:
        """What is neither parameter nor gradient (running statistics); often empty."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


class DiffersInTraining(Protocol):
    """A main net whose predictions in training may be others than those at test.

    A suite that asks for such a net in a stream is refused: there the outputs of the training pass
    are scored as the prediction before the update.
    """

    @classmethod
    def training_differs(cls, params: Any) -> str | None:
        """What makes the difference, such as ``dropout``; None: nothing does."""


@runtime_checkable
class HasSampleGradients(Protocol):
    """A main net with a fast way to square the gradients of single samples."""

    def squared_gradients(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        loss_gradient: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """Per parameter, the sum over samples of the squared gradient of the sample's loss.

        Args:
            params: The parameters.
            query: B samples.
            context: Of the forward pass.
            loss_gradient: Outputs -> gradient of each sample's loss with respect to its outputs,
                of the shape of the outputs; called once, with gradients off.
        """


@runtime_checkable
class HasActivity(Protocol):
    """A main net that shows what its layers do."""

    def with_activity(
        self, params: NamedTensors, query: Query, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The outputs, and by layer the activity ``(B, H)`` or ``(B, C, H, W)`` before dropout."""


@runtime_checkable
class HasStatistics(Protocol):
    """A main net that tells of itself, such as the entropy of its duty cycles."""

    def statistics(self) -> dict[str, float]:
        """Name -> value, now; always the same names."""
