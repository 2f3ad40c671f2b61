"""One training step of several seeds in lockstep on a copy task, per seed, against one seed alone.

    python benchmarks/copy_lockstep.py [seeds] [rounds]

Net, task and sizes are those of `elman_step`: the plain learner, online EWC, and the hypernetwork
that keeps four earlier tasks. All variants take turns, and times are those of the processor, so
that other work on the machine matters little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from elman_step import B, H, S, batch, hypernetwork, learner

from clbench.worker import keep_freed_memory
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams

STEPS = 5
"""Steps of one variant in a row, so that its memory is as in a real cell."""


def fine_tuning(seed: int) -> Any:
    """The plain learner in its second task."""
    return learner(lambda net: (), seed)


def online_ewc(seed: int) -> Any:
    """The same with a penalty."""
    return learner(lambda net: (OnlineEwc(OnlineEwcParams(ewc_lambda=100.0), net),), seed)


def alone(build: Callable[[int], Any], task_id: int) -> Callable[[], object]:
    """A step of one seed."""
    made, samples = build(0), batch(B, task_id)
    return lambda: made.observe(samples)


def together(build: Callable[[int], Any], task_id: int, R: int) -> Callable[[], object]:
    """A step of R seeds in lockstep."""
    made = [build(seed) for seed in range(R)]
    program = type(made[0]).in_lockstep(made)
    samples = [batch(B, task_id, seed) for seed in range(R)]
    return lambda: program.observe(samples)


def main() -> None:
    """Time all learners."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a worker
    R = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    learners = {
        "fine-tuning": (fine_tuning, 1),
        "online EWC": (online_ewc, 1),
        "hypernetwork": (hypernetwork, 4),
    }
    variants = {name: (alone(*one), together(*one, R)) for name, one in learners.items()}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in variants}
    for i in range(rounds + 1):
        for name, steps in variants.items():
            for step, seeds, taken in zip(steps, (1, R), times[name], strict=True):
                begin = time.process_time()
                for _ in range(STEPS):
                    step()
                if i > 0:
                    taken.append((time.process_time() - begin) / STEPS / seeds)
    print(f"step per seed, B={B}, H={H}, S={S}, one core, medians of {rounds}")
    for name, (one, all_) in times.items():
        single, shared = median(one), median(all_)
        print(
            f"{name:14} alone {1e3 * single:7.2f} ms   {R} in lockstep {1e3 * shared:7.2f} ms"
            f"   {single / shared:5.2f} x as fast"
        )


if __name__ == "__main__":
    main()
