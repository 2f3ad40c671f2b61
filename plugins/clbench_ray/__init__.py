"""Cells as tasks of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_executors() -> Iterable[Entry]:
    """The Ray executor."""
    return [
        Entry(
            "ray",
            "clbench_ray.executor:RayExecutor",
            "tasks of a Ray cluster, tried again when a node dies",
        )
    ]
