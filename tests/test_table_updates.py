"""A table between the markers of somebody's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import records
import suite_files

from clbench import markers, tables
from clbench.errors import ClbenchError
from clbench.store import Store
from clbench.suite import Suite

TEXT = suite_files.of_toys("""\
tasks:
  a: {label: Task A, family: pictures}
  b: {label: Task B, family: echoes}
methods:
  plain: {label: Plain, learner: plain}
  other: {label: Other, learner: generated}
exclude:
  - {method: other, task: b, why: undefined there}
""")


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, TEXT)


@pytest.fixture
def store(tmp_path: Path, suite: Suite) -> Store:
    store = Store(tmp_path / "results")
    records.put(store, suite.rows[0].cells, 89.0, 90.0, 91.0)
    return store


def test_a_table_is_put_between_markers_and_checked_there(
    suite: Suite, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "README.md"
    path.write_text("before\n<!-- clbench:begin toy -->\nold\n<!-- clbench:end toy -->\nafter\n")
    table = tables.collect(suite, store, None)

    assert not markers.is_current(path, table)
    assert markers.update(path, table)
    assert not markers.update(path, table)

    text = path.read_text()
    assert text.startswith("before\n<!-- clbench:begin toy -->\n\n| Task A")
    assert text.endswith("<!-- clbench:end toy -->\nafter\n")
    assert "old" not in text
    assert markers.is_current(path, table)


def test_a_file_keeps_its_ends_of_lines(suite: Suite, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(
        b"before\r\n<!-- clbench:begin toy -->\r\n<!-- clbench:end toy -->\r\nafter\r\n"
    )
    table = tables.collect(suite, store, None)

    assert markers.update(path, table)
    assert markers.is_current(path, table)
    assert not markers.update(path, table)

    written = path.read_bytes()
    assert written.count(b"\n") == written.count(b"\r\n") > 10
    assert b"\r\r" not in written


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "expected the marker '<!-- clbench:begin toy -->' once, found it 0 times"),
        (
            "<!-- clbench:end toy --><!-- clbench:begin toy -->",
            "the markers of 'toy' are in the wrong order",
        ),
    ],
)
def test_missing_or_turned_markers_are_errors(
    text: str, error: str, suite: Suite, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)

    with pytest.raises(ClbenchError) as caught:
        markers.update(path, tables.collect(suite, store, None))

    assert str(caught.value) == f"{path}: {error}"


def test_a_file_that_cannot_be_written_is_told_and_stays_as_it_was(
    suite: Suite, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "README.md"
    before = "by hand\n<!-- clbench:begin toy -->\n<!-- clbench:end toy -->\n"
    path.write_text(before)
    table = tables.collect(suite, store, None)
    really = Path.open

    def on_a_full_disk(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not set(mode) & set("wx"):
            return really(path, mode, *arguments, **options)
        really(path, mode).close()  # there is room for a name, and for nothing in it
        return really(Path("/dev/full"), mode.replace("x", "w"), *arguments, **options)

    monkeypatch.setattr(Path, "open", on_a_full_disk)

    with pytest.raises(ClbenchError) as caught:
        markers.update(path, table)

    assert str(caught.value) == f"cannot write {path}: No space left on device"
    assert path.read_text() == before


def test_a_link_stays_a_link(suite: Suite, store: Store, tmp_path: Path) -> None:
    path, link = tmp_path / "README.md", tmp_path / "index.md"
    path.write_text("<!-- clbench:begin toy -->\n<!-- clbench:end toy -->\n")
    link.symlink_to(path.name)
    table = tables.collect(suite, store, None)

    assert markers.update(link, table)

    assert link.is_symlink()
    assert markers.is_current(path, table)
