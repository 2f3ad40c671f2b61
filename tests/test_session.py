"""What a call of ``clbench run`` keeps of a cell: its record, and its checkpoint where it can go on."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import records
import suite_files
import toys
from rich.console import Console

from clbench import session, worker
from clbench.cache import cache_folder
from clbench.executor import Listener
from clbench.matrix import Cell, Group
from clbench.records import Record


class _Engine:
    """Ends every cell with a record that is made up."""

    def __init__(self, make: Callable[[Cell], Record]) -> None:
        self._make = make

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        for group in groups:
            for cell in group:
                listener.finished(cell, self._make(cell))


def _ended(record: Record) -> Record:
    """As a worker makes it, at the cell's own end."""
    return record.model_copy(update={"provenance": records.provenance()})


@pytest.mark.parametrize(
    ("make", "can_go_on"),
    [
        (lambda cell: _ended(records.good(cell.config)), False),
        (lambda cell: _ended(records.bad(cell.config)), False),
        (lambda cell: _ended(records.bad(cell.config, "skipped")), True),
        (lambda cell: _ended(records.bad(cell.config, "out-of-memory")), True),
        (worker.timed_out, True),
        (lambda cell: worker.died(cell, "killed", "", is_out_of_memory=True), True),
        (lambda cell: worker.raised(cell, RuntimeError("no worker began"), ""), True),
    ],
    ids=["good", "failed", "no-data", "no-memory", "timed-out", "killed", "no-worker"],
)
def test_a_checkpoint_stays_where_the_cell_did_not_come_to_its_own_end(
    make: Callable[[Cell], Record], can_go_on: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path / "cache"))
    suite = suite_files.load(tmp_path, suite_files.GOOD)
    plan = session.plan(suite, ("*",), (1,), 1.0, tmp_path / "results", force=False)
    (cell,) = plan.cells
    checkpoint = cache_folder() / "checkpoints" / cell.config.id / "1.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.touch()

    session.execute(plan, _Engine(make), Console(file=io.StringIO()), False, toys.registry())

    assert plan.store.find(cell.config) == make(cell)
    assert checkpoint.exists() is can_go_on


def test_forced_cells_carry_a_name_of_their_command_to_where_they_run(tmp_path: Path) -> None:
    suite = suite_files.load(tmp_path, suite_files.GOOD)
    names: list[str] = []

    def make(cell: Cell) -> Record:
        names.append(cell.anew)
        return _ended(records.good(cell.config))

    for force in (False, True, True):
        plan = session.plan(suite, ("*",), None, 1.0, tmp_path / "results", force)
        session.execute(plan, _Engine(make), Console(file=io.StringIO()), False, toys.registry())

    count = len(plan.cells)
    assert count > 1
    found = [set(names[i * count : (i + 1) * count]) for i in range(3)]
    assert found[0] == {""}
    assert [len(one) for one in found] == [1, 1, 1]
    assert len(set.union(*found)) == 3
