"""The copy task: recall the whole input. Tasks may differ in the length of the input only."""

from __future__ import annotations

from typing import ClassVar

from pydantic import NonNegativeInt, model_validator

from clbench.params import Params

from .family import CopyFamily, CopyParams
from .manipulations import Manipulation, unchanged
from .timeline import Timeline


class PlainCopyParams(CopyParams):
    """Parameters of the plain copy task."""

    input_length_step: NonNegativeInt = 0
    """Time steps by which the input grows from task to task."""
    input_length_variability: NonNegativeInt = 0
    """Most time steps by which the input of a sample is longer or shorter than the task's."""

    @model_validator(mode="after")
    def _check(self) -> PlainCopyParams:
        if self.input_length_variability >= self.input_length:
            raise ValueError(
                f"input_length_variability ({self.input_length_variability}) must be less than "
                f"input_length ({self.input_length})"
            )
        return self


class PlainCopy(CopyFamily[PlainCopyParams]):
    """The input, as it is, after the stop flag."""

    Params: ClassVar[type[Params]] = PlainCopyParams

    def timelines(self, task_id: int) -> tuple[Timeline, ...]:
        """One for each input length of the task; the pattern is as long as the input."""
        mean = self.params.input_length + task_id * self.params.input_length_step
        spread = self.params.input_length_variability
        lengths = range(mean - spread, mean + spread + 1)
        return tuple(Timeline(length, length) for length in lengths)

    def manipulations(self, data_seed: int) -> list[Manipulation]:
        """None."""
        return [unchanged] * self.params.num_tasks
