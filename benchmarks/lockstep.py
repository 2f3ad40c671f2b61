"""One UPGD step of several seeds in lockstep, per seed: against one seed alone and plain PyTorch.

    python benchmarks/lockstep.py [seeds] [rounds]

The nets are the LeNet of the streams on pictures of 3 x 32 x 32, and 784-300-150-10; one sample a
step. The floor is the matrix products of the step, for all seeds at once on matrices that lie
ready, and one Gaussian number for each weight. All variants take turns, and times are those of the
processor, so that other work on the machine matters little.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from statistics import median
from typing import Any

import torch
from stream_step import BETA, DECAY, SIGMA, context, plain_mlp, plain_step
from torch import Tensor, nn

from clbench.observing import StreamKeeper, StreamKeepers
from clbench.protocols import Batch, MainNet, SequenceSpec
from clbench.randomness import generator
from clbench.scenario import OutputLayout, Scenario
from clbench.worker import keep_freed_memory
from clbench_streaming.noise import Noise
from clbench_streaming.upgd import Upgd, UpgdParams
from clbench_vision.classification import Classification
from clbench_vision.cnn import Cnn, CnnParams
from clbench_vision.mlp import Mlp, MlpParams

LAYOUT = OutputLayout(Scenario.TASK_FREE, "shared", 1, 10)
STEPS = 10
"""Steps of one variant in a row, so that its memory is as in a real stream."""


def lenet() -> MainNet:
    """The net for CIFAR-sized pictures."""
    return Cnn(CnnParams(), _spec(3, 32, 32), LAYOUT)


def plain_lenet() -> nn.Module:
    """The same as modules."""
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def mlp() -> MainNet:
    """The net for MNIST-sized pictures."""
    return Mlp(MlpParams(hidden_sizes=(300, 150)), _spec(1, 28, 28), LAYOUT)


def _spec(*shape: int) -> SequenceSpec:
    return SequenceSpec(input_shape=shape, num_tasks=1, outputs_per_task=10, kind="classification")


def _dense(inputs: int, outputs: int) -> list[tuple[int, int, int]]:
    """Products of a layer on one sample, (rows, inner, columns): forward, and both gradients."""
    return [(1, inputs, outputs), (1, outputs, inputs), (outputs, 1, inputs)]


LENET_PRODUCTS = [
    *((6, 75, 784), (6, 784, 75)),
    *((16, 150, 100), (16, 100, 150), (150, 16, 100)),
    *(*_dense(400, 120), *_dense(120, 84), *_dense(84, 10)),
]
MLP_PRODUCTS = [(1, 784, 300), (300, 1, 784), *_dense(300, 150), *_dense(150, 10)]


def samples(seed: int, shape: tuple[int, ...]) -> Iterator[Batch]:
    """Random pictures with random labels, so that no gradient ever vanishes."""
    own = generator(seed, "samples")
    pool = [
        Batch(
            inputs=torch.rand(1, *shape, generator=own),
            targets=torch.randint(10, (1,), generator=own),
            task_id=None,
        )
        for _ in range(100)
    ]
    return cycle(pool)


def learner(net: MainNet, seed: int) -> Upgd:
    """UPGD as in the streams."""
    made = replace(context(net), generator=lambda purpose: generator(seed, purpose))
    return Upgd(UpgdParams(beta_utility=BETA, noise_std=SIGMA, weight_decay=DECAY), made)


def keeper(one: Upgd, net: MainNet) -> StreamKeeper:
    """What records a stream: it predicts each sample a second time."""
    return StreamKeeper(one, net, LAYOUT, Classification())


Step = Callable[[], object]


def alone(build: Callable[[], MainNet], shape: tuple[int, ...]) -> tuple[Step, Step]:
    """A step of one seed, and a step that is recorded as well."""
    net, stream = build(), samples(0, shape)
    made = learner(net, 0)
    kept = keeper(made, net)

    def recorded() -> None:
        batch = next(stream)
        kept.add(made.observe(batch), batch)

    return lambda: made.observe(next(stream)), recorded


def together(build: Callable[[], MainNet], shape: tuple[int, ...], R: int) -> tuple[Step, Step]:
    """The same for R seeds in lockstep."""
    nets = [build() for _ in range(R)]
    streams = [samples(r, shape) for r in range(R)]
    made = [learner(net, r) for r, net in enumerate(nets)]
    program = Upgd.in_lockstep(made)
    kept = StreamKeepers([keeper(*pair) for pair in zip(made, nets, strict=True)], program)

    def recorded() -> None:
        batches = [next(stream) for stream in streams]
        seen: Any = program.observe(batches)
        kept.add(seen, batches)

    return lambda: program.observe([next(stream) for stream in streams]), recorded


def floor(build: Callable[[], MainNet], products: list[tuple[int, int, int]], R: int) -> Step:
    """Matrix products of R seeds, and one Gaussian number for each weight."""
    P = sum(torch.Size(shape).numel() for shape in build().shapes.values())
    pairs: list[tuple[Tensor, Tensor, Tensor]] = [
        (torch.rand(R, m, k), torch.rand(R, k, n), torch.empty(R, m, n)) for m, k, n in products
    ]
    noises, xi = [Noise(generator(r, "floor")) for r in range(R)], torch.empty(P)

    def step() -> None:
        for a, b, out in pairs:
            if a.shape[2] == 1:
                torch.mul(a, b, out=out)  # an outer product, much faster so
            else:
                torch.bmm(a, b, out=out)
        for noise in noises:
            noise.fill(xi)

    return step


def compare(title: str, variants: dict[str, tuple[Step, int]], rounds: int) -> None:
    """Print the median processor time of each variant per step and seed, and the ratios."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for i in range(rounds + 1):
        for name, (step, R) in variants.items():
            begin = time.process_time()
            for _ in range(STEPS):
                step()
            if i > 0:
                times[name].append((time.process_time() - begin) / STEPS / R)
    plain = median(times["plain PyTorch"])
    print(title)
    for name, taken in times.items():
        t = median(taken)
        print(f"  {name:32} {1e3 * t:7.3f} ms   {plain / t:6.2f} x as fast as plain")


def main() -> None:
    """Time both nets."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a worker
    R = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    nets: list[Any] = [
        ("LeNet", lenet, plain_lenet, LENET_PRODUCTS, (3, 32, 32)),
        (
            "784-300-150-10",
            mlp,
            lambda: nn.Sequential(nn.Flatten(), plain_mlp()),
            MLP_PRODUCTS,
            (1, 28, 28),
        ),
    ]
    for name, build, plain, products, shape in nets:
        one, one_recorded = alone(build, shape)
        all_, all_recorded = together(build, shape, R)
        variants = {
            "plain PyTorch": (plain_step(plain(), samples(0, shape)), 1),
            "ours alone": (one, 1),
            f"ours, {R} in lockstep": (all_, R),
            f"floor of {R}": (floor(build, products, R), R),
            "ours alone, recorded": (one_recorded, 1),
            f"ours, {R} in lockstep, recorded": (all_recorded, R),
        }
        compare(f"UPGD step on one sample, {name}, per seed, one core", variants, rounds)


if __name__ == "__main__":
    main()
