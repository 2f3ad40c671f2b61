"""Gradient descent with noise and weight decay, as rules for streams.

With the gradient g at the weights p, the step size alpha and standard normal numbers xi, drawn
anew for each weight and step::

    p <- (1 - alpha * weight_decay) * p - alpha * (g + noise_std * xi)

Its settings are three baselines of Elsayed & Mahmood 2024 (arXiv:2404.00781): stochastic gradient
descent (no noise), perturbed gradient descent (no decay; Zhou et al. 2019) and shrink and perturb
(both; Ash & Adams 2020, at every step instead of now and then).

The source adds ``weight_decay * p`` to the gradient in plain gradient descent, which is the same
step. Departures from the sources:

1. Noise has a generator of its own; in the code it shares one with the data on CPUs.
2. Ash & Adams shrink and perturb now and then; the code and this one do so at every step.
3. Normal numbers are drawn by 16 bits each (`clbench_streaming.noise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from pydantic import NonNegativeFloat

from clbench.params import Params
from clbench.protocols import LearnerContext

from .stream_learner import StreamLearner, StreamLearners


class PerturbedSgdParams(Params):
    """Parameters of gradient descent with noise and decay."""

    noise_std: NonNegativeFloat = 0.0
    """Standard deviation of the noise on each gradient (sigma); 0: nothing is drawn."""
    weight_decay: NonNegativeFloat = 0.0
    """Fraction, in units of the step size, by which weights shrink at each step (lambda)."""


class PerturbedSgd(StreamLearner[PerturbedSgdParams]):
    """See the module's text."""

    Params: ClassVar[type[Params]] = PerturbedSgdParams
    version: ClassVar[int] = 1

    def __init__(self, params: PerturbedSgdParams, context: LearnerContext) -> None:
        super().__init__(params, context)
        self.bind()

    def bind(self) -> None:
        """Take hold of the scratch."""
        self._xi = self.scratch("noise")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[StreamLearner[PerturbedSgdParams]]) -> StreamLearners:
        """Learners of several seeds, put together (`clbench.protocols.RunsInLockstep`)."""
        return StreamLearners(replicas)

    def step(self, t: int) -> None:
        """One step of the rule."""
        alpha, sigma, decay = self._alpha, self._params.noise_std, self._params.weight_decay
        if decay:
            self._p.mul_(1 - alpha * decay)
        self._p.add_(self._g, alpha=-alpha)
        if sigma:
            self._p.add_(self._fill_with_noise(self._xi), alpha=-alpha * sigma)
