"""Rows of texts -> a table in which names stay whole, where a terminal has the room for it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.table import Table
from rich.text import Text

_GAP = 2


def fitting(
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    width: int,
    *,
    right: Collection[str] = (),
    wraps: bool = True,
) -> Table | None:
    """A table in which no word is broken.

    Args:
        headings: Of the columns.
        rows: The texts of each row.
        width: Columns of the terminal.
        right: Headings of the columns that stand on the right, such as those of numbers.
        wraps: Whether a text of the last column may go on in the next line, between words.

    Returns:
        None where the table is wider than the terminal; then a list serves.
    """
    columns = zip(headings, *rows, strict=True)
    texts = [[Text.assemble(text) for text in column] for column in columns]
    last = [Text(word) for text in texts[-1] for word in text.plain.split()] if wraps else texts[-1]
    needed = [max((text.cell_len for text in column), default=0) for column in [*texts[:-1], last]]
    if sum(needed) + _GAP * (len(needed) - 1) > width:
        return None
    grid = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for heading in headings:
        grid.add_column(
            heading,
            header_style="bold",
            justify="right" if heading in right else "left",
            no_wrap=not wraps or heading != headings[-1],
        )
    for row in rows:
        grid.add_row(*row)
    return grid
