"""Utility-based perturbed gradient descent (Elsayed & Mahmood 2024, arXiv:2404.00781).

A weight is useful where the loss would grow without it; to first order that is ``-g * p``, with
the gradient g at the weight p. Useful weights are moved less. At step t, counted from 1, with
step size alpha and standard normal numbers xi, drawn anew for each weight and step::

    U <- beta_utility * U + (1 - beta_utility) * (-g * p)           trace of the utility
    b  = 1 - beta_utility^t                                         correction of its start at 0

    scaling global:  u = (U / b) / eta       eta = max of U over all weights and biases (max_over
                                             raw), or of U / b (max_over corrected)
    scaling local:   u = U / b, divided by its L2 norm along the last axis of its tensor

    c  = 1 - sigmoid(u)                                             the gate, in (0, 1)
    n  = noise_std * S * xi                  S = 1 (noise_scale constant), or, for each tensor by
                                             itself, |p|, |g| or |g| / |p|, plus 1e-8 each

    p <- (1 - alpha * weight_decay) * p - step_factor * alpha * change

    gate both:      change = c * (g + n)     protecting
    gate noise:     change = g + c * n       non-protecting
    gate gradient:  change = c * g + n       USGD

S is taken before weights decay. Kernel averages change the gates of four-dimensional tensors:
``entire`` gives each kernel the mean of its gates, ``column`` each column of a kernel the mean over
the kernel's height, ``convex`` is 0.8 of the own gate and 0.2 of the kernel's mean. Noise scales,
USGD and kernel averages are those of Pinkl, Schulz, de Lanversin & Kim 2025.

Departures from the sources:

1. Where eta is 0, as while all traces are 0, the codes divide 0 by 0 and lose the weights. Here eta
   is then the smallest positive normal number: weights without utility have the scaled utility 0
   and the gate 1/2; negative utilities have the gate 1, as in the codes.
2. A trace that is not a number makes eta not a number; the codes leave it out of the maximum. The
   weight itself is lost in both.
3. The paper's algorithm takes eta over U / b; its code, and the published runs, over U (the
   default here). With ``max_over: corrected`` b cancels.
4. In USGD the code adds the noise and here it is subtracted, as in the other rules; its
   distribution is symmetric.
5. The codes skip parameters called ``gate``; nets here have none.
6. Noise has a generator of its own; in the codes it shares one with the data on CPUs.
7. Normal numbers are drawn by 16 bits each: one of 65,536 equally likely slices of the
   distribution, none beyond 4.4 (`clbench_streaming.noise`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat, model_validator
from torch import Tensor

from clbench.config import Decay
from clbench.errors import UnavailableError
from clbench.params import Params
from clbench.protocols import LearnerContext

from .stream_learner import StreamLearner, StreamLearners

_NORM_EPS = 1e-8
_SCALING_EPS = 1e-12
_OWN_SHARE = 0.8


class UpgdParams(Params):
    """Parameters of utility-based perturbed gradient descent."""

    beta_utility: Decay = 0.999
    """Decay rate of the trace of utilities (beta_u in the paper)."""
    noise_std: NonNegativeFloat = 0.001
    """Standard deviation of the noise before it is scaled (sigma); 0: nothing is drawn."""
    weight_decay: NonNegativeFloat = 0.0
    """Fraction, in units of the step size, by which weights shrink at each step (lambda)."""
    scaling: Literal["global", "local"] = "global"
    """Whether utilities are compared over all weights or along the last axis of each tensor."""
    max_over: Literal["raw", "corrected"] = "raw"
    """Of which trace eta is the maximum; only ``raw`` where scaling is local."""
    gate: Literal["both", "noise", "gradient"] = "both"
    """What the gate acts on: gradient and noise, the noise alone, or the gradient alone."""
    noise_scale: Literal["constant", "weight-norm", "grad-norm", "ratio-norm"] = "constant"
    """The factor S on the noise of each parameter tensor."""
    kernel_average: Literal["none", "entire", "column", "convex"] = "none"
    """Over what the gates of four-dimensional tensors are averaged."""
    step_factor: PositiveFloat = 1.0
    """Factor on the step size, decay excepted; 2 in the published kernel averages."""

    @model_validator(mode="after")
    def _check(self) -> UpgdParams:
        if self.scaling == "local" and self.max_over == "corrected":
            raise ValueError("max_over is about the maximum of global scaling; scaling is local")
        if self.gate == "noise" and not self.noise_std:
            raise ValueError("gate: noise acts on noise alone; noise_std is 0")
        if self.noise_scale != "constant" and not self.noise_std:
            raise ValueError("noise_scale is a factor on noise; noise_std is 0")
        return self


class Upgd(StreamLearner[UpgdParams]):
    """See the module's text.

    Raises:
        UnavailableError: Gates of kernels are to be averaged, and the net has no kernels; or as
            all rules for streams.
    """

    Params: ClassVar[type[Params]] = UpgdParams
    version: ClassVar[int] = 1

    def __init__(self, params: UpgdParams, context: LearnerContext) -> None:
        super().__init__(params, context)
        self._smallest = torch.full((), torch.finfo(self._p.dtype).tiny, device=self._p.device)
        self.bind()
        if params.kernel_average != "none" and not self._kernels:
            what = "averages the gates of tensors of four dimensions, and the net has none"
            raise UnavailableError(f"kernel_average: {params.kernel_average} {what}")

    def bind(self) -> None:
        """Take hold of trace and scratch, and of the views of single tensors."""
        self._U = self.trace("utility")
        self._c, self._n = self.scratch("gate"), self.scratch("noise")
        split, shapes = self._parameters.split, self._parameters.shapes
        p, g, n, U, c = map(split, (self._p, self._g, self._n, self._U, self._c))
        self._views = [(p[name], g[name], n[name], len(shapes[name])) for name in shapes]
        self._rows = [(U[name], c[name]) for name in shapes]
        self._kernels = [c[name] for name, shape in shapes.items() if len(shape) == 4]

    @classmethod
    def in_lockstep(cls, replicas: Sequence[StreamLearner[UpgdParams]]) -> StreamLearners:
        """Learners of several seeds, put together (`clbench.protocols.RunsInLockstep`)."""
        return StreamLearners(replicas)

    def step(self, t: int) -> None:
        """One step of the rule."""
        p, g, params = self._p, self._g, self._params
        beta, sigma = params.beta_utility, params.noise_std
        self._U.mul_(beta).addcmul_(g, p, value=beta - 1)
        c = self._gate(1 - beta**t)
        n = self._scaled_noise() if sigma else None
        if params.weight_decay:
            p.mul_(1 - self._alpha * params.weight_decay)
        rate = -params.step_factor * self._alpha
        if params.gate == "both":
            p.addcmul_(c, g if n is None else torch.add(g, n, alpha=sigma, out=n), value=rate)
        elif params.gate == "noise":
            p.add_(g, alpha=rate)
            if n is not None:
                p.addcmul_(c, n, value=rate * sigma)
        else:
            p.addcmul_(c, g, value=rate)
            if n is not None:
                p.add_(n, alpha=rate * sigma)

    def _gate(self, b: float) -> Tensor:
        """``1 - sigmoid(u) = sigmoid(-u)``, averaged over kernels, shape ``(P,)``."""
        if self._params.scaling == "global":
            eta = self._U.amax(-1, keepdim=True)
            divisor = eta if self._params.max_over == "corrected" else eta * b
            divisor = torch.where(divisor == 0, self._smallest, divisor)
            torch.div(self._U, divisor.neg_(), out=self._c)
        else:
            for U, c in self._rows:
                norm = torch.linalg.vector_norm(U, dim=-1, keepdim=True)
                torch.div(U, norm.clamp_(min=_SCALING_EPS * b).neg_(), out=c)
        self._c.sigmoid_()
        if self._params.kernel_average != "none":
            for kernels in self._kernels:
                self._average(kernels)
        return self._c

    def _average(self, c: Tensor) -> None:
        """Average the gates of kernels ``(out, in, height, width)`` in place."""
        kind = self._params.kernel_average
        mean = c.mean(-2 if kind == "column" else (-2, -1), keepdim=True)
        if kind == "convex":
            c.lerp_(mean, 1 - _OWN_SHARE)
        else:
            c.copy_(mean.expand_as(c))

    def _scaled_noise(self) -> Tensor:
        """``S * xi``, shape ``(P,)``."""
        self._fill_with_noise(self._n)
        kind = self._params.noise_scale
        if kind != "constant":
            for p, g, n, axes in self._views:
                if kind == "weight-norm":
                    S = _norm(p, axes)
                elif kind == "grad-norm":
                    S = _norm(g, axes)
                else:
                    S = _norm(g, axes).div_(_norm(p, axes))
                n.mul_(S)
        return self._n


def _norm(tensor: Tensor, axes: int) -> Tensor:
    """The L2 norm over the last axes plus 1e-8, with axes of length 1 in their place."""
    norm: Tensor = torch.linalg.vector_norm(tensor, dim=tuple(range(-axes, 0)), keepdim=True)
    return norm.add_(_NORM_EPS)
