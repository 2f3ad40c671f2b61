"""Where the parts of a copy sequence stand in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Padding = Literal["zeros", "random", "after-stop"]


@dataclass(frozen=True, slots=True)
class Timeline:
    """The time steps of one sample, counted from 0.

    Attributes:
        input_length: i, steps of the input.
        pattern_length: p, steps of the pattern, at most i.
        padding: What fills the ``i - p`` steps that the pattern leaves: zeros before the stop
            flag, random bits before it, or zeros after it, which belong to the output.
    """

    input_length: int
    pattern_length: int
    padding: Padding = "zeros"

    @property
    def steps(self) -> int:
        """All steps: input, stop flag, recall."""
        return self.input_length + 1 + self.pattern_length

    @property
    def random_steps(self) -> int:
        """Steps from 0 on that hold random bits."""
        return self.input_length if self.padding == "random" else self.pattern_length

    @property
    def stop(self) -> int:
        """The step of the stop flag."""
        return self.pattern_length if self.padding == "after-stop" else self.input_length

    @property
    def window(self) -> slice:
        """The scored steps: all after the stop flag."""
        return slice(self.stop + 1, self.steps)

    @property
    def recall(self) -> slice:
        """The steps of the window in which the pattern is to be given: the last p."""
        return slice(self.steps - self.pattern_length, self.steps)
