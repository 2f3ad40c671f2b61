"""Shells complete names of plugins and rows of suites."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from command import CLBENCH

ROOT = Path(__file__).parent.parent


def _completed(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What bash is told at the end of a line."""
    settings = {
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split(" ")) - 1),
        "_CLBENCH_COMPLETE": "complete_bash",
    }
    return subprocess.run(
        [CLBENCH],
        cwd=ROOT,
        env=os.environ | settings | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("clbench list le", ["learners"]),
        ("clbench show online", ["online-ewc"]),
        ("clbench data fetch mn", ["mnist"]),
        ("clbench plugin new x --kind re", ["regularizer"]),
        ("clbench run suites/guard.yaml --executor lo", ["local"]),
        ("clbench run suites/guard.yaml --track te", ["tensorboard"]),
        ("clbench run suites/guard.yaml --device c", ["cpu", "cuda"]),
        ("clbench run suites/guard.yaml --only m", ["multitask", "masking", "masking-si"]),
        ("clbench check suites/guard.yaml --only permuted/h", ["permuted/hnet"]),
        ("clbench check suites/absent.yaml --only ", []),
        ("clbench check docs/suites.md --only ", []),
    ],
)
def test_what_fits_is_offered(line: str, expected: list[str]) -> None:
    done = _completed(line)

    assert (done.stdout.split(), done.stderr) == (expected, "")


@pytest.mark.parametrize("text", ["- a", "tasks: 3", "tasks: [a]", "suite: [", "tasks:"])
def test_a_file_that_is_no_suite_offers_nothing(text: str, tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text(text)

    done = _completed(f"clbench run {suite} --only ")

    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_zsh_is_told_the_same() -> None:
    line = "clbench run suites/guard.yaml --only permuted/h"
    done = _completed("", _CLBENCH_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS=line)

    assert "permuted/hnet" in done.stdout
    assert "permuted/si" not in done.stdout


def test_the_script_for_the_shell_can_be_shown() -> None:
    done = subprocess.run(
        [CLBENCH],
        env=os.environ | {"_CLBENCH_COMPLETE": "source_bash"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0
    assert "complete -o default -F _clbench_completion clbench" in done.stdout
