"""Running cells in TensorBoard."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_trackers() -> Iterable[Entry]:
    """The TensorBoard tracker."""
    return [
        Entry(
            "tensorboard",
            "clbench_tensorboard.tracker:TensorBoardTracker",
            "curves and test scores of running cells, one TensorBoard run for each",
        )
    ]
