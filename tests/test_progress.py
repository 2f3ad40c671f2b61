"""What a person sees while cells run."""

from __future__ import annotations

import io

import pytest
import records
import toys
from rich.console import Console

from clbench.executor import Progress
from clbench.matrix import Cell
from clbench.progress import LiveDisplay, PlainLines, listener, outcome

CELL = Cell("toy", "a/plain", toys.config())


def _console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=80, color_system=None)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (records.good(), "ok in 1 min 00 s, during 99.00, final 90.00"),
        (records.bad(), "failed: no reason"),
        (records.bad(status="timed-out"), "timed-out: no reason"),
        (records.bad(where="some_plugin/deep.py:71"), "failed: no reason (some_plugin/deep.py:71)"),
        (records.bad(message="one\ntwo"), "failed: one"),
        (records.bad(message=""), "failed: ValueError"),
        (records.bad(message="\n ", where="a/b.py:7"), "failed: ValueError (a/b.py:7)"),
    ],
)
def test_an_outcome_is_told_in_a_few_words(record: object, text: str) -> None:
    assert outcome(record) == text  # type: ignore[arg-type]


def test_a_pipe_gets_plain_lines() -> None:
    console = _console(terminal=False)

    with listener(console, 2) as display:
        assert isinstance(display, PlainLines)
        display.started(CELL)
        display.progressed(Progress(CELL.config.id, 0, 3, 1, 60))
        display.finished(CELL, records.good())
        display.finished(CELL, records.bad())

    assert _text(console).splitlines() == [
        "[     ] a/plain seed 1: started",
        "[1/2] a/plain seed 1: ok in 1 min 00 s, during 99.00, final 90.00",
        "[2/2] a/plain seed 1: failed: no reason",
    ]


def test_a_terminal_gets_a_live_display_within_its_width() -> None:
    console = _console(terminal=True)

    with listener(console, 2) as display:
        assert isinstance(display, LiveDisplay)
        display.started(CELL)
        display.progressed(Progress(CELL.config.id, 1, 3, 30, 60, 0.5, 87.5))
        display.bars.refresh()
        shown = _text(console)
        display.finished(CELL, records.good())

    assert "task 2/3 loss 0.5 score 87.5" in shown
    assert "0/2 done" in shown
    assert "a/plain seed 1: ok in 1 min 00 s, during 99.00, final 90.00" in _text(console)
    assert display.bars.tasks[0].completed == 1


@pytest.mark.parametrize(("terminal", "lead"), [(False, "[     ] "), (True, "")])
def test_a_cell_that_goes_on_from_a_checkpoint_says_so_once(terminal: bool, lead: str) -> None:
    console = _console(terminal)

    with listener(console, 1) as display:
        display.started(CELL)
        display.progressed(Progress(CELL.config.id, 0, 3, 31, 60, resumed_at=30))
        display.progressed(Progress(CELL.config.id, 0, 3, 32, 60, resumed_at=30))

    assert f"{lead}a/plain seed 1: goes on from step 30 of 60" in _text(console)
    assert _text(console).count("goes on") == 1


def test_reports_of_cells_that_have_ended_are_ignored() -> None:
    with listener(_console(terminal=True), 1) as display:
        display.progressed(Progress("gone", 0, 3, 1, 60))
        assert isinstance(display, LiveDisplay)
        assert display.shares == {}
