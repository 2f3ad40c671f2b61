"""Parts of the main net switched on and off by the task."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_learners() -> Iterable[Entry]:
    """Fixed random masks."""
    return [
        Entry(
            "masking",
            "clbench_masking.random_masks:RandomMasks",
            "a fixed random part of the hidden units works on each task",
            "Masse, Grant & Freedman 2018 (arXiv:1802.01569)",
        )
    ]
