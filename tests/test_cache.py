"""Where what can be made again is kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from clbench import cache


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CLBENCH_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, ".cache/clbench"),
        ("linux", {"XDG_CACHE_HOME": ""}, ".cache/clbench"),  # as good as none
        ("linux", {"XDG_CACHE_HOME": "/elsewhere"}, "/elsewhere/clbench"),
        ("darwin", {"XDG_CACHE_HOME": "/elsewhere"}, "Library/Caches/clbench"),
        ("win32", {}, "AppData/Local/clbench"),
        ("win32", {"LOCALAPPDATA": "/elsewhere"}, "/elsewhere/clbench"),
    ],
)
def test_each_system_has_a_place_for_caches(
    platform: str,
    variables: dict[str, str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cache, "sys", SimpleNamespace(platform=platform))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert cache.user_folder() == cache.cache_folder() == tmp_path / expected


@pytest.mark.parametrize(
    ("named", "expected"),
    [("", ".cache/clbench"), ("~/other", "other"), ("/elsewhere", "/elsewhere")],
)
def test_a_variable_names_another_place_for_all_but_data(
    named: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", named)

    assert cache.cache_folder() == tmp_path / expected
    assert cache.user_folder() == tmp_path / ".cache/clbench"
