"""What a person sees while cells run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

from clbench.executor import Progress
from clbench.matrix import Cell
from clbench.metrics import SUMMARIES
from clbench.records import Failure, Record


def outcome(record: Record) -> str:
    """A record in a few words: ``ok in 12.3 s, during 99.98, final 63.20``."""
    if record.status != "ok" or record.result is None:
        return f"{record.status}: {_cause(record.failure)}" if record.failure else record.status
    parts = [f"ok in {_seconds(record.timing.total)}" if record.timing else "ok"]
    for name, word in (
        ("during_accuracy", "during"),
        ("final_accuracy", "final"),
        ("online_accuracy", "online"),
    ):
        value = SUMMARIES[name](record.result)
        if value is not None:
            parts.append(f"{word} {_score(value, record.result.metric.name)}")
    return ", ".join(parts)


def _cause(failure: Failure) -> str:
    """The first line of its message, or its type where that says nothing, and the place."""
    first = next(iter(failure.message.splitlines()), "").strip()
    return (first or failure.type) + (f" ({failure.where})" if failure.where else "")


def _score(value: float, metric: str) -> str:
    return f"{value:.2f}" if metric == "accuracy" else f"{value:.5f}"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _name(cell: Cell) -> str:
    return f"{cell.row} seed {cell.config.seed}"


class _Resumed:
    """Says once of each cell that goes on from a checkpoint that it does."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def started(self, cell: Cell) -> None:
        """A cell has begun; its first report tells from where."""
        self._names[cell.config.id] = _name(cell)

    def line(self, progress: Progress) -> str | None:
        """What to say after a report; None: nothing."""
        name = self._names.pop(progress.cell_id, None)
        if name is None or not progress.resumed_at:
            return None
        return f"{name}: goes on from step {progress.resumed_at} of {progress.total}"


@dataclass(slots=True)
class PlainLines:
    """One line when a cell begins, one if it goes on from a checkpoint, and one when it ends."""

    console: Console
    total: int
    done: int = 0
    resumed: _Resumed = field(default_factory=_Resumed)

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def started(self, cell: Cell) -> None:
        """A cell has begun."""
        self.resumed.started(cell)
        self._print(f"[     ] {_name(cell)}: started")

    def progressed(self, progress: Progress) -> None:
        """Not shown, but for where a cell goes on from."""
        if line := self.resumed.line(progress):
            self._print(f"[     ] {line}")

    def finished(self, cell: Cell, record: Record) -> None:
        """A cell has ended."""
        self.done += 1
        self._print(f"[{self.done}/{self.total}] {_name(cell)}: {outcome(record)}")

    def _print(self, line: str) -> None:
        self.console.print(Text(line), soft_wrap=True)


class _EtaColumn(TimeRemainingColumn):
    """The time left of a bar, without a speed estimate before its first report."""

    def render(self, task: Task) -> Text:
        """Nothing for a bar that has not moved."""
        return super().render(task) if task.completed else Text("-:--:--", style="dim")


@dataclass(slots=True)
class LiveDisplay:
    """A bar over all cells, and one for each running cell with its task, loss and score."""

    console: Console
    total: int
    bars: Bars = field(init=False)
    all_cells: TaskID = field(init=False)
    running: dict[str, TaskID] = field(init=False, default_factory=dict)
    shares: dict[str, float] = field(init=False, default_factory=dict)
    resumed: _Resumed = field(init=False, default_factory=_Resumed)
    done: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.bars = Bars(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=8),
            TextColumn("{task.fields[detail]}", markup=False),
            _EtaColumn(compact=True),
            console=self.console,
            speed_estimate_period=300,
        )
        self.all_cells = self.bars.add_task("all cells", total=self.total, detail=self._count())

    def __enter__(self) -> LiveDisplay:
        self.bars.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bars.stop()

    def _count(self) -> str:
        return f"{self.done}/{self.total} done"

    def started(self, cell: Cell) -> None:
        """A cell has begun."""
        self.resumed.started(cell)
        self.running[cell.config.id] = self.bars.add_task(
            f"{cell.row} {cell.config.seed}", total=None, detail="starting"
        )

    def progressed(self, progress: Progress) -> None:
        """A running cell has come further."""
        task = self.running.get(progress.cell_id)
        if task is None:
            return
        if line := self.resumed.line(progress):
            self.bars.console.print(Text(line))
        detail = f"task {progress.task + 1}/{progress.num_tasks}"
        if progress.loss is not None:
            detail += f" loss {progress.loss:.3g}"
        if progress.score is not None:
            detail += f" score {progress.score:.4g}"
        self.bars.update(task, total=progress.total, completed=progress.done, detail=detail)
        self.shares[progress.cell_id] = progress.done / progress.total
        self._show_all()

    def finished(self, cell: Cell, record: Record) -> None:
        """A cell has ended; its line stays above the bars."""
        self.done += 1
        self.shares.pop(cell.config.id, None)
        task = self.running.pop(cell.config.id, None)
        if task is not None:
            self.bars.remove_task(task)
        style = "" if record.status == "ok" else "red"
        self.bars.console.print(Text(f"{_name(cell)}: {outcome(record)}", style=style))
        self._show_all()

    def _show_all(self) -> None:
        done = self.done + sum(self.shares.values())
        self.bars.update(self.all_cells, completed=done, detail=self._count())


def listener(console: Console, total: int) -> PlainLines | LiveDisplay:
    """The display that suits where the output goes."""
    return LiveDisplay(console, total) if console.is_terminal else PlainLines(console, total)
