"""Files that hold no suite at all: no YAML, no mapping, no file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.errors import SuiteError
from clbench.suite import load


def _told(path: Path, content: bytes) -> str:
    """What is said of a file with this content, without its name."""
    path.write_bytes(content)
    with pytest.raises(SuiteError) as caught:
        load(path, toys.registry())
    return str(caught.value).removeprefix(f"{path} ")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"# nothing\n", "the file is empty"),
        (b"a: [1, 2\nb: 3\n", "line 2: not YAML: expected ',' or ']', but got ':'"),
        (b'a: 1\nb: "\\UFFFFFFFF"\n', "line 2: not YAML: an escape stands for no character"),
        (b"a: 1\nb: \x00\n", r"line 2: not YAML: the character '\x00' is not allowed"),
        (b"a: 1\nb: \xff\n", "line 2: not UTF-8 (byte 0xff)"),
        (b"- a\n", "line 1: expected a mapping of keys to values, found a list"),
        (b"just text\n", "line 1: expected a mapping of keys to values, found the text 'just text'"),
        (b"a: " + b"[" * 100 + b"]" * 100, "line 1: nested too deeply; is an alias repeated many times?"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_yaml_mapping_is_told(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    assert _told(tmp_path / "bad.yaml", content) == f"has 1 mistake:\n  {expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:\n  x: 1\n  num_tasks:2\n  y: 1\n", "line 3: not YAML: a space is missing after 'num_tasks:'"),
        ("a:\n  num_tasks:2 # two\n\n  y: 1\n", "line 2: not YAML: a space is missing after 'num_tasks:'"),
        ("a:\n  x: 1\n  num_tasks:2\n", "line 3: not YAML: a space is missing after 'num_tasks:'"),
        ("a:\n  x: 1\n  word\n  y: 1\n", "line 3: not YAML: expected ':' after a key"),
        ("a: why: not\n", "line 1: not YAML: a text in which ': ' occurs needs quotes"),
        ("a:\n  x: 1\n\n   y: 1\n", "line 4: not YAML: indented deeper than line 2, which has a value already"),
        ("a:\n  x: 1\n\ty: 1\n", "line 3: not YAML: a tab where spaces are expected"),
        ("a: {b: >= 97}\n", "line 1: not YAML: a text that begins with '>' needs quotes"),
        ("a:\n  b: >= 97\n", "line 2: not YAML: a text that begins with '>' needs quotes"),
        ("a:\n  b: %x\n", "line 2: not YAML: a text that begins with '%' needs quotes"),
        (
            "methods:\n  si:\n    learner: x\n  # moved\n  regularizers:\n      si: {}\n      ewc: {}\n    expect: {}\n",
            "line 8: not YAML: indented by 4 spaces, which fits neither line 5 (by 2) nor line 6 (by 6)",
        ),
        (
            "methods:\n  si:\n    learner: x\n   regularizers:\n      si: {}\n",
            "line 4: not YAML: indented by 3 spaces, which fits neither line 2 (by 2) nor line 3 (by 4)",
        ),
        ("  a: {x:\n 1}\n    b: 1\n", "line 3: not YAML: indented by 4 spaces, and its block since line 1 by 2"),
    ],
)  # fmt: skip
def test_a_mistake_in_yaml_is_told_in_plain_words_where_it_is(
    text: str, expected: str, tmp_path: Path
) -> None:
    told = _told(tmp_path / "bad.yaml", text.encode())

    assert told == f"has 1 mistake:\n  {expected}"


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path: Path) -> None:
    for path, expected in (
        (tmp_path / "none.yaml", "there is no such file"),
        (tmp_path, "expected a file, found a folder"),
    ):
        with pytest.raises(SuiteError) as caught:
            load(path, toys.registry())
        assert str(caught.value) == f"{path} has 1 mistake:\n  {expected}"


def test_aliases_that_multiply_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    path = tmp_path / "bomb.yaml"
    path.write_text("\n".join(lines))

    with pytest.raises(SuiteError, match="more than 100000 values"):
        load(path, toys.registry())


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_content_gives_anything_but_a_suite_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "any.yaml"
        path.write_bytes(content)
        with pytest.raises(SuiteError):
            load(path, toys.registry())
