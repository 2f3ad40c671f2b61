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
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)

    with pytest.raises(SuiteError) as caught:
        load(path, toys.registry())

    assert str(caught.value) == f"{path} has 1 mistake:\n  {expected}"


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
