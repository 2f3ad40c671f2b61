"""Cutting cells off, and checkpoints at odd moments."""

from __future__ import annotations

from collections.abc import Callable

from clbench.checkpoints import Checkpoints
from clbench.executor import Progress


class CutOff(BaseException):
    """As a kill would: nobody catches it."""


def until(done: int) -> Callable[[Progress], None]:
    """A report that cuts off a cell after so many steps."""

    def report(progress: Progress) -> None:
        if progress.done >= done:
            raise CutOff

    return report


class EveryFifth(Checkpoints):
    """Due at every fifth question, so at another distance from each cut."""

    asked = 0

    @property
    def is_due(self) -> bool:
        self.asked += 1
        return self.asked % 5 == 0
