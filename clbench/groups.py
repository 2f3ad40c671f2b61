"""Which cells run in lockstep: several seeds of one row as one program.

Cells go together where they are equal but for their seeds and all their parts can
(`clbench.protocols.RunsInLockstep`). Results are those of a cell alone but for rounding, so nothing
does unless it is asked for. With ``auto`` task-free streams do, and only as far as no worker is
left without work: see ``docs/scaling.md`` for what it gains.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

from clbench.config import CellConfig, canonical
from clbench.errors import ClbenchError
from clbench.matrix import Cell, Group
from clbench.params import read
from clbench.registry import Kind, Registry
from clbench.scenario import Scenario

Width: TypeAlias = int | Literal["auto"]
"""Most cells of a group; ``auto``: as the module's text says."""

WIDEST = 10
"""Most cells of a group that is formed by itself; wider ones gain little more."""


@dataclass(frozen=True, slots=True)
class Grouping:
    """Cells in groups.

    Attributes:
        groups: All cells, in the order of the first of each group.
        alone: Rows with several cells whose parts cannot run in lockstep, with what keeps them.
    """

    groups: tuple[Group, ...]
    alone: dict[str, str]


def parse_width(text: str) -> Width:
    """``auto``, ``off`` (1), or a number of cells.

    Raises:
        ClbenchError: It is neither.
    """
    if text == "auto":
        return "auto"
    if text == "off":
        return 1
    if text.isdecimal() and 0 < int(text) < 10_000:
        return int(text)
    raise ClbenchError(f"expected --lockstep auto, off or a number of seeds from 1, found '{text}'")


def form(
    cells: Sequence[Cell], registry: Registry, width: Width, num_workers: int | None
) -> Grouping:
    """Put cells into groups.

    Args:
        cells: What is to run.
        registry: Where their parts are found.
        width: Most cells of a group.
        num_workers: How many groups run at once; None: nobody knows, and ``auto`` groups nothing.

    Raises:
        ClbenchError: A part cannot be found.
    """
    families: dict[str, list[Cell]] = {}
    for cell in cells:
        families.setdefault(_but_for_seeds(cell), []).append(cell)
    alone: dict[str, str] = {}
    for family in families.values():
        why = obstacle(family[0].config, registry)
        if why is not None and len(family) > 1:
            alone[family[0].row] = why
    together = [
        width != 1
        and obstacle(family[0].config, registry) is None
        and (width != "auto" or family[0].config.scenario is Scenario.TASK_FREE)
        for family in families.values()
    ]
    sizes = [len(family) for family in families.values()]
    most = _widest(sizes, together, num_workers) if width == "auto" else width
    groups: list[Group] = []
    for family, can in zip(families.values(), together, strict=True):
        groups += _parts(family, most if can else 1)
    return Grouping(tuple(groups), alone)


def _but_for_seeds(cell: Cell) -> str:
    values = cell.config.model_dump(mode="json")
    del values["seed"], values["data_seed"]
    return f"{cell.row} {canonical(values)}"


def obstacle(config: CellConfig, registry: Registry) -> str | None:
    """What keeps cells from lockstep: ``learner 'gem'`` or ``winners of model 'mlp'``; or None."""
    parts: list[tuple[Kind, Any]] = [("learner", config.learner), ("model", config.model)]
    parts += [("regularizer", choice) for choice in config.regularizers]
    for kind, choice in parts:
        loaded: Any = registry.find(kind, choice.name).load()
        methods = ("in_lockstep", "lockstep_obstacle")  # of a protocol whose import needs torch
        if not all(hasattr(loaded, name) for name in methods):
            return f"{kind} '{choice.name}'"
        found = loaded.lockstep_obstacle(read(loaded.Params, choice.params))
        if found is not None:
            return f"{found} of {kind} '{choice.name}'"
    return None


def _widest(sizes: Sequence[int], together: Sequence[bool], num_workers: int | None) -> int:
    """The largest width, up to `WIDEST`, that makes a group for every worker, or 1."""
    if num_workers is None:
        return 1
    for width in range(WIDEST, 1, -1):
        groups = sum(
            math.ceil(n / width) if can else n for n, can in zip(sizes, together, strict=True)
        )
        if groups >= num_workers:
            return width
    return 1


def _parts(family: Sequence[Cell], width: int) -> list[Group]:
    """As few parts of at most `width` as possible, of equal size or nearly."""
    count = math.ceil(len(family) / width)
    bounds = [i * len(family) // count for i in range(count + 1)]
    return [tuple(family[a:b]) for a, b in pairwise(bounds)]
