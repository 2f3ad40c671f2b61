"""The contract tests catch trackers that break their promises, and say which promise it was."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from contracts import broken_promises

from clbench.records import Record
from clbench.testing import TrackerContract
from clbench.tracking import Start, Tracker


class _Deaf:
    """A sound tracker: it hears what it is told, and does nothing."""

    def started(self, start: Start) -> None: ...
    def learnt(self, points: Any) -> None: ...
    def evaluated(self, evaluation: Any) -> None: ...
    def finished(self, record: Record, summary: Any) -> None: ...


class _KnowsOnlyGoodEnds(_Deaf):
    def finished(self, record: Record, summary: Any) -> None:
        self.final = summary["final_accuracy"]


class _ChangesTheNumbers(_Deaf):
    def started(self, start: Start) -> None:
        object.__setattr__(start.config.training, "learning_rate", 1.0)


class _BeginsOnceOnly(_Deaf):
    def started(self, start: Start) -> None:
        if start.done:
            raise ValueError("there is a run already")


class _IsAlone(_Deaf):
    running: ClassVar[int] = 0

    def started(self, start: Start) -> None:
        type(self).running += 1
        if self.running > 1:
            raise ValueError("there is another cell")

    def finished(self, record: Record, summary: Any) -> None:
        type(self).running -= 1


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_Deaf, None),
        (_KnowsOnlyGoodEnds, "in 'finished' and was told no more (KeyError: 'final_accuracy')"),
        (_ChangesTheNumbers, "the tracker changed a result"),
        (_BeginsOnceOnly, "in 'started' and was told no more (ValueError: there is a run already)"),
        (_IsAlone, "in 'started' and was told no more (ValueError: there is another cell)"),
    ],
)
def test_a_tracker_that_breaks_a_promise_is_caught(broken: Any, expected: str | None) -> None:
    class Contract(TrackerContract):
        def build(self) -> Tracker:
            tracker: Tracker = broken()
            return tracker

    found = broken_promises(Contract)

    assert any(promise.endswith(expected) for promise in found) if expected else found == []
