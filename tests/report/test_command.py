"""The command that writes a report."""

from __future__ import annotations

from pathlib import Path

import pytest
from reports import Html
from typer.testing import CliRunner

from clbench.cli import app
from clbench.errors import ClbenchError

ROOT = Path(__file__).parent.parent.parent


def _tiny(folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text((ROOT / "suites/guard.yaml").read_text().replace("suite: guard", "suite: tiny"))
    return path


def test_the_command_writes_a_page_named_after_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _tiny(tmp_path)
    monkeypatch.chdir(tmp_path)

    first = CliRunner().invoke(app, ["report", str(path), "--only", "si"])
    second = CliRunner().invoke(app, ["report", str(path), "-o", "other.html"])

    assert first.exit_code == second.exit_code == 0, first.output
    head, *rows = Html(Path("tiny-report.html").read_text()).tables["Results of permuted"]
    assert [row[0] for row in rows] == ["method 4 si"]
    assert len(Html(Path("other.html").read_text()).tables["Results of permuted"]) == 10
    assert head[0] == "method"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(_tiny(tmp_path)), "-o", str(tmp_path)])

    assert isinstance(result.exception, ClbenchError)
    assert str(result.exception) == f"cannot write {tmp_path}: Is a directory"


def test_a_folder_of_records_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _tiny(tmp_path)
    monkeypatch.chdir(tmp_path)

    done = CliRunner().invoke(app, ["report", str(path), "--results", "nowhere"])

    assert done.exit_code == 0, done.output
    assert "warning: there is no folder nowhere, so every record is missing\n" in done.output


def test_without_the_template_engine_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "clbench.report.page")
    monkeypatch.delattr("clbench.report.page")

    result = CliRunner().invoke(app, ["report", str(_tiny(tmp_path))])

    assert isinstance(result.exception, ClbenchError)
    assert str(result.exception) == (
        "a report needs jinja2, which is not installed: pip install 'clbench[report]'"
    )
