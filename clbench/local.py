"""The plugin that brings the local executor (`clbench.local_pool`)."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_executors() -> Iterable[Entry]:
    """The local executor."""
    return [
        Entry(
            "local",
            "clbench.local_pool:LocalExecutor",
            "worker processes on this machine, one thread each",
        )
    ]
