"""The contract test of trackers; `clbench.testing` has it with the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from clbench.checkpoints import Checkpoints
from clbench.executor import Progress
from clbench.executor_contract import contract_cells
from clbench.matrix import Cell
from clbench.records import Result
from clbench.registry import Registry
from clbench.runner import run, run_cell
from clbench.tracking import Tracker, Tracking


class _CutOffError(BaseException):
    """Ends a cell as a kill would: nobody catches it."""


def _nothing(progress: Progress) -> None:
    """For who wants no reports."""


def _cut_in_the_second_task(progress: Progress) -> None:
    if progress.task == 1:
        raise _CutOffError


class TrackerContract:
    """What every tracker promises. Its cells take less than a second, all of them together."""

    def build(self) -> Tracker:
        """The tracker; a new one for each cell, as where cells run."""
        raise NotImplementedError

    def cells(self) -> Sequence[Cell]:
        """Cells of clbench's own plugins; the third and the fourth fail."""
        return contract_cells()

    def _tracking(self, cell: Cell) -> Tracking:
        return Tracking(cell.suite, cell.row, {"it": self.build()})

    def test_tracked_cells_have_the_results_of_untracked_ones(self) -> None:
        registry = Registry.discover()
        for cell in self.cells():
            expected, tracking = run_cell(cell, registry, _nothing), self._tracking(cell)
            found: Result | None = None
            try:
                found, _ = run(cell.config, registry, _nothing, tracking=tracking)
            except Exception:
                assert expected.status != "ok", "a tracked cell failed, and not without the tracker"
            tracking.finished(expected)

            assert tracking.notes == [], tracking.notes[0]
            assert found == expected.result, "the tracker changed a result"

    def test_it_is_told_of_a_cell_that_was_cut_off_and_goes_on(self) -> None:
        registry, cell = Registry.discover(), self.cells()[0]
        expected = run_cell(cell, registry, _nothing)
        with TemporaryDirectory() as folder:

            def checkpoints() -> Checkpoints:
                return Checkpoints(cell.config.id, {}, folder=Path(folder))

            first, second = self._tracking(cell), self._tracking(cell)
            with suppress(_CutOffError):
                run(cell.config, registry, _cut_in_the_second_task, checkpoints(), first)
            found, _ = run(cell.config, registry, _nothing, checkpoints(), second)
        second.finished(expected)

        assert first.notes + second.notes == [], (first.notes + second.notes)[0]
        assert found == expected.result, "the tracker changed a result"

    def test_trackers_of_several_cells_may_live_at_once(self) -> None:
        registry = Registry.discover()
        pairs = [(cell, self._tracking(cell)) for cell in self.cells()[:2]]
        for cell, tracking in pairs:
            run(cell.config, registry, _nothing, tracking=tracking)
        for cell, tracking in pairs:
            tracking.finished(run_cell(cell, registry, _nothing))

            assert tracking.notes == [], tracking.notes[0]
