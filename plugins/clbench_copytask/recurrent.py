"""What the recurrent main nets share: parameters, initialisation, and the task as an input."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.params import Params
from clbench.protocols import Context, Kind, NamedTensors, Query, SequenceSpec, State
from clbench.replicas import inherited
from clbench.scenario import ALL_SCENARIOS, OutputLayout, Scenario


class RecurrentParams(Params):
    """Parameters of a recurrent main net."""

    hidden_size: PositiveInt = 256
    """Units H of a hidden layer."""
    task_input: bool = False
    """Whether a one-hot vector of the task is appended to the input of every time step."""
    orthogonal_init: bool = False
    """Whether each square block of the recurrent weights starts as a random orthogonal matrix."""
    recurrent_init: Literal["fan-in", "hidden-size"] = "fan-in"
    """Bound of the uniform initialisation: 1/sqrt(fan-in) of each weight, or 1/sqrt(H) of all but
    the output layer, as in `torch.nn.RNN`."""


class RecurrentNet(ABC):
    """A main net for sequences whose recurrent weights are called ``W_hh``.

    It is a function only, and its own net in lockstep: parameters and inputs of R replicas may
    have a leading axis.
    """

    Params: ClassVar[type[Params]] = RecurrentParams
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS
    kinds: ClassVar[frozenset[Kind]] = frozenset({"sequence"})

    output_names: tuple[str, ...] = ("W_out", "b_out")
    recurrent_blocks: Mapping[str, int]
    gain_sizes: Mapping[str, int]

    def __init__(self, params: RecurrentParams, spec: SequenceSpec, layout: OutputLayout) -> None:
        if params.task_input and not layout.scenario.gives_task_id_at_test:
            raise ClbenchError(
                "task_input: the task is withheld at test, and only task-il gives it"
            )
        self._params = params
        self._num_tasks = layout.num_tasks
        (features,) = spec.input_shape
        inputs = features + (layout.num_tasks if params.task_input else 0)
        self.shapes = self.layers(inputs, params.hidden_size, layout.num_outputs)

    @abstractmethod
    def layers(self, inputs: int, hidden: int, outputs: int) -> Mapping[str, tuple[int, ...]]:
        """Shapes of all parameters, each weight followed by its bias."""

    @abstractmethod
    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """Logits of the wanted steps, ``(..., W, B, num_outputs)``."""

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Weights and biases uniform as `recurrent_init` says; W_hh maybe orthogonal."""
        params = self._params
        return initial_parameters(
            self.shapes,
            orthogonal_blocks=self.recurrent_blocks if params.orthogonal_init else {},
            fan_in=params.hidden_size if params.recurrent_init == "hidden-size" else None,
            generator=generator,
        )

    def inputs(self, query: Query) -> Tensor:
        """The inputs ``(..., S, B, F)``, with the task appended where it is an input."""
        if not self._params.task_input:
            return query.inputs
        return with_task_input(query, self._num_tasks)

    @classmethod
    def lockstep_obstacle(cls, params: RecurrentParams) -> str | None:
        """Where a class inherits its pass (`clbench.protocols.RunsInLockstep`)."""
        return inherited(cls, "in_lockstep")

    def state(self) -> State:
        """Empty: nothing but parameters."""
        return {}

    def restore(self, state: State) -> None:  # noqa: B027
        """Nothing to take back."""


def initial_parameters(
    shapes: Mapping[str, tuple[int, ...]],
    orthogonal_blocks: Mapping[str, int],
    fan_in: int | None,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Weights, each followed by its bias, uniform in ±1/sqrt(fan-in) of the weight.

    Args:
        shapes: Weight and bias in turn.
        orthogonal_blocks: Weights that become random orthogonal matrices afterwards, with the
            number of square blocks stacked in each; every block is orthogonal by itself.
        fan_in: What is taken for the fan-in of all but the output layer; None: the true one. (The
            output layer's is the hidden size anyway.)
        generator: Source of all draws, taken in the order of `shapes`.
    """
    drawn: dict[str, Tensor] = {}
    bound = 0.0
    for name, shape in shapes.items():
        if len(shape) == 2:
            bound = 1.0 / math.sqrt(fan_in or shape[1])
        drawn[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    for name, blocks in orthogonal_blocks.items():
        for block in drawn[name].chunk(blocks):
            torch.nn.init.orthogonal_(block, generator=generator)
    return drawn


def with_task_input(query: Query, num_tasks: int) -> Tensor:
    """The inputs with a one-hot vector of the task appended at every time step.

    Returns:
        ``(..., S, B, F + K)``.
    """
    inputs = query.inputs
    lead = inputs.shape[:-1]  # (S, B), or (R, S, B)
    assert query.task_id is not None  # the scenario gives it
    one_hot = inputs.new_zeros(*lead, num_tasks)
    if isinstance(query.task_id, int):
        one_hot[..., query.task_id] = 1.0
    else:
        one_hot.scatter_(-1, query.task_id[..., None, :, None].expand(*lead, 1), 1.0)
    return torch.cat([inputs, one_hot], dim=-1)
