"""Digests of source code, and places in it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import toys

from clbench import runner, sources
from clbench.sources import Place, digest, raised_at


@pytest.fixture(autouse=True)
def _site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that raises if it is imported, and a module."""
    (tmp_path / "some_package" / "inner").mkdir(parents=True)
    (tmp_path / "some_package" / "__init__.py").write_text("raise RuntimeError\n")
    (tmp_path / "some_package" / "inner" / "deep.py").write_text("a = 1\nb = 2\n")
    (tmp_path / "some_package" / "data.txt").write_text("not code")
    (tmp_path / "some_module.py").write_text("a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)


def test_a_digest_changes_with_any_file_and_its_name(tmp_path: Path) -> None:
    deep = tmp_path / "some_package" / "inner" / "deep.py"
    found = [digest(["some_package"])]

    deep.write_text("a = 1\nb = 3\n")
    found.append(digest(["some_package"]))
    deep.rename(deep.with_name("deeper.py"))
    found.append(digest(["some_package"]))
    (tmp_path / "some_package" / "new.py").write_text("")
    found.append(digest(["some_package"]))

    assert len(set(found)) == 4
    assert all(one is not None and len(one) == 16 for one in found)


def test_what_is_no_code_and_how_lines_end_do_not_matter(tmp_path: Path) -> None:
    before = digest(["some_package"])

    (tmp_path / "some_package" / "data.txt").write_text("changed")
    (tmp_path / "some_package" / "inner" / "deep.py").write_bytes(b"a = 1\r\nb = 2\r\n")

    assert digest(["some_package"]) == before


def test_packages_and_modules_go_together_in_any_order() -> None:
    both = digest(["some_package", "some_module"])

    assert both == digest(["some_module", "some_package", "some_module"])
    assert both not in (digest(["some_package"]), digest(["some_module"]), None)


@pytest.mark.parametrize("package", ["there_is_none", "sys", ""])
def test_what_has_no_source_has_no_digest(package: str) -> None:
    assert digest([package]) is None


def test_an_error_has_its_innermost_place_in_some_packages(tmp_path: Path) -> None:
    helper, caller = tmp_path / "some_helper.py", tmp_path / "some_caller.py"
    helper.write_text("def divide():\n    return 1 / 0\n")
    caller.write_text("import some_helper\n\ndef call():\n    some_helper.divide()\n")
    calls = importlib.import_module("some_caller")

    with pytest.raises(ZeroDivisionError) as caught:
        calls.call()

    in_helper = Place("some_helper", str(helper), 2)
    assert raised_at(caught.value, {"some_helper", "some_caller"}) == in_helper
    assert raised_at(caught.value, {"some_helper"}) == in_helper
    assert raised_at(caught.value, {"some_caller"}) == Place("some_caller", str(caller), 4)
    assert raised_at(caught.value, {"elsewhere"}) is None


def test_a_failure_names_the_innermost_folder_of_its_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = Place("toys", "/home/toys/toys/nets/linear.py", 7)  # in a checkout of the same name
    monkeypatch.setattr(sources, "raised_at", lambda error, packages: place)

    assert runner._where(ValueError(), toys.registry()) == "toys/nets/linear.py:7"
