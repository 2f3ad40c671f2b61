"""Cells as jobs of a Slurm cluster: arrays, requeued before the time limit (by submitit)."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_executors() -> Iterable[Entry]:
    """The Slurm executor."""
    return [
        Entry(
            "slurm",
            "clbench_slurm.executor:SlurmExecutor",
            "job arrays of a Slurm cluster, requeued before their time limit",
        )
    ]
