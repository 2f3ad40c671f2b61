"""Experience replay (Chaudhry et al. 2019, arXiv:1902.10486).

At each step the loss is the mean over the batch and over samples drawn from the memory (Alg. 1)::

    1 / (B + M) * (sum of the losses of the batch + sum of the losses of M stored samples)

and then the memory is shown the batch. The README of this plugin numbers the departures from the
paper.
"""

from __future__ import annotations

from typing import ClassVar

from clbench.protocols import Batch, Observation
from clbench.scenario import ALL_SCENARIOS, Scenario

from .memory import num_samples
from .rehearsal import Rehearsal


class ExperienceReplay(Rehearsal):
    """Stores samples at every step; see the module's text."""

    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    def gradient(self, batch: Batch) -> Observation:
        """The gradient of the mean over new and stored samples."""
        total, count = self.rehearsed()
        losses, outputs = self.losses(batch, batch.task_id)
        mean = (losses.sum() + total) / (num_samples(batch) + count)
        mean.backward()  # type: ignore[no-untyped-call]
        self._memory.add(batch)
        return Observation(losses.mean().detach(), outputs.detach())
