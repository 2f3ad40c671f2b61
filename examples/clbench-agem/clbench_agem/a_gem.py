"""Averaged gradient episodic memory (Chaudhry et al. 2019, arXiv:1812.00420).

With g the gradient of the loss on the batch and r that on samples of earlier tasks, the step is
along the projection of g onto the half-space in which the loss on the memory does not grow
(Eq. 11)::

    g                            where  g . r >= 0
    g - (g . r) / (r . r) r      where  g . r <  0

The README of this plugin numbers the departures from the paper.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from clbench.protocols import Batch, Observation, TaskData
from clbench.scenario import WITH_BOUNDARIES, Scenario
from torch import Tensor

from .rehearsal import Rehearsal


class AGem(Rehearsal):
    """Stores samples when a task has ended; see the module's text."""

    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = WITH_BOUNDARIES

    def gradient(self, batch: Batch) -> Observation:
        """The gradient on the batch, projected where it has to be."""
        reference = self._reference()
        losses, outputs = self.losses(batch, batch.task_id)
        loss = losses.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        if reference is not None:
            with torch.no_grad():
                gradient = self.parameters.gradients
                gradient.copy_(projected(gradient, reference))
        return Observation(loss.detach(), outputs.detach())

    def _reference(self) -> Tensor | None:
        """The gradient on stored samples, ``(P,)``; None where there are none yet."""
        total, count = self.rehearsed()
        if not count:
            return None
        (total / count).backward()  # type: ignore[no-untyped-call]
        reference = self.parameters.gradients.clone()
        self.parameters.zero_gradients()
        return reference

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Show the memory the whole training set of the task."""
        for batch in data.batches(data.num_samples):
            self._memory.add(batch)


def projected(gradient: Tensor, reference: Tensor) -> Tensor:
    """The gradient without its part against the reference; both ``(P,)``."""
    dot = torch.dot(gradient, reference)
    against = dot / torch.dot(reference, reference) * reference
    return torch.where(dot >= 0, gradient, gradient - against)  # on a GPU nobody waits for the dot
