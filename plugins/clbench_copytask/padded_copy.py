"""The padded copy task: recall a pattern that is shorter than the input."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import NonNegativeInt, PositiveInt, model_validator

from clbench.params import Params

from .family import CopyFamily, CopyParams
from .manipulations import Manipulation, Permute, permuted, unchanged
from .scoring import PaddedBitwise
from .timeline import Padding, Timeline


class PaddedCopyParams(CopyParams):
    """Parameters of the padded copy task."""

    input_length: PositiveInt = 25
    """Time steps i of the input of the first task, padding included."""
    pattern_length: PositiveInt = 5
    """Time steps p of the pattern, less than those of the shortest input."""
    padding: Padding = "zeros"
    """What fills the other steps of the input: zeros or random bits before the stop flag, or
    nothing, so that the stop flag comes at once and the zeros are part of the output."""
    permute: Permute | Literal["none"] = "none"
    """What changes places: nothing, whole time steps, the bits within each step, or all bits."""
    input_length_step: NonNegativeInt = 0
    """Time steps by which the input grows from task to task."""
    input_length_variability: NonNegativeInt = 0
    """Most time steps by which the input of a sample is longer or shorter than the task's."""

    @model_validator(mode="after")
    def _check(self) -> PaddedCopyParams:
        shortest = self.input_length - self.input_length_variability
        if self.pattern_length >= shortest:
            raise ValueError(
                f"pattern_length ({self.pattern_length}) must be less than the shortest input, "
                f"input_length - input_length_variability ({shortest})"
            )
        return self


class PaddedCopy(CopyFamily[PaddedCopyParams]):
    """A pattern and its padding; what a permutation moves is the pattern alone."""

    Params: ClassVar[type[Params]] = PaddedCopyParams

    objective: PaddedBitwise = PaddedBitwise()

    def timelines(self, task_id: int) -> tuple[Timeline, ...]:
        """One for each input length of the task."""
        params = self.params
        mean = params.input_length + task_id * params.input_length_step
        spread = params.input_length_variability
        return tuple(
            Timeline(length, params.pattern_length, params.padding)
            for length in range(mean - spread, mean + spread + 1)
        )

    def manipulations(self, data_seed: int) -> list[Manipulation]:
        """The task's permutation, or none."""
        params = self.params
        if params.permute == "none":
            return [unchanged] * params.num_tasks
        orders = self.orders(data_seed, params.pattern_length, params.permute, count=1)
        return [permuted(order) for (order,) in orders]
