"""Plugins and the names they bring."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from clbench.errors import PluginError, UnknownNameError
from clbench.hookspecs import Entry, hookimpl
from clbench.registry import Plugin, Registry


class _Offers:
    """A plugin that offers learners of the given names."""

    def __init__(self, *names: str, target: str = "collections:OrderedDict") -> None:
        self.entries = [Entry(name, target, "for a test") for name in names]

    @hookimpl
    def clbench_learners(self) -> list[Entry]:
        return self.entries


def _with(*plugins: tuple[str, object]) -> Registry:
    registry = Registry()
    for name, plugin in plugins:
        registry.register(plugin, name, f"dist-{name}", "1.0")
    return registry


def test_first_party_plugins_come_in_by_entry_points_without_errors() -> None:
    registry = Registry.discover()

    ours = [plugin for plugin in registry.plugins if plugin.distribution == "clbench"]

    assert {plugin.name for plugin in ours} >= {"copytask", "local", "regularization"}
    assert [plugin.errors for plugin in ours if plugin.errors] == []
    assert {"orthogonal", "online-ewc", "si"} <= set(registry.table("regularizer"))


def test_everything_that_first_party_plugins_register_can_be_loaded() -> None:
    registry = Registry.discover()

    for kind in ("task", "model", "learner", "regularizer", "executor", "tracker"):
        for found in registry.table(kind).values():
            assert found.load().version >= 1
            assert found.entry.summary


def test_an_unknown_name_is_answered_with_the_nearest_known_one() -> None:
    registry = _with(("p", _Offers("fine-tuning", "joint")))

    with pytest.raises(UnknownNameError) as caught:
        registry.find("learner", "Fine_Tunig")

    assert str(caught.value) == (
        "unknown learner 'Fine_Tunig'; did you mean 'fine-tuning'?\n    known: fine-tuning, joint"
    )


def test_a_name_already_taken_is_refused_and_the_rest_of_the_plugin_works() -> None:
    registry = _with(("first", _Offers("a")), ("second", _Offers("a", "b")))

    assert registry.find("learner", "a").plugin.name == "first"
    assert registry.find("learner", "b").plugin.name == "second"
    assert registry.plugins[1] == Plugin(
        "second",
        "dist-second",
        "1.0",
        ("learner 'a' is already registered by plugin 'first' (dist-first 1.0)",),
    )


def test_a_name_that_a_plugin_registers_twice_is_told() -> None:
    registry = _with(("p", _Offers("a", "b", "a")))

    assert registry.plugins[0].errors == ("learner 'a' is registered twice",)
    assert sorted(registry.table("learner")) == ["a", "b"]


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (
            Entry("Bad Name", "m:C", ""),
            "learner 'Bad Name': a name is lower-case words joined by '-'",
        ),
        (Entry("../up", "m:C", ""), "learner '../up': a name is lower-case words joined by '-'"),
        (Entry("a", "m.C", ""), "learner 'a': its target 'm.C' is not 'module:Class'"),
        ("a", "hook clbench_learners returned 'a' instead of an Entry"),
    ],
)
def test_a_malformed_entry_is_named(entry: Any, error: str) -> None:
    plugin = _Offers()
    plugin.entries = [entry]

    assert _with(("p", plugin)).plugins[0].errors == (error,)


def test_a_hook_that_raises_does_not_take_the_others_down() -> None:
    class Raises:
        @hookimpl
        def clbench_learners(self) -> list[Entry]:
            raise SystemExit("no reason")

        @hookimpl
        def clbench_models(self) -> list[Entry]:
            return [Entry("m", "a:B", "")]

    registry = _with(("bad", Raises()), ("good", _Offers("a")))

    line = Raises.clbench_learners.__code__.co_firstlineno + 2
    assert registry.plugins[0].errors == (
        f"hook clbench_learners failed: SystemExit: no reason ({__file__}, line {line})",
    )
    assert "m" in registry.table("model")
    assert "a" in registry.table("learner")


_HOOKS = (
    "clbench_tasks, clbench_models, clbench_learners, clbench_regularizers, clbench_executors, "
    "clbench_trackers, clbench_datasets"
)


def test_a_hook_that_does_not_exist_is_an_error_of_the_plugin() -> None:
    class Misspelt:
        @hookimpl
        def clbench_lerners(self) -> list[Entry]:
            return []

        @hookimpl
        def clbench_models(self) -> list[Entry]:
            return [Entry("m", "a:B", "")]

    registry = _with(("p", Misspelt()))

    assert registry.plugins[0].errors == (
        f"unknown hook 'clbench_lerners'; did you mean 'clbench_learners'? (known: {_HOOKS})",
    )
    assert "m" in registry.table("model")


def test_a_hook_that_is_not_marked_is_an_error_of_the_plugin() -> None:
    class Bare:
        def clbench_regularizers(self) -> list[Entry]:
            return [Entry("r", "a:B", "")]

    class Partly(Bare):
        @hookimpl
        def clbench_models(self) -> list[Entry]:
            return [Entry("m", "a:B", "")]

    registry = _with(("bare", Bare()), ("partly", Partly()))

    assert [plugin.errors for plugin in registry.plugins] == [
        ("'clbench_regularizers' lacks @hookimpl",),
        ("'clbench_regularizers' lacks @hookimpl",),
    ]
    assert "m" in registry.table("model")


def test_a_plugin_without_hooks_is_told() -> None:
    registry = _with(("p", object()))

    assert registry.plugins[0].errors == ("registers nothing: no function of it has @hookimpl",)


def test_a_hook_may_have_another_name_and_may_be_of_another_version() -> None:
    class Renamed:
        @hookimpl(specname="clbench_models")
        def nets(self) -> list[Entry]:
            return [Entry("m", "a:B", "")]

        @hookimpl(optionalhook=True)
        def clbench_future(self) -> list[Entry]:
            return []

    registry = _with(("p", Renamed()))

    assert registry.plugins[0].errors == ()
    assert "m" in registry.table("model")


def test_a_plugin_that_fails_to_import_is_reported_and_named_where_a_name_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "broken_plugin.py"
    file.write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    point = EntryPoint("broken", "broken_plugin", "clbench")

    registry = Registry.discover([point])
    registry.register(_Offers("a"), "good", "dist-good", "1.0")

    cause = (
        "import failed: ModuleNotFoundError: No module named 'a_module_that_is_not_there' "
        f"({file}, line 1)"
    )
    assert registry.plugins[0] == Plugin("broken", "unknown", "0", (cause,))
    with pytest.raises(UnknownNameError) as caught:
        registry.find("learner", "b")
    assert str(caught.value) == (
        "unknown learner 'b'\n"
        "    known: a\n"
        f"    plugins with errors: plugin 'broken' (unknown 0): {cause}"
    )


@pytest.mark.parametrize(
    ("target", "error"),
    [
        (
            "not_a_module:Thing",
            "cannot be imported: ModuleNotFoundError: No module named 'not_a_module'",
        ),
        (
            "collections:Thing",
            "cannot be imported: AttributeError: module 'collections' has no attribute 'Thing'",
        ),
        ("collections:OrderedDict", "lacks the attribute 'Params'"),
    ],
)
def test_a_class_that_cannot_be_loaded_is_an_error_that_names_its_plugin(
    target: str, error: str
) -> None:
    registry = _with(("p", _Offers("a", target=target)))

    with pytest.raises(PluginError) as caught:
        registry.find("learner", "a").load()

    assert str(caught.value) == f"learner 'a' of plugin 'p' (dist-p 1.0) {error}"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("x = 1\nif x\n", "SyntaxError: expected ':' ({file}, line 2)"),
        ("def f():\n    import nope\n\n\nf()\n", "ModuleNotFoundError: No module named 'nope' ({file}, line 2)"),
        ("import json\n\njson.loads('')\n", "JSONDecodeError: Expecting value: line 1 column 1 (char 0) ({file}, line 3)"),
    ],
)  # fmt: skip
def test_the_file_and_line_of_a_plugin_that_fails_are_named(
    content: str, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a_package_that_fails" / "learner.py"
    file.parent.mkdir()
    file.write_text(content)
    monkeypatch.syspath_prepend(str(tmp_path))
    registry = _with(("p", _Offers("a", target="a_package_that_fails.learner:A")))

    with pytest.raises(PluginError) as caught:
        registry.find("learner", "a").load()

    assert str(caught.value) == (
        f"learner 'a' of plugin 'p' (dist-p 1.0) cannot be imported: {error.format(file=file)}"
    )


def test_a_name_that_is_like_no_other_may_be_of_a_plugin_that_is_not_installed() -> None:
    registry = _with(("p", _Offers("joint")))

    with pytest.raises(UnknownNameError) as caught:
        registry.find("learner", "fresh-one")

    assert str(caught.value) == (
        "unknown learner 'fresh-one'\n"
        "    known: joint\n"
        "    if it is yours: 'pip install --editable DIR'; "
        "'clbench list plugins' shows what is installed"
    )


def test_discovery_imports_no_torch() -> None:
    code = (
        "import sys; from clbench.registry import Registry; r = Registry.discover();"
        "assert r.table('learner'); assert 'torch' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
