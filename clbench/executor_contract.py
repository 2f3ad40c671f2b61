"""The contract test of executors; `clbench.testing` has it with the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from clbench.executor import Executor, Progress
from clbench.matrix import Cell, Group, expand
from clbench.records import Record
from clbench.registry import Registry
from clbench.runner import run_cell
from clbench.suite import load

_CELLS = """
suite: contract
scenario: task-il
seeds: [0, 1]
defaults:
  model: {name: mlp, hidden_sizes: [4], winners: {percent_on: 0.5}} # nothing in lockstep
  training: {iterations: 3, batch_size: 4}
tasks:
  a: {family: toy-regression, num_train: 8, num_test: 4}
methods:
  good: {learner: fine-tuning}
  fails: {learner: fine-tuning, training: {learning_rate: 3e38, optimizer: sgd}}
  good-too: {learner: fine-tuning, regularizers: {si: {}}}
"""


def contract_cells() -> Sequence[Cell]:
    """Cells of clbench's own plugins; the third and the fourth fail.

    Their net cannot run in lockstep, so a group's results are, bit for bit, those of its cells.
    """
    with TemporaryDirectory() as folder:
        suite = Path(folder, "contract.yaml")
        suite.write_text(_CELLS, encoding="utf-8")
        return expand(load(suite, Registry.discover()))


@dataclass
class _Log:
    """A listener that writes down what happens, and asks to stop in time."""

    stop_after: int = 1000
    begun: list[str] = field(default_factory=list)
    ended: dict[str, Record] = field(default_factory=dict)
    num_ends: int = 0
    told_to_stop: bool = False

    def started(self, cell: Cell) -> None:
        assert not self.told_to_stop, "a cell was begun after the executor was told to stop"
        self.begun.append(cell.config.id)

    def progressed(self, progress: Progress) -> None:
        assert progress.cell_id in self.begun, "there was progress of a cell that had not begun"

    def finished(self, cell: Cell, record: Record) -> None:
        assert not self.told_to_stop, "a cell got a record after the executor was told to stop"
        assert cell.config.id in self.begun, "a cell was finished that had not been started"
        assert record.config == cell.config, "a cell got the record of another"
        self.ended[cell.config.id] = record
        self.num_ends += 1

    def should_stop(self) -> bool:
        self.told_to_stop = self.num_ends >= self.stop_after
        return self.told_to_stop


class ExecutorContract:
    """What every executor promises. Its cells take less than a second, all of them together."""

    def build(self) -> Executor:
        """The executor, with few workers."""
        raise NotImplementedError

    def cells(self) -> Sequence[Cell]:
        """Cells of clbench's own plugins; some of them fail."""
        return contract_cells()

    def groups(self) -> Sequence[Group]:
        """The cells, two of them as one group."""
        (first, second, *rest) = self.cells()
        return [(first, second), *((cell,) for cell in rest)]

    def _execute(self, groups: Sequence[Group], stop_after: int = 1000) -> _Log:
        log = _Log(stop_after)
        self.build().execute(groups, log, log.should_stop)
        return log

    def test_every_cell_is_started_once_and_gets_the_record_of_the_runner(self) -> None:
        cells, threads = self.cells(), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            expected = [
                run_cell(cell, Registry.discover(), lambda progress: None) for cell in cells
            ]
        finally:
            torch.set_num_threads(threads)

        log = self._execute(self.groups())

        ids = sorted(cell.config.id for cell in cells)
        assert sorted(log.begun) == ids, "not every cell was started once"
        assert sorted(log.ended) == ids, "not every cell got a record"
        assert log.num_ends == len(ids), "a cell was finished twice"
        for record in expected:
            found = log.ended[record.id]
            assert found.status == record.status, "a record has another status than the runner's"
            assert found.result == record.result, "a record has another result than the runner's"
            has_cause = (found.failure is None) == (record.failure is None)
            assert has_cause, "the record of a failure does not tell its cause"

    def test_it_begins_nothing_when_it_is_told_to_stop_at_once(self) -> None:
        log = self._execute(self.groups(), stop_after=0)

        assert log.begun == [], "the executor began a cell although told to stop"

    def test_it_stops_in_the_middle(self) -> None:
        cells = self.cells()

        log = self._execute([(cell,) for cell in cells], stop_after=1)

        assert log.num_ends < len(cells), "the executor went on to the end although told to stop"
