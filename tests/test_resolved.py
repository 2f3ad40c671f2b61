"""Suites kept in the cache are those that resolving gives, and never outlive what they depend on."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pydantic
import pytest
import suite_files
import toys

from clbench import resolved, suite
from clbench.errors import SuiteError
from clbench.hookspecs import Entry, hookimpl
from clbench.registry import Registry
from clbench.suite import Suite

ROOT = Path(__file__).parent.parent

RICH = """\
suite: rich
title: Naïve ± "quoted"
question: Which?
source: Nobody 2020
published: nobody2020
scenario: domain-il
seeds: [3, 0-1, 4294967295]
data_seed: seed
budgets: {demo: 0.125, third: 0.3333333333333333}
defaults:
  model: linear
  training: {epochs: 2, learning_rate: 1e-7, optimizer: {name: sgd, momentum: 0.9}}
tasks:
  a: {family: pictures, label: Pictures, num_tasks: 2}
  b: {family: pictures}
methods:
  plain:
    learner: plain
    label: Plain one
    expect: {final_accuracy: '>= 89.5', forgetting: '<= 1e-3'}
    on: {b: {label: Other, training: {clip_grad_norm: -1}, regime: cumulative}}
  other: {learner: generated, model: {heads: shared}}
exclude:
  - {method: other, task: b, why: "takes too long"}
"""


class Cached:
    """A suite file, a registry of toys and of a package beside it, and how often it was resolved."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cache, self.path, self.site = folder / "cache", folder / "toy.yaml", folder / "site"
        self.path.write_text(suite_files.GOOD)
        self.package = self.site / "kept_plugin"
        self.package.mkdir(parents=True)
        (self.package / "__init__.py").write_text("VALUE = 1\n")
        self.registry, self.count = self.fresh_registry(), 0
        monkeypatch.setenv("CLBENCH_CACHE", str(self.cache))
        monkeypatch.syspath_prepend(self.site)
        resolve = suite.load

        def counting(path: Path, registry: Registry) -> Suite:
            self.count += 1
            return resolve(path, registry)

        monkeypatch.setattr(suite, "load", counting)

    @staticmethod
    def fresh_registry(version: str = "0.1", name: str = "kept") -> Registry:
        registry = toys.registry()
        registry.register(_Plugin(name), "kept", "kept", version)
        return registry

    def load(self, **options: Any) -> Suite:
        return resolved.load(self.path, self.registry, **options)

    @property
    def files(self) -> list[Path]:
        return sorted((self.cache / "suites").glob("*"))


class _Plugin:
    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def clbench_regularizers(self) -> list[Entry]:
        return [Entry(self.name, "kept_plugin:Absent", "is never loaded")]


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cached:
    return Cached(tmp_path, monkeypatch)


def _ids(found: Suite) -> list[str]:
    return [config.id for row in found.rows for config in row.cells]


@pytest.mark.parametrize("text", [suite_files.GOOD, suite_files.WITH_THRESHOLDS, RICH])
def test_a_kept_suite_is_the_resolved_one(cached: Cached, text: str) -> None:
    cached.path.write_text(text)

    first, second = cached.load(), cached.load()

    assert cached.count == 1
    assert first == second == suite.load(cached.path, cached.registry)
    assert repr(first) == repr(second)  # 1 and 1.0 are equal
    assert _ids(first) == _ids(second)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.stem
)
def test_the_suites_of_the_repository_are_kept_whole(cached: Cached, path: Path) -> None:
    cached.path, cached.registry = path, Registry.discover()

    first, second = cached.load(), cached.load()

    assert cached.count == 1
    assert repr(first) == repr(second)
    assert _ids(first) == _ids(second)


