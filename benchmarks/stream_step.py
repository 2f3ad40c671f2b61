"""One UPGD step on one sample: plain PyTorch, ours, and the floor, in one run on one core.

    python benchmarks/stream_step.py [rounds]

The net is 784-300-150-10 (P weights). The floor is one Gaussian number for each weight and one pass
over weights, utilities and gradients; it is given twice: with PyTorch's own generator of normal
numbers, and with the one that the learners use (`clbench_streaming.noise`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional

from clbench.config import Training
from clbench.protocols import Batch, LearnerContext, MainNet, SequenceSpec
from clbench.randomness import generator
from clbench.scenario import OutputLayout, Scenario
from clbench_streaming.noise import Noise
from clbench_streaming.perturbed_sgd import PerturbedSgd, PerturbedSgdParams
from clbench_streaming.upgd import Upgd, UpgdParams
from clbench_vision.classification import Classification
from clbench_vision.mlp import Mlp, MlpParams

SPEC = SequenceSpec(input_shape=(784,), num_tasks=1, outputs_per_task=10, kind="classification")
LAYOUT = OutputLayout(Scenario.TASK_FREE, "shared", 1, 10)
STEPS = 25
"""Steps of one variant in a row, so that its weights are in the caches as in a real stream."""
ALPHA, SIGMA, DECAY, BETA = 1e-2, 0.1, 1e-2, 0.9999


def net() -> Mlp:
    """The main net of the streams."""
    return Mlp(MlpParams(hidden_sizes=(300, 150)), SPEC, LAYOUT)


def context(made: MainNet) -> LearnerContext:
    """What a learner is built from."""
    return LearnerContext(
        spec=SPEC,
        net=made,
        layout=LAYOUT,
        objective=Classification(),
        training=Training(iterations=1, batch_size=1, learning_rate=ALPHA),
        regularizers=(),
        generator=lambda purpose: generator(0, purpose),
        model_seed=0,
        build_net=lambda spec, layout, changes: made,
        build_regularizers=lambda net: (),
    )


def samples() -> Iterator[Batch]:
    """Random pictures with random labels, so that no gradient ever vanishes."""
    own = generator(0, "samples")
    pool = [
        Batch(
            inputs=torch.rand(1, 784, generator=own),
            targets=torch.randint(10, (1,), generator=own),
            task_id=None,
        )
        for _ in range(200)
    ]
    return cycle(pool)


def plain_mlp() -> torch.nn.Module:
    """The main net of the streams, as modules."""
    return torch.nn.Sequential(
        torch.nn.Linear(784, 300),
        torch.nn.ReLU(),
        torch.nn.Linear(300, 150),
        torch.nn.ReLU(),
        torch.nn.Linear(150, 10),
    )


def plain_step(model: torch.nn.Module, stream: Iterator[Batch]) -> Callable[[], None]:
    """The same step as one would write it: modules, autograd, a loop over parameters."""
    parameters = list(model.parameters())
    utilities = [torch.zeros_like(p) for p in parameters]
    t = 0

    def step() -> None:
        nonlocal t
        t += 1
        for p in parameters:
            p.grad = None
        sample = next(stream)
        functional.cross_entropy(model(sample.inputs), sample.targets).backward()
        with torch.no_grad():
            largest = torch.tensor(-torch.inf)
            for p, U in zip(parameters, utilities, strict=True):
                U.mul_(BETA).add_(-p.grad * p, alpha=1 - BETA)
                largest = torch.maximum(largest, U.max())
            for p, U in zip(parameters, utilities, strict=True):
                noise = torch.randn_like(p) * SIGMA
                u = torch.sigmoid((U / (1 - BETA**t)) / largest)
                p.mul_(1 - ALPHA * DECAY).add_((p.grad + noise) * (1 - u), alpha=-ALPHA)

    return step


def floor_step(draw: Callable[[Tensor], object]) -> Callable[[], None]:
    """One Gaussian per weight, and one pass over weights, utilities and gradients."""
    P = sum(torch.Size(shape).numel() for shape in net().shapes.values())
    p, g, U, xi = torch.zeros(P), torch.randn(P), torch.zeros(P), torch.empty(P)

    def step() -> None:
        draw(xi)
        torch.addcmul(U, p, g, out=p)

    return step


def main() -> None:
    """Time all variants in turn, so that a drift of the machine's speed hits all alike."""
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    own, stream = generator(0, "floor"), samples()
    noise = Noise(own)

    upgd = Upgd(UpgdParams(beta_utility=BETA, noise_std=SIGMA, weight_decay=DECAY), context(net()))
    sgd = PerturbedSgd(PerturbedSgdParams(), context(net()))
    variants: dict[str, Callable[[], object]] = {
        "plain PyTorch": plain_step(plain_mlp(), samples()),
        "ours": lambda: upgd.observe(next(stream)),
        "ours, SGD without noise": lambda: sgd.observe(next(stream)),
        "floor (PyTorch's normals)": floor_step(lambda xi: xi.normal_(generator=own)),
        "floor (our normals)": floor_step(noise.fill),
    }
    times: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(rounds + 1):
        for name, step in variants.items():
            begin = time.perf_counter()
            for _ in range(STEPS):
                step()
            if i > 0:
                times[name].append((time.perf_counter() - begin) / STEPS)
    ours = median(times["ours"])
    print(f"UPGD step on one sample, 784-300-150-10, one core, medians of {rounds} rounds")
    for name, taken in times.items():
        t = median(taken)
        print(f"{name:28} {1e3 * t:7.3f} ms   {t / ours:5.2f} x ours   ours {ours / t:5.2f} x it")


if __name__ == "__main__":
    main()
