"""What regularizers add to the task loss in a step, each named where it gives no such thing."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from clbench.errors import PluginError
from clbench.protocols import NamedTensors, Regularizer


def penalties(regularizers: Iterable[Regularizer], weights: NamedTensors) -> list[Tensor]:
    """The penalties of those that have one now, each ``()``; in lockstep summed over replicas.

    Raises:
        PluginError: One is no tensor, or not one number.
    """
    found = []
    for regularizer in regularizers:
        penalty = regularizer.penalty(weights)
        if penalty is None:
            continue
        if not isinstance(penalty, Tensor) or penalty.dim() != 0:
            raise PluginError(_what_it_is_not(type(regularizer).__name__, penalty))
        found.append(penalty)
    return found


def _what_it_is_not(name: str, penalty: object) -> str:
    if isinstance(penalty, Tensor):
        shape = tuple(penalty.shape)
        return f"the penalty of {name} is not one number: its shape is {shape}, not ()"
    return f"the penalty of {name} is no tensor but of type {type(penalty).__name__}"