def test_a_suite_has_the_path_that_it_was_asked_for_by(
    cached: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    cached.load()
    monkeypatch.chdir(cached.path.parent)

    assert resolved.load(Path("toy.yaml"), cached.registry).path == Path("toy.yaml")
    assert cached.count == 1


def test_a_run_resolves_anew_and_keeps_that(cached: Cached) -> None:
    cached.load(anew=True)
    cached.load(anew=True)
    cached.load()

    assert cached.count == 2


def _edit_suite(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    cached.path.write_text(suite_files.GOOD.replace("learning_rate: 0.1", "learning_rate: 0.2"))


def _edit_code(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    (cached.package / "__init__.py").write_text("VALUE = 2\n")


def _add_code(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    (cached.package / "more.py").write_text("")


def _raise_version(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    cached.registry = cached.fresh_registry(version="0.2")


def _register_another_name(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    cached.registry = cached.fresh_registry(name="other")


def _remove_plugin(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    cached.registry = toys.registry()


def _install(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    (cached.site / "something-1.0.dist-info").mkdir()


def _upgrade_pydantic(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pydantic, "VERSION", "99.0")


def _upgrade_python(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version", "99.0")


Change = Callable[[Cached, pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    "change",
    [
        *(_edit_suite, _edit_code, _add_code, _raise_version, _register_another_name),
        *(_remove_plugin, _install, _upgrade_pydantic, _upgrade_python),
    ],
)
def test_whatever_has_changed_a_suite_is_resolved_anew(
    cached: Cached, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    cached.load()
    change(cached, monkeypatch)

    found, again = cached.load(), cached.load()

    assert cached.count == 2
    assert found == again == suite.load(cached.path, cached.registry)
    assert len(cached.files) == 1  # in place of the former


def test_code_that_was_imported_from_elsewhere_counts(
    cached: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = cached.site / "kept_helper.py"
    helper.write_text("VALUE = 1\n")
    monkeypatch.delitem(sys.modules, "kept_helper", raising=False)
    __import__("kept_helper")
    cached.load()
    cached.load()
    helper.write_text("VALUE = 2\n")
    cached.load()

    assert cached.count == 2


def test_what_changes_while_a_suite_is_resolved_is_not_kept(
    cached: Cached, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = suite.load

    def slow(path: Path, registry: Registry) -> Suite:
        found = resolve(path, registry)
        _edit_code(cached, monkeypatch)
        return found

    monkeypatch.setattr(suite, "load", slow)
    cached.load()

    assert cached.files == []


def _with_checksum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def _unknown_key(whole: bytes) -> bytes:
    values = json.loads(whole.partition(b"\n")[2])
    return _with_checksum(json.dumps(values | {"more": 1}).encode())


def _wrong_type(whole: bytes) -> bytes:
    values = json.loads(whole.partition(b"\n")[2])
    values["suite"]["seeds"] = ["1", "2"]
    return _with_checksum(json.dumps(values).encode())


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole.replace(b'"iterations":10', b'"iterations":90'),
        lambda whole: b"\xff\xfe" + whole,
        lambda whole: _with_checksum(b"[" * 100_000),
        lambda whole: _with_checksum(b"\xff{}"),
        _unknown_key,
        _wrong_type,
    ],
)
def test_a_damaged_file_is_written_anew(cached: Cached, damage: Callable[[bytes], bytes]) -> None:
    first, (file,) = cached.load(), cached.files
    file.write_bytes(damage(file.read_bytes()))

    second, third = cached.load(), cached.load()

    assert cached.count == 2
    assert first == second == third


def test_a_suite_with_mistakes_tells_all_of_them_each_time(cached: Cached) -> None:
    cached.path.write_text(suite_files.GOOD.replace("0.1", "-1").replace(": plain}", ": plane}"))
    told = []
    for _ in range(2):
        with pytest.raises(SuiteError) as caught:
            cached.load()
        told.append(str(caught.value))

    assert told[0] == told[1]
    assert " has 2 mistakes:\n" in told[0]
    assert cached.files == []


def _break_plugin(cached: Cached) -> None:
    cached.registry.register(object(), "empty", "empty", "1")
    cached.registry.register(_Plugin("kept"), "second", "second", "1")


def _take_source_away(cached: Cached) -> None:
    (cached.package / "__init__.py").rename(cached.package / "compiled.so")


@pytest.mark.parametrize("change", [_break_plugin, _take_source_away])
def test_what_cannot_be_known_for_sure_is_not_kept(
    cached: Cached, change: Callable[[Cached], None]
) -> None:
    change(cached)

    assert cached.load() == cached.load()
    assert cached.count == 2
    assert cached.files == []


def _no_folder(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    cached.cache.write_text("a file")


def _new_files(monkeypatch: pytest.MonkeyPatch, opened: Callable[[Path], Any]) -> None:
    """Let new files be opened by a function."""
    really = Path.open

    def open_(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        return opened(path) if "x" in mode else really(path, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_)


def _read_only(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> Any:
        raise OSError(errno.EROFS, "Read-only file system")

    _new_files(monkeypatch, fail)


def _full(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: Path) -> Any:
        path.touch()
        return Path("/dev/full").open("wb")

    _new_files(monkeypatch, opened)


def _homeless(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", fail)


@pytest.mark.parametrize("change", [_no_folder, _read_only, _full, _homeless])
def test_a_cache_that_cannot_be_written_to_does_not_matter(
    cached: Cached, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    change(cached, monkeypatch)

    assert cached.load() == cached.load()
    assert cached.count == 2
    assert cached.files == []


def test_the_oldest_suites_make_room(cached: Cached, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolved, "MOST", 2)
    for number in range(4):
        cached.path = cached.path.with_name(f"toy{number}.yaml")
        cached.path.write_text(suite_files.GOOD)
        cached.load()
        os.utime(max(cached.files, key=lambda p: p.stat().st_mtime), (number, number))

    assert len(cached.files) == 2
    cached.load()
    assert cached.count == 4


def test_several_may_keep_the_same_suite_at_once(cached: Cached) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: cached.load(anew=number % 2 == 0), range(40)))

    assert all(one == found[0] for one in found)
    assert len(cached.files) == 1
    count = cached.count
    assert cached.load() == found[0]
    assert cached.count == count


def test_a_pipe_is_read_once(cached: Cached) -> None:
    cached.path = cached.path.with_name("pipe")
    os.mkfifo(cached.path)
    writer = threading.Thread(target=cached.path.write_text, args=[suite_files.GOOD])
    writer.start()

    found = cached.load()

    writer.join()
    assert found.name == "toy"
    assert cached.files == []
