"""A virtual environment of a test's own, in which plugins can really be installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

_SECONDS = 600  # for one command, on a busy machine


@dataclass(frozen=True)
class Environment:
    """A virtual environment that sees the packages of the running one.

    Nothing is fetched when a project is installed in it: dependencies are there already, and the
    running environment's hatchling builds.
    """

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> Environment:
        """Make one."""
        venv.create(folder, symlinks=True, with_pip=False)
        environment = cls(folder)
        site = next(folder.glob("lib/python*/site-packages"))
        packages = sysconfig.get_path("purelib")
        (site / "running.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
        clbench, ruff = (Path(sys.executable).with_name(name) for name in ("clbench", "ruff"))
        python = environment.bin / "python"
        for name, command in (
            ("clbench", f"'{python}' '{clbench}'"),
            ("pip", f"'{python}' -m pip"),
            ("pytest", f"'{python}' -m pytest"),
            ("ruff", f"'{ruff}'"),
        ):
            script = environment.bin / name
            script.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
            script.chmod(0o755)
        return environment

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    def run(self, command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        """Run a shell command as after activation; errors go where the output goes."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        settings = {
            "PATH": path,
            "COLUMNS": "200",
            "OMP_NUM_THREADS": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of --build-isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        return subprocess.run(
            command,
            shell=True,
            cwd=cwd,
            env=os.environ | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_SECONDS,
        )
