"""What commands import where a suite is kept in the cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import records

from clbench import suite
from clbench.registry import Registry
from clbench.store import Store

_COMMANDS = """\
import sys
from clbench.cli import app
for line in sys.stdin.read().splitlines():
    try:
        app(line.split())
    except SystemExit as end:
        assert end.code in (0, 1), line
heavy = {"torch", "scipy", "numpy"} & set(sys.modules)
sys.exit(str(heavy) if heavy else 0)
"""


def _run(tiny: Path, *commands: str) -> subprocess.CompletedProcess[str]:
    """Call commands in one process, which fails if they import what is heavy."""
    return subprocess.run(
        [sys.executable, "-c", _COMMANDS],
        input="\n".join(commands),
        cwd=tiny.parent,
        env=os.environ | {"CLBENCH_CACHE": str(tiny.parent / "cache")},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_reading_commands_import_nothing_heavy_the_second_time(tiny: Path) -> None:
    found = suite.load(tiny, Registry.discover())
    cells = [config for row in found.rows for config in row.cells]
    for folder in ("results", "reference"):
        records.put(Store(tiny.parent / folder), cells, 90.0, 91.0, 80.0, 82.0)
    commands = (
        "table tiny.yaml --mark-best",
        "check tiny.yaml --against reference --explain",
        "compare tiny.yaml fine-tuning online-ewc",
        "show tiny.yaml",
        "run tiny.yaml --dry-run",
    )

    cold, warm = _run(tiny, *commands), _run(tiny, *commands)

    assert "torch" in cold.stderr
    assert (warm.returncode, warm.stdout) == (0, cold.stdout), warm.stderr
    assert "fine-tuning" in warm.stdout


def test_validating_looks_at_every_class_each_time(tiny: Path) -> None:
    _run(tiny, "show tiny.yaml")

    again = _run(tiny, "validate tiny.yaml")

    assert "torch" in again.stderr
