"""Every random draw comes from a generator derived from a seed and a purpose.

So the executor, the number of workers and the order of cells never matter, and a draw added for
one purpose does not shift the draws of another. Generators are of the CPU, whatever device a cell
computes on, so that the same numbers are drawn for each: initial weights, orders, masks, noise.
What is drawn is moved to where it is used (``.to(device, non_blocking=True)``: nobody waits).

Nothing keeps a plugin from the generators that a whole process shares. What it draws there depends
on what has run before, and a run that was cut off goes on with other numbers; so a cell notes it.
"""

from __future__ import annotations

import hashlib
import pickle
import random
from collections.abc import Mapping

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose; independent of the seeds of all other purposes."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose, such as ``generator(42, "order", task_id)``."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def shared_states() -> Mapping[str, bytes]:
    """The states of the generators that a process shares, by the names that users know."""
    states = {
        "torch": torch.get_rng_state().numpy().tobytes(),
        "numpy": pickle.dumps(np.random.get_state()),
        "random": pickle.dumps(random.getstate()),
    }
    if torch.cuda.is_initialized():
        states["torch.cuda"] = torch.cuda.get_rng_state().numpy().tobytes()
    return states


def drawn_since(before: Mapping[str, bytes]) -> str:
    """A note on the shared generators that numbers were drawn from since; empty where none were.

    Args:
        before: What `shared_states` gave then.
    """
    now = shared_states()
    names = [name for name, state in before.items() if now[name] != state]
    if not names:
        return ""
    return (
        f"random numbers were drawn from what the whole process shares ({', '.join(names)}): "
        "another run may give another result; draw from the generators that plugins are given"
    )
