"""States of learners, streams and regularizers: compared and copied, in contract tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from clbench.protocols import State


def equal(a: Any, b: Any) -> bool:
    """Whether two states are equal bit for bit (tensors, numbers, text, dicts, lists)."""
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def snapshot(state: State) -> Any:
    """A copy of a state that later steps cannot change."""
    if isinstance(state, Tensor):
        return state.clone()
    if isinstance(state, dict):
        return {key: snapshot(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [snapshot(value) for value in state]
    return state
