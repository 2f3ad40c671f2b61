"""The generated table in a file of somebody's own, between two markers."""

from __future__ import annotations

from pathlib import Path

from clbench.columns import DEFAULT, View
from clbench.errors import ClbenchError
from clbench.files import written_whole
from clbench.render import to_markdown
from clbench.tables import ResultsTable


def between_markers(text: str, suite: str, path: Path) -> tuple[int, int]:
    """Where a generated table stands in a file: after its begin marker, before its end marker.

    Raises:
        ClbenchError: A marker is missing, there twice, or in the wrong order.
    """
    places = []
    for word in ("begin", "end"):
        marker = f"<!-- clbench:{word} {suite} -->"
        count = text.count(marker)
        if count != 1:
            raise ClbenchError(
                f"{path}: expected the marker '{marker}' once, found it {count} times"
            )
        places.append(text.index(marker) + (len(marker) if word == "begin" else 0))
    if places[0] > places[1]:
        raise ClbenchError(f"{path}: the markers of '{suite}' are in the wrong order")
    return places[0], places[1]


def is_current(path: Path, table: ResultsTable, view: View = DEFAULT) -> bool:
    """Whether a file has this table between its markers.

    Raises:
        ClbenchError: The file cannot be read, or its markers are not in order.
    """
    text = _text(path)
    begin, end = between_markers(text, table.suite, path)
    there = text[begin:end].replace("\r\n", "\n")
    return there.strip() == to_markdown(table, view).strip()


def update(path: Path, table: ResultsTable, view: View = DEFAULT) -> bool:
    """Put this table between the markers of a file; whether that changed anything.

    Its lines end as that of the first marker does.

    Raises:
        ClbenchError: The file cannot be read or written, or its markers are not in order.
    """
    if is_current(path, table, view):
        return False
    text = _text(path)
    begin, end = between_markers(text, table.suite, path)
    line_end = "\r\n" if text.startswith("\r\n", begin) else "\n"
    block = f"\n\n{to_markdown(table, view)}\n".replace("\n", line_end)
    try:
        with written_whole(path.resolve()) as file:  # a link stays one
            file.write((text[:begin] + block + text[end:]).encode())
    except OSError as error:
        raise ClbenchError(f"cannot write {path}: {error.strerror}") from error
    return True


def _text(path: Path) -> str:
    """What stands in a file, its ends of lines as they are."""
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClbenchError(f"{path}: cannot be read ({error})") from error
