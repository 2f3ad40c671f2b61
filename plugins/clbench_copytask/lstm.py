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

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from clbench.params import Params
from clbench.protocols import Context, Kind, NamedTensors, Query, SequenceSpec, State
from clbench.scenario import ALL_SCENARIOS, OutputLayout, Scenario

from .recurrent import initial_parameters, with_task_input


class LstmParams(Params):
    """Parameters of the LSTM net."""

    hidden_size: PositiveInt = 256
    """Units H."""
    task_input: bool = False
    """Whether a one-hot vector of the task is appended to the input of every time step."""
    orthogonal_init: bool = False
    """Whether each gate block of the recurrent weights starts as a random orthogonal matrix."""
    recurrent_init: Literal["fan-in", "hidden-size"] = "fan-in"
    """Bound of the uniform initialisation: 1/sqrt(fan-in) of each weight, or 1/sqrt(H) of all but
    the output layer, as in `torch.nn.RNN`."""


class Lstm:
    """A main net for sequences; see the module's text for its equations. Takes no gains."""

    Params: ClassVar[type[Params]] = LstmParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS
    kinds: ClassVar[frozenset[Kind]] = frozenset({"sequence"})

    output_names: tuple[str, ...] = ("W_out", "b_out")
    recurrent_blocks: Mapping[str, int] = {"W_hh": 4}
    gain_sizes: Mapping[str, int] = {}

    def __init__(self, params: LstmParams, spec: SequenceSpec, layout: OutputLayout) -> None:
        self._params = params
        self._num_tasks = layout.num_tasks
        (features,) = spec.input_shape
        inputs = features + (layout.num_tasks if params.task_input else 0)
        hidden, outputs = params.hidden_size, layout.num_outputs
        self.shapes: Mapping[str, tuple[int, ...]] = {
            "W_ih": (4 * hidden, inputs),
            "b_ih": (4 * hidden,),
            "W_hh": (4 * hidden, hidden),
            "b_hh": (4 * hidden,),
            "W_out": (outputs, hidden),
            "b_out": (outputs,),
        }

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights and biases uniform as `recurrent_init` says; W_hh maybe orthogonal."""
        params = self._params
        return initial_parameters(
            self.shapes,
            orthogonal_blocks=self.recurrent_blocks if params.orthogonal_init else {},
            fan_in=params.hidden_size if params.recurrent_init == "hidden-size" else None,
            generator=generator,
        )

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """Logits of the wanted steps, ``(W, B, num_outputs)``."""
        inputs = (
            with_task_input(query, self._num_tasks) if self._params.task_input else query.inputs
        )
        window = query.window
        assert window is not None  # the net takes sequences only
        x = inputs[: window.stop] @ params["W_ih"].t() + (params["b_ih"] + params["b_hh"])
        h = c = x.new_zeros(x.shape[1], self._params.hidden_size)
        states: list[Tensor] = []
        for gates in x.unbind(0):
            i, f, g, o = (gates + h @ params["W_hh"].t()).chunk(4, dim=-1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            states.append(h)
        return torch.stack(states[window]) @ params["W_out"].t() + params["b_out"]

    def state(self) -> State:
        """Empty: nothing but parameters."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing to take back."""
