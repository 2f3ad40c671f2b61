"""Learners that rehearse stored samples: A-GEM and experience replay."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_learners() -> Iterable[Entry]:
    """Both learners."""
    return [
        Entry(
            "a-gem",
            "clbench_agem.a_gem:AGem",
            "turns gradients that would raise the loss on stored samples",
            "Chaudhry et al. 2019 (arXiv:1812.00420)",
        ),
        Entry(
            "er",
            "clbench_agem.er:ExperienceReplay",
            "trains on stored samples together with the new ones",
            "Chaudhry et al. 2019 (arXiv:1902.10486)",
        ),
    ]
