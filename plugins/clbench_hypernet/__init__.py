"""Task-conditioned hypernetworks: the weights of the main net are generated, task by task."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_learners() -> Iterable[Entry]:
    """The chunked hypernetwork."""
    return [
        Entry(
            "chunked-hypernetwork",
            "clbench_hypernet.learner:ChunkedHypernetwork",
            "generates all weights of the main net from a task embedding, chunk by chunk",
            "von Oswald et al. 2020 (arXiv:1906.00695)",
        )
    ]
