"""Cutting cells off, and checkpoints at odd moments."""

from __future__ import annotations

from clbench.checkpoints import Checkpoints


class CutOff(BaseException):
    """As a kill would: nobody catches it."""


class EveryFifth(Checkpoints):
    """Due at every fifth question, so at another distance from each cut."""

    asked = 0

    @property
    def is_due(self) -> bool:
        self.asked += 1
        return self.asked % 5 == 0
