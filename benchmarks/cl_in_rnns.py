"""The copy-task rows' own code (github.com/mariacer/cl_in_rnns), made to run on current libraries.

Commit 333b8e0; or aa0b857 for hypernetworks on manipulated patterns, whose commands do not run at
the other, and for `permuted/hnet-rb1-first`, which the other no longer has. Needs matplotlib and
tensorboardX. Nothing in the checkout is changed.
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

ROWS = (
    *("permuted/multitask", "permuted/from-scratch", "permuted/fine-tuning", "permuted/hnet"),
    *("permuted/hnet-rb1", "permuted/online-ewc", "permuted/online-ewc-taskid", "permuted/si"),
    *("permuted/masking", "permuted/masking-si", "permuted/replay", "permuted/coresets"),
    *("padded-identical/hnet", "padded/online-ewc", "manipulation-r1/hnet", "manipulation-r5/hnet"),
    *("manipulation-r1/online-ewc", "manipulation-r5/online-ewc"),
)
"""The keys of the suite in the order of the README."""


def command(checkout: Path, key: str) -> list[str]:
    """The arguments of a row's command in the checkout's README, without those for a GPU.

    Exits where the checkout is none or the row has no command.
    """
    published = key.replace("-seed12", "").removesuffix("-first")
    if published not in ROWS:
        sys.exit(f"{key}: no row of the suite that has a command; those are {', '.join(ROWS)}")
    readme = checkout / "sequential" / "copy" / "README.rst"
    if not readme.is_file():
        sys.exit(f"{readme}: no such file; {checkout} is no checkout of the source")
    text = readme.read_text(encoding="utf-8")
    commands = re.findall(r"^ +\$ python3 train_copy\.py +(--(?!help).*)$", text, re.MULTILINE)
    first = len(commands) < len(ROWS)  # aa0b857, which lacks one
    if key.endswith("-first") != (first and published == "permuted/hnet-rb1"):
        sys.exit(f"{key}: the README of {checkout} has another command; see {Path(__file__).name}")
    if first and published == "permuted/online-ewc-taskid":
        sys.exit(f"{key}: the README of {checkout} has no command of it")
    number = ROWS.index(published)
    if number > ROWS.index("permuted/online-ewc"):
        number -= len(ROWS)  # the row that aa0b857 lacks follows: count from the end
    return [one for one in shlex.split(commands[number]) if one != "--use_cuda"]


def make_up_for_the_years() -> None:
    """Supply what the source relies on and current libraries lack or do otherwise."""
    torch.set_num_threads(1)
    forget = torch.optim.Optimizer.zero_grad  # gradients were zero then, and Adam's moments went on
    torch.optim.Optimizer.zero_grad = lambda self: forget(self, set_to_none=False)
    for name, kind in (("int", int), ("float", float)):
        setattr(np, name, kind)
    matplotlib: Any = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    matplotlib.RcParams.update = lambda self, *args, **kwargs: None  # a LaTeX preamble as a list
    vision = ModuleType("torchvision")
    for name in ("datasets", "transforms", "utils"):
        part = ModuleType(f"torchvision.{name}")
        part.__dict__["__getattr__"] = lambda wanted: None  # imported, and not used
        setattr(vision, name, part)
        sys.modules[part.__name__] = part
    sys.modules["torchvision"] = vision


def script(checkout: Path, arguments: Sequence[str]) -> Any:
    """The module whose ``run()`` is the command; its parts can be imported from now on."""
    sys.path.insert(0, str(checkout))
    os.chdir(checkout / "sequential" / "copy")
    sys.argv = ["train_copy.py", *arguments]
    return importlib.import_module("sequential.copy.train_copy")
