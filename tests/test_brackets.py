"""Texts that look like the markup of the terminal library are shown as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import TINY, clbench

LABEL = "Copy [/r=1] :warning: [bold]"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite with brackets in its labels and in the name of its file, and its records."""
    folder = tmp_path_factory.mktemp("brackets")
    text = TINY.replace("{family: permuted", f"{{label: '{LABEL}', family: permuted")
    text = text.replace("fine-tuning: {", "fine-tuning: {label: '[/i]plain', ")
    (folder / "[b]tiny.yaml").write_text(text)
    ran = clbench("run", "[b]tiny.yaml", "--seeds", "0", cwd=folder)
    assert ran.returncode == 0, ran.stderr
    assert LABEL in ran.stdout
    return folder


@pytest.mark.parametrize("format", ["rich", "markdown", "latex"])
def test_every_format_has_the_texts(format: str, folder: Path) -> None:
    done = clbench("table", "[b]tiny.yaml", "--format", format, cwd=folder)

    assert (done.returncode, done.stderr) == (0, "")
    assert "[/i]plain" in done.stdout


def test_a_picture_has_them_too(folder: Path) -> None:
    done = clbench("table", "[b]tiny.yaml", "--format", "svg", cwd=folder)

    assert (done.returncode, done.stderr) == (0, "")
    for word in (*LABEL.split(), "[/i]plain"):
        assert word in done.stdout


def test_notices_name_the_files(folder: Path) -> None:
    page = folder / "[b]page.md"
    page.write_text("<!-- clbench:begin tiny -->\n<!-- clbench:end tiny -->\n")

    updated = clbench("table", "[b]tiny.yaml", "--update", page.name, cwd=folder)
    current = clbench("table", "[b]tiny.yaml", "--check", page.name, cwd=folder)
    page.write_text(page.read_text().replace("plain", "plainer"))
    stale = clbench("table", "[b]tiny.yaml", "--check", page.name, cwd=folder)
    report = clbench("report", "[b]tiny.yaml", "-o", "[b]page.html", cwd=folder)

    assert (updated.returncode, updated.stderr) == (0, "[b]page.md: updated\n")
    assert (current.returncode, current.stderr) == (0, "")
    assert (stale.returncode, stale.stderr) == (
        1,
        "[b]page.md: its table of 'tiny' is not that of results\n",
    )
    assert (report.returncode, report.stderr) == (0, "wrote [b]page.html\n")


def test_errors_and_warnings_name_the_files(folder: Path) -> None:
    missing = clbench("table", "[/b]none.yaml", cwd=folder)

    assert missing.returncode == 2
    assert missing.stderr.startswith("error: [/b]none.yaml")
