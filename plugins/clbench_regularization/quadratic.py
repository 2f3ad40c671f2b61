"""The quadratic pull that online EWC and SI share, with its gradient in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clbench.protocols import NamedTensors


def quadratic_penalty(
    params: NamedTensors, importance: NamedTensors, anchor: NamedTensors, strength: float
) -> Tensor:
    """``strength * sum_i importance_i (params_i - anchor_i)^2``, shape ``()``.

    Args:
        params: Differentiable parameters, with those of R replicas the sum over all.
        importance: Of the same names and shapes.
        anchor: Of the same names and shapes.
        strength: The factor.
    """
    names = list(params)
    weights = [importance[name] for name in names]
    anchors = [anchor[name] for name in names]
    penalty: Tensor = _Quadratic.apply(  # type: ignore[no-untyped-call]
        weights, anchors, strength, *params.values()
    )
    return penalty


class _Quadratic(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, weights: list[Tensor], anchors: list[Tensor], strength: float, *params: Tensor
    ) -> Tensor:
        offsets = torch._foreach_sub(params, anchors)
        pulls = torch._foreach_mul(offsets, weights)
        ctx.pulls, ctx.strength = pulls, strength
        terms = [torch.dot(o.view(-1), p.view(-1)) for o, p in zip(offsets, pulls, strict=True)]
        return torch.stack(terms).sum().mul_(strength)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_penalty: Tensor) -> tuple[Tensor | None, ...]:
        pulls = torch._foreach_mul(ctx.pulls, 2 * ctx.strength * d_penalty)
        return (None, None, None, *pulls)
