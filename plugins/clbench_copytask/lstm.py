"""The LSTM main net of Ehret et al. 2021: one recurrent layer, a linear output layer on it.

With gates in the order input, forget, cell, output::

    (i, f, g, o) = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t)
    o_t = W_out h_t + b_out

There is no extra hidden layer as in the Elman net. Orthogonal initialisation and the orthogonal
penalty act on each of the four gate blocks of W_hh by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from clbench.protocols import Context, NamedTensors, Query

from .recurrent import RecurrentNet


class Lstm(RecurrentNet):
    """A main net for sequences; see the module's text for its equations. Takes no gains."""

    version: ClassVar[int] = 1

    recurrent_blocks: Mapping[str, int] = {"W_hh": 4}
    gain_sizes: Mapping[str, int] = {}

    def layers(self, inputs: int, hidden: int, outputs: int) -> Mapping[str, tuple[int, ...]]:
        """All gates in one, and the output layer."""
        return {
            "W_ih": (4 * hidden, inputs),
            "b_ih": (4 * hidden,),
            "W_hh": (4 * hidden, hidden),
            "b_hh": (4 * hidden,),
            "W_out": (outputs, hidden),
            "b_out": (outputs,),
        }

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """Logits of the wanted steps, ``(..., W, B, num_outputs)``."""
        inputs = self.inputs(query)
        window = query.window
        assert window is not None  # the net takes sequences only
        x = inputs[..., : window.stop, :, :]
        x = _of_all_steps(x, params["W_ih"], params["b_ih"] + params["b_hh"])
        h = c = x.new_zeros(*x.shape[:-3], x.shape[-2], self._params.hidden_size)
        states: list[Tensor] = []
        for gates in x.unbind(-3):
            i, f, g, o = (gates + h @ params["W_hh"].mT).chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return _of_all_steps(torch.stack(states[window], -3), params["W_out"], params["b_out"])

    def graph_obstacle(self) -> str | None:
        """None (`clbench.protocols.RunsAsGraph`)."""
        return None

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Lstm]) -> Lstm:
        """Any of them (`clbench.protocols.RunsInLockstep`)."""
        return replicas[0]


def _of_all_steps(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``W x + b`` of x ``(..., S, B, F)``: one product over all steps and samples."""
    products: Tensor = (x.flatten(-3, -2) @ weight.mT).unflatten(-2, x.shape[-3:-1])
    return products + bias[..., None, None, :]
