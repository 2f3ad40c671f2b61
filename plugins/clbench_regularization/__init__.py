"""The plain learner, and the penalties that make it a continual learner."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_learners() -> Iterable[Entry]:
    """The plain learner."""
    return [
        Entry(
            "fine-tuning",
            "clbench_regularization.fine_tuning:FineTuning",
            "trains all weights of the main net on each task; regularizers make it remember",
        )
    ]


@hookimpl
def clbench_regularizers() -> Iterable[Entry]:
    """Penalties on weights."""
    return [
        Entry(
            "orthogonal",
            "clbench_regularization.orthogonal:Orthogonal",
            "keeps recurrent weights near orthogonal matrices",
            "Vorontsov et al. 2017 (arXiv:1702.00071)",
        ),
        Entry(
            "online-ewc",
            "clbench_regularization.online_ewc:OnlineEwc",
            "keeps weights near those of earlier tasks, weighed by a running Fisher information",
            "Schwarz et al. 2018 (arXiv:1805.06370)",
        ),
        Entry(
            "si",
            "clbench_regularization.si:SynapticIntelligence",
            "keeps weights near those of earlier tasks, weighed by a path integral of the loss",
            "Zenke, Poole & Ganguli 2017 (arXiv:1703.04200)",
        ),
    ]
