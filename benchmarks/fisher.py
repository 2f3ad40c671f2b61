"""Squared gradients of single samples: a loop of backward passes, ours, and the floor, on one core.

    python benchmarks/fisher.py [samples of the loop]

The empirical Fisher information of the Elman net on the permuted copy task (see
`clbench_regularization.online_ewc`), per sample. The floor is the products alone: of the forward
and backward pass of a batch, and for each sample those that give its gradients of the two square
weight matrices, with nothing done to them. (The squares of W_ho summed over samples can also be had
by one product over all pairs of scored steps, which costs as much as products and squares do.) All
variants take turns, and times are those of the processor, so that other work on the machine matters
little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from clbench.protocols import Batch, Context
from clbench.randomness import generator
from clbench.sample_gradients import squared_gradients
from clbench.scenario import OutputLayout, Scenario
from clbench.worker import keep_freed_memory
from clbench_copytask.elman import Elman
from clbench_copytask.permuted_copy import PermutedCopy, PermutedCopyParams
from clbench_copytask.recurrent import RecurrentParams

S, H, BATCH, ALL, ROUNDS = 11, 256, 256, 100_000, 20
FAMILY = PermutedCopy(PermutedCopyParams(num_train=10_000))
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 5, 7)
NET = Elman(RecurrentParams(hidden_size=H), FAMILY.spec, LAYOUT)
PARAMS = NET.initial(generator(0, "init"))


def batch(size: int) -> Batch:
    """Training samples of the first task."""
    task = FAMILY.tasks(42, Scenario.TASK_IL)[0]
    found = task.train_stream(generator(0, "order")).next(size)
    return Batch(inputs=found.inputs, targets=found.targets, window=found.window, task_id=0)


def loop(samples: Batch) -> dict[str, torch.Tensor]:
    """As one would write it: a plain net, one backward pass for each sample, squares summed."""
    p = {name: tensor.clone().requires_grad_() for name, tensor in PARAMS.items()}
    total = {name: torch.zeros_like(tensor) for name, tensor in p.items()}
    assert samples.window is not None  # copy tasks score a window
    for n in range(samples.inputs.shape[1]):
        h, outputs = torch.zeros(1, H), []
        for x in samples.inputs[:, n : n + 1]:
            h = torch.tanh(x @ p["W_ih"].T + p["b_ih"] + h @ p["W_hh"].T + p["b_hh"])
            y = torch.tanh(h @ p["W_ho"].T + p["b_ho"])
            outputs.append(y @ p["W_out"].T + p["b_out"])
        logits = torch.stack(outputs)[samples.window, :, :7]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, samples.targets[:, n : n + 1], reduction="sum"
        )
        for tensor in p.values():
            tensor.grad = None
        loss.backward()
        for name, tensor in p.items():
            assert tensor.grad is not None  # every parameter takes part
            total[name] += tensor.grad.square()
    return total


def ours(samples: Batch) -> dict[str, torch.Tensor]:
    """What online EWC asks for."""
    return squared_gradients(NET, PARAMS, samples, Context(), LAYOUT, FAMILY.objective)


def floor(size: int) -> Callable[[], None]:
    """Forward and back (10 recurrent steps, 5 scored), then each sample's gradients, in pieces."""
    piece = 4
    state, scored, square = torch.randn(size, H), torch.randn(5 * size, H), torch.randn(H, H)
    state_out, scored_out = torch.empty(size, H), torch.empty(5 * size, H)
    recurrent = torch.randn(piece, H, S - 1), torch.randn(piece, S - 1, H)
    extra = torch.randn(piece, H, 5), torch.randn(piece, 5, H)
    out = torch.empty(piece, H, H)

    def run() -> None:
        for _ in range(2 * (S - 1)):
            torch.mm(state, square, out=state_out)
        for _ in range(2):
            torch.mm(scored, square, out=scored_out)
        for _ in range(size // piece):
            torch.bmm(*recurrent, out=out)
            torch.bmm(*extra, out=out)

    return run


def main() -> None:
    """Time all, and see that the loop and ours agree."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a worker
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    few, many = batch(size), batch(BATCH)
    for name, expected in loop(batch(20)).items():
        torch.testing.assert_close(ours(batch(20))[name], expected, rtol=1e-4, atol=1e-9)
    variants: dict[str, tuple[Callable[[], object], int]] = {
        "loop of backward passes": (lambda: loop(few), size),
        "ours": (lambda: ours(many), BATCH),
        "floor (products alone)": (floor(BATCH), BATCH),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, (run, samples) in variants.items():
            begin = time.process_time()
            run()
            times[name].append((time.process_time() - begin) / samples)
    seconds = {name: median(taken) for name, taken in times.items()}
    print(f"squared gradients per sample, H={H}, S={S}, one core")
    for name, t in seconds.items():
        print(
            f"{name:24} {1e6 * t:8.1f} us   {t / seconds['ours']:6.2f} x ours   "
            f"{ALL * t:6.1f} s for {ALL:,} samples"
        )


if __name__ == "__main__":
    main()
