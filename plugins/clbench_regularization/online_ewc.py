"""Online elastic weight consolidation (Schwarz et al. 2018, after Kirkpatrick et al. 2017).

After each task but the last, with the diagonal empirical Fisher information of the task::

    F_t = 1/n * sum over n samples of (d NLL_s / d theta)^2        squared per sample
    F  <- F_t + gamma * F        theta* <- theta

and from the second task on the penalty::

    ewc_lambda / 2 * sum_i F_i (theta_i - theta*_i)^2

NLL_s is the task's loss of one sample (for copy tasks: summed over the scored bits), without
penalties, at the true targets (``fisher: empirical``) or at those that the net predicts
(``fisher: predicted``; refused in regression, where the loss has no gradient at what the net
predicts). All parameters of the main net are protected, biases and all heads included; heads of
other tasks have no gradient and so no importance.

Departures from the sources:

1. Schwarz et al. draw targets from the model's own predictive distribution. Codes differ: that of
   the copy tasks takes the true targets (``empirical``), that of van de Ven & Tolias 2019 the most
   likely ones (``predicted``).
2. The copy-task code multiplies F by gamma at every evaluation of the loss, which differs for
   gamma < 1 only; here F decays once per task, as published.
3. Nets whose layers are matrices alone square per-sample gradients as a product of squares, which
   is the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from clbench.params import Params
from clbench.protocols import CPU, Consolidation, MainNet, NamedTensors, State, Watch
from clbench.replicas import inherited, joint_tensors
from clbench.scenario import WITH_BOUNDARIES, Scenario

from .quadratic import quadratic_penalty


class OnlineEwcParams(Params):
    """Parameters of online EWC."""

    ewc_lambda: NonNegativeFloat
    """Strength of the penalty."""
    gamma: Annotated[float, Field(ge=0, le=1)] = 1.0
    """What earlier tasks' Fisher information keeps of its weight at each further task."""
    fisher: Literal["empirical", "predicted"] = "empirical"
    """At which targets gradients are squared: the true ones, or those that the net predicts."""
    fisher_samples: PositiveInt | Literal["all"] = "all"
    """Training samples that estimate the Fisher information of a task."""


class OnlineEwc:
    """See the module's text."""

    Params: ClassVar[type[Params]] = OnlineEwcParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = WITH_BOUNDARIES

    watches: frozenset[Watch] = frozenset()

    def __init__(self, params: OnlineEwcParams, net: MainNet) -> None:
        self._params = params
        self._fisher: dict[str, Tensor] = {}
        self._anchor: dict[str, Tensor] = {}
        self._device = CPU

    def begin(self, params: NamedTensors) -> None:
        """Nothing to remember before the first task has ended but where parameters are."""
        self._device = next(iter(params.values())).device

    def penalty(self, params: NamedTensors) -> Tensor | None:
        """The pull towards the anchor, shape ``()``; None before the first consolidation."""
        if not self._anchor:
            return None
        return quadratic_penalty(params, self._fisher, self._anchor, self._params.ewc_lambda / 2)

    @torch.no_grad()
    def consolidate(self, consolidation: Consolidation) -> None:
        """Add the task's Fisher information and move the anchor."""
        wanted = self._params.fisher_samples
        n = consolidation.num_samples if wanted == "all" else min(wanted, consolidation.num_samples)
        squares = {name: torch.zeros_like(tensor) for name, tensor in consolidation.params.items()}
        for batch in consolidation.batches(n):
            if self._params.fisher == "predicted":
                batch = consolidation.predicted(batch)
            for name, square in consolidation.squared_gradients(batch).items():
                squares[name] += square
        for name, square in squares.items():
            square /= n
            if name in self._fisher:
                square.add_(self._fisher[name], alpha=self._params.gamma)
        self._fisher = squares
        self._anchor = {name: tensor.clone() for name, tensor in consolidation.params.items()}

    def graph_obstacle(self) -> str | None:
        """None (`clbench.protocols.RunsAsGraph`)."""
        return None

    @classmethod
    def lockstep_obstacle(cls, params: OnlineEwcParams) -> str | None:
        """None but in subclasses (`clbench.protocols.RunsInLockstep`)."""
        return inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[OnlineEwc]) -> OnlineEwc:
        """Put together for the steps of a task (`clbench.protocols.RunsInLockstep`)."""
        together = copy(replicas[0])
        together._fisher = joint_tensors([replica._fisher for replica in replicas])
        together._anchor = joint_tensors([replica._anchor for replica in replicas])
        return together

    def state(self) -> State:
        """Fisher information and anchor."""
        return {"fisher": dict(self._fisher), "anchor": dict(self._anchor)}

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._fisher, self._anchor = (
            {name: tensor.to(self._device) for name, tensor in state[key].items()}
            for key in ("fisher", "anchor")
        )
