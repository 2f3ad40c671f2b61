"""Broken input of every kind is refused with a message: no traceback, no code run, no escape.

``CLBENCH_FUZZ=nightly`` tries two hundred times as much.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import records
import suite_files
import toys
from hypothesis import given
from hypothesis import strategies as st

from clbench.config import digest
from clbench.engines import engine, read_options
from clbench.errors import ClbenchError, RecordError, SuiteError
from clbench.hookspecs import Entry
from clbench.matrix import expand, parse_budget, parse_seeds
from clbench.records import from_text, to_text
from clbench.registry import Plugin, Registered, Registry
from clbench.store import Store
from clbench.suite import load

GOOD = """\
suite: toy
title: "All of it: ä"
scenario: task-il
seeds: [1, 3-4]
data_seed: seed
budgets: {half: 0.5}
defaults: &all
  model: {name: linear, heads: shared}
  training: {iterations: 1_0, learning_rate: 1e-1, optimizer: {name: adam, betas: [0.9, 0.99]}}
tasks:
  pictures: {label: Pictures, family: pictures, num_tasks: 3}
  other: {<<: {family: pictures}, num_tasks: 2}
methods:
  plain:
    learner: plain
    expect: {final_accuracy: ">= 50"}
    on: {other: {training: {iterations: 20}}}
"""
PIECES = (
    *("!!python/object/apply:os.system [x]", "!!python/name:os.system ", "!tag ", "&a ", "*a ", "*all"),
    *("<<: ", "? ", "- ", ": ", "{", "}", "[", "]", "|", ">", "'", '"', "#", "%YAML 1.1\n", "---\n", "...\n"),
    *("../../x", "/etc/passwd", "\x00", "\ud7ff", "\u2028", "\t", "\n", "\r", "1e999", "-.inf", ".nan"),
    *("0x", "9" * 120, "null", "true", "on", "\\ud800", '"\\UFFFFFFFF"', "2001-01-01", "=", "~", ""),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, text: str) -> str:
    """A text with a few places cut out, doubled, or overwritten."""
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(text)))
        last = min(len(text), first + draw(st.integers(0, 12)))
        new = draw(st.sampled_from(PIECES) | st.just(text[first:last] * 2) | st.text(max_size=5))
        text = text[:first] + new + text[last:]
    return text


def test_the_suite_that_is_changed_is_good(tmp_path: Path) -> None:
    assert len(expand(suite_files.load(tmp_path, GOOD))) == 6


@given(mutated(GOOD))
def test_a_changed_suite_file_is_a_suite_or_a_list_of_mistakes(text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "toy.yaml"
        path.write_bytes(text.encode(errors="surrogatepass"))
        try:
            suite = load(path, toys.registry())
        except SuiteError as error:
            str(error).encode()  # can be printed
            return
        root = Path(name) / "results"
        for cell in expand(suite):
            assert Store(root).path(cell.config.id).parent == root / "records"
        assert [path.name for path in Path(name).iterdir()] == ["toy.yaml"]


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system ['touch x']", "!!python/name:os.system ''", "!exec ''"]
)
def test_a_tag_that_would_run_code_is_refused_with_its_line(tag: str, tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(GOOD.replace("title: ", f"title: {tag} #"))

    with pytest.raises(SuiteError) as caught:
        load(path, toys.registry())

    known = tag.split()[0].replace("!!", "tag:yaml.org,2002:")
    assert str(caught.value.mistakes[0]) == f"line 2, title: the tag '{known}' is not known"
    assert list(tmp_path.iterdir()) == [path]


RECORD = records.good()
TEXT = to_text(RECORD)


@given(mutated(TEXT))
def test_a_changed_record_is_that_record_or_is_refused(text: str) -> None:
    with contextlib.suppress(RecordError):
        assert from_text(text, Path(f"{RECORD.id}.json")) == RECORD


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
VALUES = json.loads(TEXT)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values of a tree."""
    children: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [path, *(place for key, child in children for place in _places(child, (*path, key)))]


@given(st.sampled_from(_places(VALUES)[1:]), JSON)
def test_a_forged_record_with_a_checksum_that_fits_is_read_or_refused(
    place: tuple[Any, ...], value: Any
) -> None:
    forged = json.loads(TEXT)
    del forged["checksum"]
    parent = forged
    for key in place[:-1]:
        parent = parent.get(key, {}) if isinstance(parent, dict) else parent[key]
    parent[place[-1]] = value
    with contextlib.suppress(UnicodeEncodeError):  # half a character has no checksum
        text = json.dumps(forged | {"checksum": digest(forged)})
        with contextlib.suppress(RecordError):
            from_text(text, Path(f"{RECORD.id}.json"))


@given(st.binary(max_size=100))
def test_any_bytes_in_the_folder_of_records_are_an_error_with_the_name_of_the_file(
    content: bytes,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        store = Store(Path(name))
        store.prepare()
        path = store.path(RECORD.id)
        path.write_bytes(content)

        found, errors = store.scan()

        assert found == ()
        assert [error.path for error in errors] == [path]


LOCAL = Entry("local", "clbench.local_pool:LocalExecutor", "here")


@given(st.lists(st.text(max_size=8) | st.sampled_from(["jobs=", "jobs.x=1", "timeout=nan", "=", "jobs=１"]), max_size=3), st.text(max_size=6))  # fmt: skip
def test_any_option_is_read_or_refused(texts: list[str], value: str) -> None:
    registry = Registry()
    registry._tables["executor"]["local"] = Registered("executor", LOCAL, Plugin("p", "d", "1"))

    with contextlib.suppress(ClbenchError):
        engine(registry, "local", read_options([*texts, f"jobs={value}"], {"timeout": None}))


@given(st.text(max_size=12) | st.from_regex(r"[0-9,\- ]{0,12}", fullmatch=True))
def test_any_seeds_and_any_budget_are_read_or_refused(text: str) -> None:
    with contextlib.suppress(ClbenchError):
        seeds = parse_seeds(text)
        assert len(set(seeds)) == len(seeds) > 0
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(ClbenchError):
        assert 0 < parse_budget(text, suite_files.load(Path(name), GOOD)) <= 1
