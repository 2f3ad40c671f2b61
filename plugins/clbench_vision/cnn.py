"""A convolutional net for pictures: convolutions, then hidden layers, then outputs.

Each convolution is followed by its activation, k-winners over the channels at each place,
max-pooling and dropout, as far as they are asked for; each hidden layer as in
`clbench_vision.mlp`. With the defaults it is the LeNet of Elsayed & Mahmood 2024, which has no
activation after its convolutions::

    conv 5x5 to 6, pool 2, conv 5x5 to 16, pool 2, hidden 120, relu, hidden 84, relu, outputs
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeInt, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import conv2d, linear, max_pool2d

from clbench.errors import ClbenchError
from clbench.params import Params
from clbench.protocols import Context, Kind, NamedTensors, Query, SequenceSpec, State
from clbench.replicas import inherited
from clbench.scenario import ALL_SCENARIOS, OutputLayout, Scenario
from clbench_sparse.k_winners import KWinners, KWinners2d, KWinnersParams

from .hidden import (
    ACTIVATIONS,
    Activation,
    Drawings,
    Fraction,
    Init,
    WeightMasks,
    Winners,
    difference_in_training,
    draw_weights,
    is_off_at_zero,
    relative_entropy,
    require_hidden_layers,
)
from .lockstep import LockstepCnn


class CnnParams(Params):
    """Parameters of the convolutional net."""

    channels: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (6, 16)
    """Channels of the convolutions."""
    kernel_size: PositiveInt = 5
    """Width and height of all kernels; their stride is 1."""
    padding: NonNegativeInt = 0
    """Zeros around each convolution's input, of pixels after their scaling."""
    pooling: PositiveInt = 2
    """Width, height and stride of max-pooling after each convolution; 1: none."""
    conv_activation: Activation = "linear"
    """After convolutions."""
    hidden_sizes: tuple[PositiveInt, ...] = (120, 84)
    """Units of the hidden layers after the convolutions."""
    activation: Activation = "relu"
    """Of the hidden layers."""
    init: Init = "fan-in"
    """Weights and biases uniform in ±1/sqrt(fan-in), or Xavier-uniform weights and zero biases."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability with which an output of any layer but the last is dropped in training."""
    conv_winners: KWinnersParams | None = None
    """At each place only the k largest channels are passed on; absent: all."""
    winners: KWinnersParams | None = None
    """Of each hidden layer only the k largest are passed on; absent: all."""
    conv_weight_density: Fraction | None = None
    """Fraction of non-zero weights of each channel's kernels; absent: all are."""
    weight_density: Fraction | None = None
    """Fraction of non-zero weights into each hidden unit; absent: all are."""

    @model_validator(mode="after")
    def _check(self) -> CnnParams:
        require_hidden_layers(
            self.hidden_sizes, winners=self.winners, weight_density=self.weight_density
        )
        return self


