"""What a command line call means: which cells, from where, by which engine."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from clbench import checkpoints, claims, groups, matrix, progress, published, tables
from clbench.config import Choice
from clbench.errors import ClbenchError, RecordError
from clbench.executor import Executor, KnowsWorkers, Listener, Previewing
from clbench.groups import Width
from clbench.matrix import Cell
from clbench.records import Record
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import Row, Suite


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for.

    Attributes:
        suite: The suite.
        rows: The chosen rows of it.
        seeds: The chosen seeds.
        budget: Fraction of the full budget.
        cells: All chosen cells.
        todo: Those that have no good record yet.
        store: Where records are.
        force: Whether cells run whatever there is of them: records and checkpoints.
    """

    suite: Suite
    rows: tuple[Row, ...]
    seeds: tuple[int, ...]
    budget: float
    cells: tuple[Cell, ...]
    todo: tuple[Cell, ...]
    store: Store
    force: bool


def plan(
    suite: Suite,
    only: Sequence[str],
    seeds: Sequence[int] | None,
    budget: float,
    results: Path,
    force: bool,
) -> Plan:
    """The cells that are asked for, and those of them that have to run.

    Raises:
        ClbenchError: A glob or a seed fits nothing, or a record is damaged (and `force` is off).
    """
    cells = matrix.expand(suite, only, seeds, budget)
    store = Store(results)
    todo = tuple(cell for cell in _once(cells) if force or not _has_result(store, cell))
    return Plan(
        suite=suite,
        rows=matrix.select(suite, only),
        seeds=matrix.check_seeds(suite, seeds),
        budget=budget,
        cells=cells,
        todo=todo,
        store=store,
        force=force,
    )


