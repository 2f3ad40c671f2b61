"""Synaptic intelligence (Zenke, Poole & Ganguli 2017).

At each training step the path integral of the loss grows; at the end of each task but the last it
becomes an importance (Eqs. 3 to 5)::

    omega_i <- omega_i - g_i * delta_i
    Omega_i <- Omega_i + max(0, omega_i / ((theta_i - theta_start_i)^2 + si_xi))
    omega_i <- 0        theta_start <- theta        theta* <- theta

and from the second task on the penalty is::

    si_lambda * sum_i Omega_i (theta_i - theta*_i)^2

``path`` says which gradient g and step delta are meant:

* ``task-look-ahead``: the gradient of the task loss alone, unclipped, and the step that the live
  optimiser would take on it (its moments as they are, not changed).
* ``total-step``: the clipped gradient of the total loss, penalties included, and the step taken.

Departures from the sources:

1. Importances are clamped at zero from below per task, as the copy-task code does, unless
   ``negative_importance`` is ``kept`` (as van de Ven & Tolias 2019 and the paper have it).
2. The copy-task code adds Adam's eps before the bias correction in the look-ahead and after it in
   the real step; here both add it after.
3. The path integral runs on during the last task, where the copy-task code stops it; nothing uses
   it any more.

The paper leaves the optimiser's state open; two readings of g and delta are values of ``path``.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from clbench.params import Params
from clbench.protocols import Consolidation, MainNet, NamedTensors, State, Watch
from clbench.replicas import inherited, joint_tensors
from clbench.scenario import WITH_BOUNDARIES, Scenario

from .quadratic import quadratic_penalty


class SynapticIntelligenceParams(Params):
    """Parameters of synaptic intelligence."""

    si_lambda: NonNegativeFloat = 1.0
    """Strength of the penalty (c in the paper)."""
    si_xi: PositiveFloat = 1e-3
    """Damping of the division by the squared change (xi in the paper)."""
    path: Literal["task-look-ahead", "total-step"] = "task-look-ahead"
    """Which gradient and step the path integral is taken over."""
    negative_importance: Literal["clamped", "kept"] = "clamped"
    """Whether a task's negative importances count as zero."""


class SynapticIntelligence:
    """See the module's text."""

    Params: ClassVar[type[Params]] = SynapticIntelligenceParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = WITH_BOUNDARIES

    def __init__(self, params: SynapticIntelligenceParams, net: MainNet) -> None:
        self._params = params
        self.watches: frozenset[Watch] = frozenset(
            {"task-gradient" if params.path == "task-look-ahead" else "step"}
        )
        self._has_consolidated = False
        self._omega: dict[str, Tensor] = {}
        self._importance: dict[str, Tensor] = {}
        self._anchor: dict[str, Tensor] = {}

    def begin(self, params: NamedTensors) -> None:
        """The path of the first task starts at the initial parameters."""
        self._anchor = {name: tensor.clone() for name, tensor in params.items()}
        self._omega = {name: torch.zeros_like(tensor) for name, tensor in params.items()}
        self._importance = {name: torch.zeros_like(tensor) for name, tensor in params.items()}

    def after_task_gradient(self, gradients: NamedTensors, look_ahead: NamedTensors) -> None:
        """The path goes on along the step that the task gradient alone would cause."""
        self._go_on(gradients, look_ahead)

    def after_step(self, gradients: NamedTensors, steps: NamedTensors) -> None:
        """The path goes on along the step that was taken."""
        self._go_on(gradients, steps)

    def _go_on(self, gradients: NamedTensors, steps: NamedTensors) -> None:
        for name, omega in self._omega.items():
            omega.addcmul_(gradients[name], steps[name], value=-1)

    def penalty(self, params: NamedTensors) -> Tensor | None:
        """The pull towards the anchor, shape ``()``; None before the first consolidation."""
        if not self._has_consolidated:
            return None
        return quadratic_penalty(params, self._importance, self._anchor, self._params.si_lambda)

    @torch.no_grad()
    def consolidate(self, consolidation: Consolidation) -> None:
        """Turn the path integral into importances, and start the next path here."""
        for name, tensor in consolidation.params.items():
            change = tensor - self._anchor[name]
            gain = self._omega[name] / (change.square() + self._params.si_xi)
            if self._params.negative_importance == "clamped":
                gain.clamp_(min=0)
            self._importance[name] += gain
            self._omega[name].zero_()
            self._anchor[name] = tensor.clone()
        self._has_consolidated = True

    def graph_obstacle(self) -> str | None:
        """None (`clbench.protocols.RunsAsGraph`)."""
        return None

    @classmethod
    def lockstep_obstacle(cls, params: SynapticIntelligenceParams) -> str | None:
        """None but in subclasses (`clbench.protocols.RunsInLockstep`)."""
        return inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[SynapticIntelligence]) -> SynapticIntelligence:
        """Put together for the steps of a task (`clbench.protocols.RunsInLockstep`)."""
        together = copy(replicas[0])
        together._omega = joint_tensors([replica._omega for replica in replicas])
        together._importance = joint_tensors([replica._importance for replica in replicas])
        together._anchor = joint_tensors([replica._anchor for replica in replicas])
        for r, replica in enumerate(replicas):
            replica._omega = {name: omega[r] for name, omega in together._omega.items()}
        return together

    def state(self) -> State:
        """Path integral, importances and anchor."""
        return {
            "has_consolidated": self._has_consolidated,
            "omega": {name: tensor.clone() for name, tensor in self._omega.items()},
            "importance": {name: tensor.clone() for name, tensor in self._importance.items()},
            "anchor": {name: tensor.clone() for name, tensor in self._anchor.items()},
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._has_consolidated = state["has_consolidated"]
        for own, saved in (
            (self._omega, state["omega"]),
            (self._importance, state["importance"]),
            (self._anchor, state["anchor"]),
        ):
            for name, tensor in own.items():
                tensor.copy_(saved[name])
