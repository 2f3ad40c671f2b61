"""Learners that rehearse inputs of earlier tasks, stored or generated."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_learners() -> Iterable[Entry]:
    """Replay."""
    return [
        Entry(
            "coresets",
            "clbench_replay.coresets:Coresets",
            "stores a few inputs of each task, and is taught on them by its former self",
            "Ehret et al. 2021 (arXiv:2006.12109)",
        ),
        Entry(
            "generative-replay",
            "clbench_replay.generative:GenerativeReplay",
            "is a variational autoencoder too, and is taught on its own samples by its former self",
            "van de Ven & Tolias 2018 (arXiv:1809.10635)",
        ),
    ]
