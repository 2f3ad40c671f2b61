"""Where and with what a record was made."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType

import torch

from clbench import sources
from clbench.protocols import CPU
from clbench.records import Provenance

_HERE = Path(__file__).resolve().parent.parent
PACKAGES = ("clbench", "torch", "numpy", "pydantic", "pluggy")


def collect(
    suite: str,
    row: str,
    started: datetime,
    notes: tuple[str, ...] = (),
    lockstep: int = 1,
    device: torch.device = CPU,
    code: Mapping[str, str] = MappingProxyType({}),
) -> Provenance:
    """The provenance of a record that is made now, in this process."""
    commit, dirty = _checkout()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return Provenance(
        suite=suite,
        row=row,
        started=started.isoformat(timespec="seconds"),
        commit=commit,
        dirty=dirty,
        packages={name: found for name in PACKAGES if (found := _version(name))},
        python=platform.python_version(),
        platform=platform.platform(),
        cpu=_cpu(),
        device=device_name(device),
        threads=torch.get_num_threads(),
        peak_memory_mib=round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1),
        notes=notes,
        lockstep=lockstep,
        code=dict(code),
    )


def program(
    device: torch.device = CPU, code: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """What runs here, and on what, as far as it decides whether a checkpoint may be taken up.

    Args:
        device: Where the cell runs.
        code: Digests of the third-party distributions that it uses.
    """
    commit, dirty = _checkout()
    found = {name: _version(name) or "none" for name in ("clbench", "torch")}
    found["commit"] = str(commit)
    if dirty is not False:  # changed, or nobody knows
        plugins = (path.parent.name for path in (_HERE / "plugins").glob("*/__init__.py"))
        found["code"] = sources.digest(["clbench", *plugins]) or "unknown"
    found["device"] = device_name(device)
    return found | {f"code of {name}": digest for name, digest in code.items()}


def device_name(device: torch.device) -> str:
    """``cpu``, or the model name of the GPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _checkout() -> tuple[str | None, bool | None]:
    """Commit and dirty flag of the checkout that clbench runs from; None outside a checkout.

    Records are no part of the program: changes under ``results/`` do not make a checkout dirty.
    """
    try:
        if Path(_git(_HERE, "rev-parse", "--show-toplevel")).resolve() != _HERE:
            return None, None  # installed somewhere below another project's checkout
        commit = _git(_HERE, "rev-parse", "HEAD")
        changes = _git(_HERE, "status", "--porcelain", "--", ".", ":(exclude)results")
    except (OSError, subprocess.SubprocessError):
        return None, None
    return commit, bool(changes)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
    )
    return done.stdout.strip()


@cache
def _cpu() -> str:
    """The model name of the processor, as far as the system tells."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
