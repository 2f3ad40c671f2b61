"""What a plugin may contribute. A plugin is a module named by an entry point of group "clbench".

Each hook returns `Entry` values and imports nothing heavy: an entry names its class as text, and
the class is imported when a suite needs it. So `clbench list` starts at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pluggy

GROUP = "clbench"

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that a plugin registers.

    Attributes:
        name: As written in suites, in kebab case: ``online-ewc``.
        target: Where its class is: ``"clbench_regularization.online_ewc:OnlineEwc"``.
        summary: One line for `clbench list`.
        source: Where it was published: ``"Schwarz et al. 2018 (arXiv:1805.06370)"``.
    """

    name: str
    target: str
    summary: str
    source: str = ""


@hookspec
def clbench_tasks() -> Iterable[Entry]:  # type: ignore[empty-body]
    """Task families: classes that follow `clbench.protocols.TaskFamily`."""


@hookspec
def clbench_models() -> Iterable[Entry]:  # type: ignore[empty-body]
    """Main nets: classes that follow `clbench.protocols.MainNet`."""


@hookspec
def clbench_learners() -> Iterable[Entry]:  # type: ignore[empty-body]
    """Learners: classes that follow `clbench.protocols.Learner`."""


@hookspec
def clbench_regularizers() -> Iterable[Entry]:  # type: ignore[empty-body]
    """Regularizers: classes that follow `clbench.protocols.Regularizer`."""


@hookspec
def clbench_executors() -> Iterable[Entry]:  # type: ignore[empty-body]
    """Executors: classes that follow `clbench.executor.Executor`."""


@hookspec
def clbench_trackers() -> Iterable[Entry]:  # type: ignore[empty-body]
    """Trackers: classes that follow `clbench.tracking.Tracker`."""


@hookspec
def clbench_datasets() -> Iterable[Entry]:  # type: ignore[empty-body]
    """Datasets: objects that follow `clbench.data.Dataset` or `clbench.images.ImageDataset`."""
