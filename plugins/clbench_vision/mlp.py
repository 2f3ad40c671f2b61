"""The multi-layer perceptron for pictures (flattened) and vectors.

With ``x_0`` the input, hidden layers ``i = 1 .. n`` and the activation s::

    a_i = g_i * (W_i x_{i-1} + b_i)
    x_i = dropout(winners(s(a_i)))
    o = W_out x_n + b_out

The gains g are 1 unless a context sets them. Winners, dropout and zeros in the weights are off
unless asked for; the output layer is always dense. With winners on raw pre-activations the
activation is ``linear``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor
from torch.nn.functional import linear

from clbench.params import Params
from clbench.protocols import Context, Kind, NamedTensors, Query, SequenceSpec, State
from clbench.replicas import inherited
from clbench.scenario import ALL_SCENARIOS, OutputLayout, Scenario
from clbench_sparse.k_winners import KWinners, KWinnersParams

from .hidden import (
    ACTIVATIONS,
    Activation,
    Drawings,
    Fraction,
    Init,
    WeightMasks,
    difference_in_training,
    draw_weights,
    is_off_at_zero,
    relative_entropy,
    require_hidden_layers,
)
from .lockstep import LockstepMlp


class MlpParams(Params):
    """Parameters of the multi-layer perceptron."""

    hidden_sizes: tuple[PositiveInt, ...] = (400, 400)
    """Units of the hidden layers; empty: a linear net."""
    activation: Activation = "relu"
    """Of the hidden layers."""
    init: Init = "fan-in"
    """Weights and biases uniform in ±1/sqrt(fan-in), or Xavier-uniform weights and zero biases."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability with which a hidden unit is dropped in training."""
    winners: KWinnersParams | None = None
    """Of each hidden layer only the k largest are passed on; absent: all."""
    weight_density: Fraction | None = None
    """Fraction of non-zero weights into each hidden unit; absent: all are."""

    @model_validator(mode="after")
    def _check(self) -> MlpParams:
        require_hidden_layers(
            self.hidden_sizes,
            dropout=self.dropout,
            winners=self.winners,
            weight_density=self.weight_density,
        )
        return self


