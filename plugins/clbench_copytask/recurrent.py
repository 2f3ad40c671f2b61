"""What the recurrent main nets share: initialisation, and the task as an input."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from clbench.protocols import Query


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
        ``(S, B, F + K)``.
    """
    inputs = query.inputs
    S, B, _ = inputs.shape
    assert query.task_id is not None  # the suite checks that the scenario gives it
    one_hot = inputs.new_zeros(S, B, num_tasks)
    if isinstance(query.task_id, int):
        one_hot[..., query.task_id] = 1.0
    else:
        one_hot.scatter_(2, query.task_id.view(1, B, 1).expand(S, B, 1), 1.0)
    return torch.cat([inputs, one_hot], dim=2)
