"""Tables in which no word is broken, or none at all."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.text import Text

from clbench import grids

HEADINGS = ("name", "n", "verdict")
ROWS = [("permuted copy", "12", Text("no test: 1 pair")), ("b", "3", Text("A better"))]
WHOLE = 13 + 2 + 2 + 2 + 15
WRAPPED = 13 + 2 + 2 + 2 + len("verdict")


def _lines(width: int, *, wraps: bool = True) -> list[str]:
    grid = grids.fitting(HEADINGS, ROWS, width, right=("n",), wraps=wraps)
    assert grid is not None
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(grid)
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("wraps", [True, False])
def test_where_there_is_room_each_row_is_a_line(wraps: bool) -> None:
    assert _lines(WHOLE, wraps=wraps) == [
        "name            n  verdict",
        "permuted copy  12  no test: 1 pair",
        "b               3  A better",
    ]


def test_only_the_last_column_goes_on_in_the_next_line_and_between_words() -> None:
    assert _lines(WRAPPED) == [
        "name            n  verdict",
        "permuted copy  12  no",
        "                   test: 1",
        "                   pair",
        "b               3  A",
        "                   better",
    ]


@pytest.mark.parametrize(("width", "wraps"), [(WRAPPED - 1, True), (WHOLE - 1, False)])
def test_where_a_name_would_be_broken_there_is_no_table(width: int, wraps: bool) -> None:
    assert grids.fitting(HEADINGS, ROWS, width, wraps=wraps) is None


def test_letters_that_take_two_columns_count_twice() -> None:
    assert grids.fitting(("a",), [("数据",)], 4, wraps=False) is not None
    assert grids.fitting(("a",), [("数据",)], 3, wraps=False) is None


def test_a_table_without_rows_has_its_headings() -> None:
    assert grids.fitting(HEADINGS, [], 80) is not None
