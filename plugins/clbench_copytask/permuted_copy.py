"""The permuted copy task: recall the input in an order of the task's own."""

from __future__ import annotations

from typing import ClassVar

from clbench.params import Params

from .family import CopyFamily, CopyParams
from .manipulations import Manipulation, Permute, permuted
from .timeline import Timeline


class PermutedCopyParams(CopyParams):
    """Parameters of the permuted copy task."""

    permute: Permute = "time"
    """What changes places: whole time steps, the bits within each step, or all bits (`both`)."""


class PermutedCopy(CopyFamily[PermutedCopyParams]):
    """A random order for each task, the first one included; two tasks may have the same."""

    Params: ClassVar[type[Params]] = PermutedCopyParams

    def timelines(self, task_id: int) -> tuple[Timeline, ...]:
        """The same for all tasks; the pattern is the input."""
        return (Timeline(self.params.input_length, self.params.input_length),)

    def manipulations(self, data_seed: int) -> list[Manipulation]:
        """The task's permutation."""
        orders = self.orders(data_seed, self.params.input_length, self.params.permute, count=1)
        return [permuted(order) for (order,) in orders]