def _once(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of equal configuration once; two rows may ask the same."""
    return list({cell.config.id: cell for cell in reversed(cells)}.values())[::-1]


def _has_result(store: Store, cell: Cell) -> bool:
    try:
        record = store.find(cell.config)
    except RecordError as error:
        raise ClbenchError(f"{error}\n    delete the file, or run with --force") from error
    return record is not None and record.status == "ok"


@dataclass(slots=True)
class _Keeper:
    """Keeps every record, removes checkpoints that nobody needs, then tells the display."""

    store: Store
    display: Listener
    failed: list[tuple[Cell, Record]] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def started(self, cell: Cell) -> None:
        self.display.started(cell)

    def progressed(self, report: Any) -> None:
        self.display.progressed(report)

    def finished(self, cell: Cell, record: Record) -> None:
        try:
            self.store.put(record)
        except ClbenchError as error:
            what = f"{cell.row} seed {cell.config.seed} has ended and its record cannot be kept"
            rest = "its last checkpoint is: the same command goes on from there"
            raise ClbenchError(f"{error}\n    {what};\n    {rest}") from error
        if not _can_go_on(record):
            checkpoints.forget(record.id)
        if record.status not in ("ok", "skipped"):
            self.failed.append((cell, record))
        self.notes.update(record.provenance.notes if record.provenance else ())
        self.display.finished(cell, record)


def _can_go_on(record: Record) -> bool:
    """Whether the cell can go on from its last checkpoint: it did not come to its own end.

    Its worker was stopped from outside or never began, and made no record with provenance; or this
    time it lacked what it had before, its data or its memory.
    """
    return record.provenance is None or record.status in ("skipped", "out-of-memory")


def execute(
    plan: Plan,
    engine: Executor,
    console: Console,
    fail_fast: bool,
    registry: Registry,
    lockstep: Width = 1,
    trackers: tuple[Choice, ...] = (),
) -> bool:
    """Run what has to run, and no other process is running; whether no cell failed.

    Args:
        plan: What is asked for.
        engine: Runs the cells.
        console: For the progress, and for notices.
        fail_fast: Whether to begin no further cell after a failure.
        registry: Where the parts of cells are found.
        lockstep: Most cells that run as one program.
        trackers: Told of every cell that runs.

    Raises:
        ClbenchError: The results folder cannot be written to, or the engine cannot run.
    """
    total = len(_once(plan.cells))
    old = total - len(plan.todo)
    if old:
        console.print(f"{old} of {total} cells have a record already")
    if not plan.todo:
        return True
    plan.store.prepare()
    with claims.claim(plan.store.root, [cell.config.id for cell in plan.todo]) as mine:
        # what another run has finished since the plan was made is claimed by nobody
        anew = uuid.uuid4().hex if plan.force else ""
        todo = [
            replace(cell, trackers=trackers, anew=anew)
            for cell in plan.todo
            if cell.config.id in mine and (plan.force or not _has_result(plan.store, cell))
        ]
        if len(mine) < len(plan.todo):
            others = len(plan.todo) - len(mine)
            console.print(f"{others} cells are being run by another process and left to it")
        if not todo:
            return True
        formed = _groups(todo, engine, console, registry, lockstep)
        return _execute(plan, formed, engine, console, fail_fast)


def preview(
    plan: Plan, engine: Executor, console: Console, registry: Registry, lockstep: Width
) -> str:
    """What the engine would send elsewhere; empty where it sends nothing."""
    if not (isinstance(engine, Previewing) and plan.todo):
        return ""
    return f"\n{engine.preview(_groups(plan.todo, engine, console, registry, lockstep))}\n"


def _groups(
    todo: Sequence[Cell], engine: Executor, console: Console, registry: Registry, lockstep: Width
) -> Sequence[matrix.Group]:
    """The groups that run in lockstep; says which rows cannot where a width is asked for."""
    num_workers = engine.num_workers if isinstance(engine, KnowsWorkers) else None
    found = groups.form(todo, registry, lockstep, num_workers)
    if lockstep not in ("auto", 1) and found.alone:
        rows = ", ".join(f"{row} ({why})" for row, why in found.alone.items())
        console.print(Text(f"cells of these rows run alone: {rows}"), soft_wrap=True)
    return found.groups


def _execute(
    plan: Plan, todo: Sequence[matrix.Group], engine: Executor, console: Console, fail_fast: bool
) -> bool:
    """Run groups; whether no cell failed."""
    with progress.listener(console, sum(map(len, todo))) as display:
        keeper = _Keeper(plan.store, display)
        engine.execute(todo, keeper, lambda: fail_fast and bool(keeper.failed))
    for cell, record in keeper.failed:
        console.print(Text(_told(cell, record, plan.store), style="red"), soft_wrap=True)
    for note, count in keeper.notes.items():
        where = f" ({count} cells)" if count > 1 else ""
        console.print(Text(f"note: {note}{where}", style="yellow"), soft_wrap=True)
    return not keeper.failed


def _told(cell: Cell, record: Record, store: Store) -> str:
    """What is said of a failure: where it is kept, or all of it where a good record is instead."""
    what, path = f"failed: {cell.row} seed {cell.config.seed}", store.path(cell.config.id)
    kept = store.find(cell.config)
    if kept is None or kept.status != "ok" or record.failure is None:
        return f"{what} ({path} says more)"
    text = record.failure.traceback or f"{record.failure.type}: {record.failure.message}"
    return f"{what} ({path} is kept: an earlier run was good)\n{text.rstrip()}"


def table(plan: Plan) -> tables.ResultsTable:
    """The table of what is asked for.

    Raises:
        ClbenchError: A record or the ledger is damaged.
    """
    return tables.collect(
        plan.suite,
        plan.store,
        published.find(plan.store.root, plan.suite.path, plan.suite.published),
        budget=plan.budget,
        rows=plan.rows,
        seeds=plan.seeds,
    )


def describe(plan: Plan) -> RenderableType:
    """The matrix, with what it costs and what is left out."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading, justify in (("row", "left"), ("seeds", "left"), ("steps", "right"), ("", "left")):
        grid.add_column(heading, justify=justify, header_style="bold", overflow="fold")  # type: ignore[arg-type]
    todo = {cell.config.id for cell in plan.todo}
    total = 0
    for row in plan.rows:
        mine = [cell for cell in plan.cells if cell.row == row.key]
        steps = [matrix.training_steps(cell.config) for cell in mine]
        total += sum(step or 0 for step in steps)
        left = sum(cell.config.id in todo for cell in mine)
        note = f"{left} to run" if row.excluded is None else f"excluded: {row.excluded}"
        shown = "?" if None in steps else f"{sum(step or 0 for step in steps):,}"
        seeds = ", ".join(str(cell.config.seed) for cell in mine) or "none"
        grid.add_row(row.key, seeds, shown, Text(note))  # a reason may have brackets
    summary = (
        f"suite '{plan.suite.name}': {len(plan.cells)} cells, {len(todo)} to run, "
        f"{total:,} training steps in all"
    )
    if any(matrix.training_steps(cell.config) is None for cell in plan.cells):
        summary += ", without those at '?'"
    if plan.budget < 1:
        summary += f", at {100 * plan.budget:g} % of the full budget"
    return Group(grid, Text(""), Text(summary))
