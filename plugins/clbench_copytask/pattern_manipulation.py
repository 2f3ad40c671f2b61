"""The pattern manipulation task: the XOR of the input and permutations of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import PositiveInt

from clbench.params import Params

from .family import CopyFamily, CopyParams
from .manipulations import Manipulation, Permute, xor_iterated, xor_separate
from .timeline import Timeline


class PatternManipulationParams(CopyParams):
    """Parameters of the pattern manipulation task."""

    xor_iterations: PositiveInt = 1
    """How often a permutation is XORed in (r)."""
    permutations: Literal["separate", "iterated"] = "separate"
    """`separate`: r permutations, each of the input; `iterated`: one, each time of the result so
    far. With one iteration both are the same."""
    permute: Permute = "time"
    """What changes places: whole time steps, the bits within each step, or all bits (`both`)."""


class PatternManipulation(CopyFamily[PatternManipulationParams]):
    """Random permutations for each task; its first is that of the permuted copy task."""

    Params: ClassVar[type[Params]] = PatternManipulationParams

    def timelines(self, task_id: int) -> tuple[Timeline, ...]:
        """The same for all tasks; the pattern is the input."""
        return (Timeline(self.params.input_length, self.params.input_length),)

    def manipulations(self, data_seed: int) -> list[Manipulation]:
        """The task's XOR of permutations."""
        params = self.params
        if params.permutations == "iterated":
            orders = self.orders(data_seed, params.input_length, params.permute, count=1)
            return [xor_iterated(order, params.xor_iterations) for (order,) in orders]
        orders = self.orders(
            data_seed, params.input_length, params.permute, count=params.xor_iterations
        )
        return [xor_separate(task_orders) for task_orders in orders]
