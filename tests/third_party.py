"""A plugin of a third party that is as good as installed: a folder for the module search path."""

from __future__ import annotations

import os
from pathlib import Path

MODULE = "clbench_anchor/regularizer.py"

_HOOKS = """\
from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_regularizers():
    return [Entry("anchor", "clbench_anchor.regularizer:Anchor", "pulls towards the beginning")]
"""

REGULARIZER = """\
from clbench.params import Params
from clbench.scenario import ALL_SCENARIOS


class AnchorParams(Params):
    strength: float = 1.0


class Anchor:
    Params = AnchorParams
    version = 1
    scenarios = ALL_SCENARIOS
    watches = frozenset()

    def __init__(self, params, net):
        self.strength = params.strength

    def begin(self, params):
        self.start = {name: value.detach().clone() for name, value in params.items()}

    def penalty(self, params):
        return self.strength * sum((params[n] - v).square().sum() for n, v in self.start.items())

    def consolidate(self, consolidation):
        pass

    def state(self):
        return {"start": self.start}

    def restore(self, state):
        self.start = state["start"]
"""


def install(folder: Path) -> dict[str, str]:
    """Write the distribution clbench-anchor 0.1.0; what the environment needs to find it there."""
    info = folder / "clbench_anchor-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clbench-anchor\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[clbench]\nanchor = clbench_anchor\n")
    (folder / "clbench_anchor").mkdir()
    (folder / "clbench_anchor" / "__init__.py").write_text(_HOOKS)
    (folder / MODULE).write_text(REGULARIZER)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}