class Cnn:
    """A main net for pictures; see the module's text.

    Layers are called ``c1``, ``c2``, ... and ``h1``, ``h2``, ... where activity is looked up, and
    gains scale the hidden layers.
    """

    Params: ClassVar[type[Params]] = CnnParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classification"})

    output_names: tuple[str, ...] = ("W_out", "b_out")
    recurrent_blocks: Mapping[str, int] = {}

    def __init__(self, params: CnnParams, spec: SequenceSpec, layout: OutputLayout) -> None:
        if len(spec.input_shape) != 3:
            raise ClbenchError(f"a cnn takes pictures (C, H, W), not samples of {spec.input_shape}")
        self._params = params
        C, H, W = spec.input_shape
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (before, after) in enumerate(pairwise([C, *params.channels]), start=1):
            shapes |= {f"K{i}": (after, before, params.kernel_size, params.kernel_size)}
            shapes |= {f"k{i}": (after,)}
            H, W = (self._after(n) for n in (H, W))
            if min(H, W) < 1:
                raise ClbenchError(f"pictures of {spec.input_shape} are too small for {i} layers")
        widths = [params.channels[-1] * H * W, *params.hidden_sizes]
        for i, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
            shapes |= {f"W{i}": (fan_out, fan_in), f"b{i}": (fan_out,)}
        outputs = layout.num_outputs
        self.shapes: Mapping[str, tuple[int, ...]] = shapes | {
            "W_out": (outputs, widths[-1]),
            "b_out": (outputs,),
        }
        sizes = {f"h{i}": size for i, size in enumerate(params.hidden_sizes, start=1)}
        self.gain_sizes: Mapping[str, int] = sizes if is_off_at_zero(params.activation) else {}
        self._conv_activation = ACTIVATIONS[params.conv_activation]
        self._activation = ACTIVATIONS[params.activation]
        self.conv_winners: list[Winners] = (
            [KWinners2d(params.conv_winners, n, local=True) for n in params.channels]
            if params.conv_winners
            else []
        )
        self.winners: list[Winners] = (
            [KWinners(params.winners, n) for n in params.hidden_sizes] if params.winners else []
        )
        densities = {f"K{i + 1}": params.conv_weight_density for i in range(len(params.channels))}
        densities |= {f"W{i + 1}": params.weight_density for i in range(len(params.hidden_sizes))}
        self._masks = WeightMasks({name: d for name, d in densities.items() if d is not None})
        self._drawings = Drawings()

    def _after(self, size: int) -> int:
        """Width of a picture after one convolution and its pooling."""
        p = self._params
        return (size + 2 * p.padding - p.kernel_size + 1) // p.pooling

    @classmethod
    def lockstep_obstacle(cls, params: CnnParams) -> str | None:
        """Winners and zeros in the weights (`clbench.protocols.RunsInLockstep`)."""
        names = ("conv_winners", "winners", "conv_weight_density", "weight_density")
        obstacle = next((name for name in names if getattr(params, name)), None)
        return obstacle or inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Cnn]) -> LockstepCnn:
        """Nets of equal parameters, put together (`clbench.protocols.RunsInLockstep`)."""
        return LockstepCnn(replicas[0]._params, [net._drawings for net in replicas])

    @classmethod
    def training_differs(cls, params: CnnParams) -> str | None:
        """Dropout, or fewer or more winners at test (`clbench.protocols.DiffersInTraining`)."""
        return difference_in_training(params.dropout, params.conv_winners, params.winners)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Fresh weights; the zeros among them are drawn anew, and duty cycles start again."""
        weights = draw_weights(self.shapes, self._params.init, generator)
        weights = self._masks.draw(weights, generator)
        for winners in (*self.conv_winners, *self.winners):
            winners.reset()
        if self._params.dropout:
            self._drawings.reset(generator)
        return weights

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """Logits ``(B, num_outputs)``."""
        return self._forward(params, query, context, None)

    def with_activity(
        self, params: NamedTensors, query: Query, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the activity of each layer (`clbench.protocols.HasActivity`)."""
        activity: dict[str, Tensor] = {}
        return self._forward(params, query, context, activity), activity

    def _forward(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        activity: dict[str, Tensor] | None,
    ) -> Tensor:
        p, x = self._params, query.inputs
        for i in range(1, len(p.channels) + 1):
            kernel = self._masks.apply(f"K{i}", params[f"K{i}"])
            x = conv2d(x, kernel, params[f"k{i}"], padding=p.padding)
            x = self._conv_activation(x)
            if self.conv_winners:
                x = self.conv_winners[i - 1](x, context.training)
            if activity is not None:
                activity[f"c{i}"] = x
            x = max_pool2d(x, p.pooling) if p.pooling > 1 else x
            x = self._drop(x, context)
        x = x.flatten(1)
        for i in range(1, len(p.hidden_sizes) + 1):
            a = linear(x, self._masks.apply(f"W{i}", params[f"W{i}"]), params[f"b{i}"])
            gain = context.gains.get(f"h{i}")
            x = self._activation(a if gain is None else a * gain)
            if self.winners:
                x = self.winners[i - 1](x, context.training)
            if activity is not None:
                activity[f"h{i}"] = x
            x = self._drop(x, context)
        return linear(x, params["W_out"], params["b_out"])

    def _drop(self, x: Tensor, context: Context) -> Tensor:
        if not context.training or not self._params.dropout:
            return x
        return self._drawings.drop(x, self._params.dropout)

    def statistics(self) -> dict[str, float]:
        """Entropies of duty cycles over the largest possible ones; densities of weights."""
        layers = [(f"c{i}", w) for i, w in enumerate(self.conv_winners, start=1)]
        layers += [(f"h{i}", w) for i, w in enumerate(self.winners, start=1)]
        found = {f"duty_cycle_entropy_{name}": relative_entropy(w) for name, w in layers}
        return self._masks.densities() | found

    def state(self) -> State:
        """Duty cycles, masks, and the generator of dropout."""
        return {
            "winners": [winners.state() for winners in (*self.conv_winners, *self.winners)],
            "masks": self._masks.state(),
            "drawings": self._drawings.state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        layers = (*self.conv_winners, *self.winners)
        for winners, saved in zip(layers, state["winners"], strict=True):
            winners.restore(saved)
        self._masks.restore(state["masks"])
        self._drawings.restore(state["drawings"])
