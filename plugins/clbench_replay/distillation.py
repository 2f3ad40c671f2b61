"""Rehearsal by distillation: what the learners of this plugin share.

At each step ``replay_batch_size`` inputs of the t earlier tasks are rehearsed: the tasks are put
in a random order and get ``replay_batch_size // t`` inputs each, the first ones of the order one
more until all are given out. With the outputs y of the net and y* of the net as it was when the
task began, both restricted to the head of the rehearsed task j::

    L = strength * sum over j of 1/n_j * sum over the n_j inputs of D(y, y*)

a sum over tasks of means, so it weighs more with every task. D is the objective's distillation
loss; for copy tasks ``T^2 * sum over scored bits of BCE(sigmoid(y/T), sigmoid(y*/T))``.

In lockstep all tensors but the loss have a leading replica axis, and it is a sum over replicas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clbench.errors import UnavailableError
from clbench.protocols import (
    Context,
    Distillable,
    MainNet,
    NamedTensors,
    Objective,
    Query,
)
from clbench.scenario import OutputLayout


def share_out(count: int, num_tasks: int, drawing: torch.Generator) -> Tensor:
    """How many of `count` inputs each of `num_tasks` earlier tasks gives, ``(t,)``."""
    order = torch.randperm(num_tasks, generator=drawing)
    shares = torch.full((num_tasks,), count // num_tasks)
    shares[order[: count % num_tasks]] += 1
    return shares


def ids_of_shares(shares: Tensor, count: int) -> Tensor:
    """The task of each of `count` inputs in the order of the tasks, ``(..., count)``.

    Args:
        shares: How many each task gives, ``(..., t)``.
        count: Their sum.
    """
    ends = shares.cumsum(-1)
    position = torch.arange(count, device=shares.device)
    return (position >= ends.unsqueeze(-1)).sum(-2)


def require_distillable(objective: Objective) -> Distillable:
    """The objective, if its outputs can be taught.

    Raises:
        UnavailableError: They cannot.
    """
    if not isinstance(objective, Distillable):
        raise UnavailableError(f"{type(objective).__name__} defines no distillation")
    return objective


@dataclass(frozen=True, slots=True)
class Lesson:
    """Rehearsed inputs with what the former net says of them.

    Attributes:
        query: The inputs with the ``(B,)`` ids of their tasks, and the window that is scored.
        taught: Outputs of the former net, ``(W, B, n)``.
        mask: ``(W, B)``; None: every step of the window is scored.
        weights: ``(B,)``: one over the number of inputs of the sample's task.
    """

    query: Query
    taught: Tensor
    mask: Tensor | None
    weights: Tensor


@torch.no_grad()
def teach(
    inputs: Tensor,
    task_ids: Tensor,
    shares: Tensor,
    net: MainNet,
    former: NamedTensors,
    layout: OutputLayout,
    objective: Distillable,
) -> Lesson:
    """The lesson on `inputs` of the tasks `task_ids`, ``shares[j]`` of task j."""
    window, mask = objective.replay_window(inputs)
    query = Query(inputs=inputs, task_id=task_ids, window=window)
    taught = layout.select(net(former, query, Context()), task_ids)
    return Lesson(query, taught, mask, 1.0 / shares.gather(-1, task_ids))


def distillation(
    outputs: Tensor, lesson: Lesson, objective: Distillable, temperature: float
) -> Tensor:
    """The sum over tasks of the mean distillation loss, ``()``.

    Args:
        outputs: The competing outputs on the lesson's query, ``(W, B, n)``.
        lesson: What is to be matched.
        objective: Defines the loss of a sample.
        temperature: T.
    """
    losses = objective.distillation_losses(outputs, lesson.taught, temperature, lesson.mask)
    return (losses * lesson.weights).sum()


def copied(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy that training does not change: the former net."""
    return {name: tensor.detach().clone() for name, tensor in weights.items()}
