"""The orthogonal penalty on recurrent weights.

    R(W) = strength * || W W^T - I ||_F^2        dR/dW = 4 * strength * (W W^T - I) W

summed over the recurrent weights of the main net, block by block where gates are stacked (LSTM).
It has no memory of earlier tasks: it acts from the first task on, and composes with penalties
that have one.

Departures from the source (Ehret et al. 2021): it is added once per training step. The source's
multitask training adds it once per task present in the mixed batch; five times the strength gives
the same there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat
from torch import Tensor
from torch.autograd.function import once_differentiable

from clbench.errors import UnavailableError
from clbench.params import Params
from clbench.protocols import Consolidation, MainNet, NamedTensors, State, Watch
from clbench.replicas import inherited
from clbench.scenario import ALL_SCENARIOS, Scenario


class OrthogonalParams(Params):
    """Parameters of the orthogonal penalty."""

    strength: NonNegativeFloat
    """Factor of the squared Frobenius norm (``orthogonal_hh_reg`` in the source)."""


class Orthogonal:
    """See the module's text."""

    Params: ClassVar[type[Params]] = OrthogonalParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    watches: frozenset[Watch] = frozenset()

    def __init__(self, params: OrthogonalParams, net: MainNet) -> None:
        self._strength = params.strength
        self._blocks = dict(net.recurrent_blocks)
        if not self._blocks:
            raise UnavailableError(
                f"{type(net).__name__} has no recurrent weights that could be orthogonal"
            )

    def begin(self, params: NamedTensors) -> None:
        """Nothing to remember."""

    def penalty(self, params: NamedTensors) -> Tensor | None:
        """The penalty on all recurrent weights, shape ``()``; None where its strength is 0."""
        if self._strength == 0:
            return None
        terms = [
            _Penalty.apply(block, self._strength)  # type: ignore[no-untyped-call]
            for name, count in self._blocks.items()
            for block in (params[name].chunk(count, dim=-2) if count > 1 else [params[name]])
        ]
        return torch.stack(terms).sum()

    def consolidate(self, consolidation: Consolidation) -> None:
        """Nothing to consolidate."""

    def graph_obstacle(self) -> str | None:
        """None (`clbench.protocols.RunsAsGraph`)."""
        return None

    @classmethod
    def lockstep_obstacle(cls, params: OrthogonalParams) -> str | None:
        """None but in subclasses (`clbench.protocols.RunsInLockstep`)."""
        return inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Orthogonal]) -> Orthogonal:
        """Any of them, as there is nothing to remember (`clbench.protocols.RunsInLockstep`)."""
        return replicas[0]

    def state(self) -> State:
        """Empty."""
        return {}

    def restore(self, state: State) -> None:
        """Nothing to take back."""


class _Penalty(torch.autograd.Function):
    """One block, with its gradient in closed form: two products instead of three.

    Of blocks ``(R, H, H)`` the sum of their penalties.
    """

    @staticmethod
    def forward(ctx: Any, W: Tensor, strength: float) -> Tensor:
        excess = W @ W.mT
        excess.diagonal(dim1=-2, dim2=-1).sub_(1.0)
        ctx.save_for_backward(W, excess)
        ctx.strength = strength
        return excess.square().sum().mul_(strength)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_penalty: Tensor) -> tuple[Tensor, None]:
        W, excess = ctx.saved_tensors
        return (excess @ W).mul_(4 * ctx.strength).mul_(d_penalty), None
