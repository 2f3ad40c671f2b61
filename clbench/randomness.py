"""Every random draw comes from a generator derived from a seed and a purpose.

So the executor, the number of workers and the order of cells never matter, and a draw added for
one purpose does not shift the draws of another. Generators are of the CPU, whatever device a cell
computes on, so that the same numbers are drawn for each: initial weights, orders, masks, noise.
What is drawn is moved to where it is used (``.to(device, non_blocking=True)``: nobody waits).
"""

from __future__ import annotations

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose; independent of the seeds of all other purposes."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose, such as ``generator(42, "order", task_id)``."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
