"""Adam with decoupled weight decay, as a rule for streams (Loshchilov & Hutter 2019).

With the gradient g at the weights p and the step size alpha, at step t::

    m <- beta1 * m + (1 - beta1) * g            v <- beta2 * v + (1 - beta2) * g^2
    p <- (1 - alpha * weight_decay) * p
    p <- p - alpha / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)

It is the learner called Adam in Elsayed & Mahmood 2024 (arXiv:2404.00781). Moments are kept over
all tasks: a stream has no boundaries at which to forget them.

Departures:

1. Loshchilov & Hutter multiply the decay by a schedule and not by alpha; the source multiplies it
   by alpha, as here.
2. At every 64th step, moments of less than 1e-34 become 0. The moments of a weight whose gradient
   stays 0 (behind an inactive unit) would otherwise end as subnormal numbers, on which processors
   are about ten times slower. The root of what v loses is 1e-17 at most, below any sensible eps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat

from clbench.config import Decay
from clbench.params import Params
from clbench.protocols import LearnerContext

from .stream_learner import StreamLearner, StreamLearners

_NEGLIGIBLE = 1e-34
_STEPS_BETWEEN_CLEANINGS = 64


class StreamAdamWParams(Params):
    """Parameters of Adam with decoupled weight decay."""

    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of the two moments (beta1, beta2)."""
    eps: PositiveFloat = 1e-8
    """Added to the corrected root of the second moment."""
    weight_decay: NonNegativeFloat = 0.0
    """Fraction, in units of the step size, by which weights shrink at each step (lambda)."""


class StreamAdamW(StreamLearner[StreamAdamWParams]):
    """See the module's text."""

    Params: ClassVar[type[Params]] = StreamAdamWParams
    version: ClassVar[int] = 1

    def __init__(self, params: StreamAdamWParams, context: LearnerContext) -> None:
        super().__init__(params, context)
        self.bind()

    def bind(self) -> None:
        """Take hold of the moments and the scratch."""
        self._m, self._v = self.trace("m"), self.trace("v")
        self._denominator = self.scratch("denominator")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[StreamLearner[StreamAdamWParams]]) -> StreamLearners:
        """Learners of several seeds, put together (`clbench.protocols.RunsInLockstep`)."""
        return StreamLearners(replicas)

    def step(self, t: int) -> None:
        """One step of the rule."""
        p, g, m, v, alpha = self._p, self._g, self._m, self._v, self._alpha
        (beta1, beta2), decay = self._params.betas, self._params.weight_decay
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        denominator = torch.sqrt(v, out=self._denominator)
        denominator.div_(math.sqrt(1 - beta2**t)).add_(self._params.eps)
        if decay:
            p.mul_(1 - alpha * decay)
        p.addcdiv_(m, denominator, value=-alpha / (1 - beta1**t))
        if t % _STEPS_BETWEEN_CLEANINGS == 0:
            for moment in (m, v):
                moment.masked_fill_(moment.abs() < _NEGLIGIBLE, 0.0)
