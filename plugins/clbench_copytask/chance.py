"""What scores in percent mean: those of nets that have forgotten, or learnt the obvious only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clbench.scenario import Heads

from .manipulations import Bits, Order


def chance_level(orders: Sequence[Order], heads: Heads) -> float:
    """Final accuracy of a net that is perfect on the last task and has forgotten the others.

    The mean over the tasks of ``100 o + 50 (1 - o)``, where o is the part of a task's outputs
    that solving the last task gets right: all of the last task; of the others none with heads per
    task (or a mask per task), and with shared heads the entries in which their order agrees with
    that of the last task (Ehret et al. 2021, their code's "chance level given perfect during
    accuracy").

    Args:
        orders: One per task, each ``(p * w,)``.
        heads: Head layout; ``per-task`` serves for masks too.
    """
    last = orders[-1]
    shared = [float(np.mean(o == last)) if heads == "shared" else 0.0 for o in orders[:-1]]
    return float(np.mean([50 + 50 * part for part in [*shared, 1.0]]))


def obvious_accuracy(maps: Sequence[Bits]) -> float:
    """Accuracy of a net that knows which target bits are always 0, and guesses the others.

    Args:
        maps: One per task, each ``(p * w, p * w)``, from `linear_map`: a row of zeros is a target
            bit that is always 0.
    """
    return float(np.mean([50 + 50 * np.mean(~rows.any(axis=1)) for rows in maps]))
