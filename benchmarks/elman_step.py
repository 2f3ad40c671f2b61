"""One training step of the Elman net: plain PyTorch, ours, and the floor, in one run on one core.

    python benchmarks/elman_step.py [repetitions]

The floor is the matrix products that the step cannot avoid, one after another: recurrent products
forward and back (the first state is zero), the extra layer and its gradients on the scored steps,
and each weight gradient as one product over all time steps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from clbench.config import Training
from clbench.protocols import Batch, LearnerContext, MainNet, Regularizer
from clbench.randomness import generator
from clbench.scenario import OutputLayout, Scenario
from clbench_copytask.elman import Elman
from clbench_copytask.permuted_copy import PermutedCopy, PermutedCopyParams
from clbench_copytask.recurrent import RecurrentParams
from clbench_hypernet.learner import ChunkedHypernetwork, ChunkedHypernetworkParams
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_regularization.orthogonal import Orthogonal, OrthogonalParams
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams

B, S, H, WINDOW = 128, 11, 256, slice(6, 11)
FAMILY = PermutedCopy(PermutedCopyParams(num_train=10_000))
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 5, 7)
TRAINING = Training(iterations=1, learning_rate=1e-3, clip_grad_norm=1.0)


def context(make: Callable[[MainNet], tuple[Regularizer, ...]], seed: int = 0) -> LearnerContext:
    """What a learner is built from."""
    net = Elman(RecurrentParams(hidden_size=H), FAMILY.spec, LAYOUT)
    return LearnerContext(
        spec=FAMILY.spec,
        net=net,
        layout=LAYOUT,
        objective=FAMILY.objective,
        training=TRAINING,
        regularizers=make(net),
        generator=lambda purpose: generator(seed, purpose),
        model_seed=seed,
        build_net=lambda spec, layout, changes: net,
        build_regularizers=make,
    )


def learner(make: Callable[[MainNet], tuple[Regularizer, ...]], seed: int = 0) -> FineTuning:
    """The plain learner in its second task, so that penalties are active."""
    made = FineTuning(FineTuningParams(), context(make, seed))
    made.begin_task(0)
    made.end_task(0, Data())
    made.begin_task(1)
    return made


def hypernetwork(seed: int = 0) -> ChunkedHypernetwork:
    """That of the permuted copy task in its fifth task, so that it keeps four earlier ones."""
    params = ChunkedHypernetworkParams(
        chunk_size=2500,
        hidden_sizes=(50, 50),
        task_embedding_size=32,
        chunk_embedding_size=32,
        beta=10,
    )
    made = ChunkedHypernetwork(params, context(lambda net: (), seed))
    made.begin_task(4)
    return made


class Data:
    """A few training samples, for consolidation."""

    num_samples = 512

    def batches(self, num_samples: int) -> list[Batch]:
        """All of them."""
        return [batch(num_samples, task_id=0)]


def batch(size: int, task_id: int, seed: int = 0) -> Batch:
    """Training samples of a task."""
    task = FAMILY.tasks(42, Scenario.TASK_IL)[task_id]
    return replace(task.train_stream(generator(seed, "order")).next(size), task_id=task_id)


def plain_outputs(p: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    """The net as one would write it: a loop over time; outputs of all steps, (S, B, outputs)."""
    h = inputs.new_zeros(inputs.shape[1], len(p["W_hh"]))
    outputs = []
    for x in inputs:
        h = torch.tanh(x @ p["W_ih"].T + p["b_ih"] + h @ p["W_hh"].T + p["b_hh"])
        y = torch.tanh(h @ p["W_ho"].T + p["b_ho"])
        outputs.append(y @ p["W_out"].T + p["b_out"])
    return torch.stack(outputs)


def plain_step(samples: Batch) -> Callable[[], None]:
    """The same step as one would write it: a loop over time, autograd, torch's Adam."""
    net = Elman(RecurrentParams(hidden_size=H), FAMILY.spec, LAYOUT)
    p = {n: t.requires_grad_() for n, t in net.initial(generator(0, "init")).items()}
    optimiser = torch.optim.Adam(list(p.values()), lr=1e-3)

    def step() -> None:
        optimiser.zero_grad()
        logits = plain_outputs(p, samples.inputs)[WINDOW, :, 7:14]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            logits, samples.targets, reduction="sum"
        )
        (loss / B).backward()
        torch.nn.utils.clip_grad_norm_(list(p.values()), 1.0)
        optimiser.step()

    return step


def floor_step() -> Callable[[], None]:
    """The products alone."""
    W = WINDOW.stop - WINDOW.start
    square, state = torch.randn(H, H), torch.randn(B, H)
    states, scored = torch.randn((S - 1) * B, H), torch.randn(W * B, H)
    x, deltas = torch.randn(S * B, 8), torch.randn(S * B, H)
    head, logits = torch.randn(7, H), torch.randn(W * B, 7)
    into: dict[str, Tensor] = {
        "state": torch.empty(B, H),
        "square": torch.empty(H, H),
        "scored": torch.empty(W * B, H),
    }

    def step() -> None:
        x @ square[:8]
        for _ in range(2 * (S - 1)):
            torch.mm(state, square, out=into["state"])
        torch.mm(states.t(), states, out=into["square"])
        for _ in range(2):
            torch.mm(scored, square, out=into["scored"])
        torch.mm(scored.t(), scored, out=into["square"])
        scored @ head.t()
        logits @ head
        logits.t() @ scored
        x.t() @ deltas

    return step


def main() -> None:
    """Time all variants in turn, so that a drift of the machine's speed hits all alike."""
    torch.set_num_threads(1)
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    samples, later = batch(B, task_id=1), batch(B, task_id=4)
    generated = hypernetwork()

    def observe(*regularizers: Callable[[MainNet], Regularizer]) -> Callable[[], None]:
        made = learner(lambda net: tuple(make(net) for make in regularizers))
        return lambda: (made.observe(samples), None)[1]

    def orthogonal(net: MainNet) -> Regularizer:
        return Orthogonal(OrthogonalParams(strength=1.0), net)

    def online_ewc(net: MainNet) -> Regularizer:
        return OnlineEwc(OnlineEwcParams(ewc_lambda=100.0), net)

    def si(net: MainNet) -> Regularizer:
        return SynapticIntelligence(SynapticIntelligenceParams(si_lambda=0.01), net)

    variants = {
        "plain PyTorch": plain_step(samples),
        "ours": observe(),
        "ours + orthogonal": observe(orthogonal),
        "ours + online EWC": observe(online_ewc),
        "ours + SI": observe(si),
        "ours, hypernetwork": lambda: (generated.observe(later), None)[1],
        "floor (products alone)": floor_step(),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(repetitions + 10):
        for name, step in variants.items():
            begin = time.perf_counter()
            step()
            if i >= 10:
                times[name].append(time.perf_counter() - begin)
    floor, ours = median(times["floor (products alone)"]), median(times["ours"])
    print(f"Elman step, B={B}, H={H}, S={S}, one core, medians of {repetitions}")
    for name, taken in times.items():
        t = median(taken)
        print(f"{name:24} {1e3 * t:7.2f} ms   {t / floor:5.2f} x floor   {t / ours:5.2f} x ours")


if __name__ == "__main__":
    main()
