"""The contract tests catch executors that break their promises, and say which promise it was."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from contracts import broken_promises

from clbench.executor import Executor, Listener
from clbench.local_pool import LocalExecutor, LocalParams
from clbench.matrix import Cell, Group
from clbench.records import Record
from clbench.registry import Registry
from clbench.runner import run_cell
from clbench.testing import ExecutorContract


class _InThisProcess:
    """A sound executor; the broken ones change one of its parts."""

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        registry = Registry.discover()
        for group in groups:
            if should_stop():
                return
            for cell in group:
                listener.started(cell)
            for cell in group:
                listener.finished(cell, self.run(cell, registry))

    def run(self, cell: Cell, registry: Registry) -> Record:
        return run_cell(cell, registry, lambda progress: None)


class _NeverStops(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        super().execute(groups, listener, lambda: False)


class _StopsAtNoOnesWish(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        super().execute(groups[:2], listener, should_stop)


class _FinishesAfterAStop(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        for cell in itertools.chain(*groups):
            listener.started(cell)
        for cell in itertools.chain(*groups):
            listener.finished(cell, self.run(cell, Registry.discover()))
            if should_stop():
                listener.finished(groups[-1][-1], self.run(groups[-1][-1], Registry.discover()))
                return


class _StartsNothing(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        for cell in itertools.chain(*groups):
            listener.finished(cell, self.run(cell, Registry.discover()))


class _FinishesTwice(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        super().execute(groups, listener, should_stop)
        if not should_stop():
            listener.finished(groups[0][0], self.run(groups[0][0], Registry.discover()))


class _StartsTwice(_InThisProcess):
    def execute(self, groups: Any, listener: Any, should_stop: Any) -> None:
        if not should_stop():
            listener.started(groups[0][0])
        super().execute(groups, listener, should_stop)


class _RunsWithHalfTheBudget(_InThisProcess):
    def run(self, cell: Cell, registry: Registry) -> Record:
        half = replace(cell, config=cell.config.model_copy(update={"budget": 0.5}))
        found = super().run(half, registry)
        return found.model_copy(update={"config": cell.config})


class _MixesUpItsRecords(_InThisProcess):
    def run(self, cell: Cell, registry: Registry) -> Record:
        record = super().run(cell, registry)
        other = cell.config.model_copy(update={"seed": cell.config.seed + 1})
        return record.model_copy(update={"config": other})


class _RaisesWhatACellRaises(_InThisProcess):
    def run(self, cell: Cell, registry: Registry) -> Record:
        record = super().run(cell, registry)
        assert record.failure is None, "the cell raised"
        return record


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_InThisProcess, set()),
        (
            _NeverStops,
            {
                "the executor began a cell although told to stop",
                "the executor went on to the end although told to stop",
            },
        ),
        (_StopsAtNoOnesWish, {"not every cell was started once"}),
        (_FinishesAfterAStop, {"a cell got a record after the executor was told to stop"}),
        (_StartsNothing, {"a cell was finished that had not been started"}),
        (_FinishesTwice, {"a cell was finished twice"}),
        (_StartsTwice, {"not every cell was started once"}),
        (_RunsWithHalfTheBudget, {"a record has another result than the runner's"}),
        (_MixesUpItsRecords, {"a cell got the record of another"}),
        (_RaisesWhatACellRaises, {"the cell raised"}),
    ],
)
def test_an_executor_that_breaks_a_promise_is_caught(broken: Any, expected: set[str]) -> None:
    class Contract(ExecutorContract):
        def build(self) -> Executor:
            executor: Executor = broken()
            return executor

    found = set(broken_promises(Contract))

    assert expected <= found
    assert bool(expected) == bool(found)


class TestLocalExecutor(ExecutorContract):
    def build(self) -> Executor:
        return LocalExecutor(LocalParams(jobs=2))
