"""The ``clbench`` command as a user calls it, and a suite of a moment for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import suite_files

CLBENCH = str(Path(sys.executable).with_name("clbench"))

TINY = suite_files.of_copies("""\
seeds: [0, 1]
budgets: {half: 0.5}
methods:
  fine-tuning: {learner: fine-tuning, expect: {during_accuracy: '>= 10'}}
  online-ewc:
    learner: fine-tuning
    regularizers: {online-ewc: {ewc_lambda: 10}}
""")


def clbench(*arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the command does in a folder; cells run in one worker, unless it is told otherwise."""
    words = [str(argument) for argument in arguments]
    if words[0] == "run" and "--jobs" not in words:
        words += ["--jobs", "1"]  # to start a second takes longer than the cells
    return subprocess.run(
        [CLBENCH, *words],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