class Mlp:
    """A main net for pictures and vectors; see the module's text for its equations.

    Hidden layers are called ``h1``, ``h2``, ... where gains and activity are looked up.
    """

    Params: ClassVar[type[Params]] = MlpParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS
    kinds: ClassVar[frozenset[Kind]] = frozenset({"classification", "regression"})

    output_names: tuple[str, ...] = ("W_out", "b_out")
    recurrent_blocks: Mapping[str, int] = {}

    def __init__(self, params: MlpParams, spec: SequenceSpec, layout: OutputLayout) -> None:
        self._params = params
        inputs = torch.Size(spec.input_shape).numel()
        widths = [inputs, *params.hidden_sizes]
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (fan_in, fan_out) in enumerate(pairwise(widths), start=1):
            shapes |= {f"W{i}": (fan_out, fan_in), f"b{i}": (fan_out,)}
        outputs = layout.num_outputs
        self.shapes: Mapping[str, tuple[int, ...]] = shapes | {
            "W_out": (outputs, widths[-1]),
            "b_out": (outputs,),
        }
        self._layers = range(1, len(widths))
        sizes = {f"h{i}": size for i, size in enumerate(params.hidden_sizes, start=1)}
        self.gain_sizes: Mapping[str, int] = sizes if is_off_at_zero(params.activation) else {}
        self._activation = ACTIVATIONS[params.activation]
        winners = params.winners
        self.winners = [KWinners(winners, n) for n in params.hidden_sizes] if winners else []
        density = params.weight_density
        self._masks = WeightMasks({f"W{i}": density for i in self._layers} if density else {})
        self._drawings = Drawings()

    @classmethod
    def lockstep_obstacle(cls, params: MlpParams) -> str | None:
        """Winners and zeros in the weights (`clbench.protocols.RunsInLockstep`)."""
        names = ("winners", "weight_density")
        obstacle = next((name for name in names if getattr(params, name)), None)
        return obstacle or inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Mlp]) -> LockstepMlp:
        """Nets of equal parameters, put together (`clbench.protocols.RunsInLockstep`)."""
        return LockstepMlp(replicas[0]._params, [net._drawings for net in replicas])

    @classmethod
    def training_differs(cls, params: MlpParams) -> str | None:
        """Dropout, or fewer or more winners at test (`clbench.protocols.DiffersInTraining`)."""
        return difference_in_training(params.dropout, params.winners)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Fresh weights; the zeros among them are drawn anew, and duty cycles start again."""
        weights = draw_weights(self.shapes, self._params.init, generator)
        weights = self._masks.draw(weights, generator)
        for winners in self.winners:
            winners.reset()
        if self._params.dropout:
            self._drawings.reset(generator)
        return weights

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """Logits ``(B, num_outputs)``."""
        outputs, _ = self.with_activity(params, query, context)
        return outputs

    def with_activity(
        self, params: NamedTensors, query: Query, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the activity of each hidden layer (`clbench.protocols.HasActivity`)."""
        x, activity = query.inputs.flatten(1), {}
        for i in self._layers:
            a = linear(x, self._masks.apply(f"W{i}", params[f"W{i}"]), params[f"b{i}"])
            activity[f"h{i}"] = self._active(i, a, context)
            x = self._drop(activity[f"h{i}"], context)
        return linear(x, params["W_out"], params["b_out"]), activity

    def _active(self, layer: int, a: Tensor, context: Context) -> Tensor:
        gain = context.gains.get(f"h{layer}")
        x = self._activation(a if gain is None else a * gain)
        return self.winners[layer - 1](x, context.training) if self.winners else x

    def _drop(self, x: Tensor, context: Context) -> Tensor:
        if not context.training or not self._params.dropout:
            return x
        return self._drawings.drop(x, self._params.dropout)

    def squared_gradients(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        loss_gradient: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """Sum over samples of squared gradients (`clbench.protocols.HasSampleGradients`).

        A sample's gradient of a weight is the outer product of two vectors, so the sum of squares
        over samples is one matrix product of squares.
        """
        inputs, deltas = [query.inputs.flatten(1)], []
        with torch.enable_grad():
            for i in self._layers:
                weight = self._masks.apply(f"W{i}", params[f"W{i}"].detach())
                a = linear(inputs[-1], weight, params[f"b{i}"].detach())
                deltas.append(a if a.requires_grad else a.requires_grad_())
                inputs.append(self._drop(self._active(i, a, context), context))
            outputs = linear(inputs[-1], params["W_out"].detach(), params["b_out"].detach())
            output_gradients = loss_gradient(outputs.detach())
            if deltas:
                deltas = list(torch.autograd.grad(outputs, deltas, output_gradients))
        squares: dict[str, Tensor] = {}
        names = [str(i) for i in self._layers] + ["_out"]
        for name, x, delta in zip(names, inputs, [*deltas, output_gradients], strict=True):
            delta = delta.square()
            weight_squares = delta.t() @ x.detach().square()
            squares[f"W{name}"] = self._masks.apply(f"W{name}", weight_squares)
            squares[f"b{name}"] = delta.sum(0)
        return squares

    def statistics(self) -> dict[str, float]:
        """Entropies of duty cycles over the largest possible ones; densities of weights."""
        return self._masks.densities() | {
            f"duty_cycle_entropy_h{i}": relative_entropy(winners)
            for i, winners in enumerate(self.winners, start=1)
        }

    def state(self) -> State:
        """Duty cycles, masks, and the generator of dropout."""
        return {
            "winners": [winners.state() for winners in self.winners],
            "masks": self._masks.state(),
            "drawings": self._drawings.state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        for winners, saved in zip(self.winners, state["winners"], strict=True):
            winners.restore(saved)
        self._masks.restore(state["masks"])
        self._drawings.restore(state["drawings"])
