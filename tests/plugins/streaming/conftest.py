"""A learner whose gradients a test dictates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
import toys
from torch import Tensor

from clbench.config import Training
from clbench.protocols import Batch, Context, LearnerContext, Query
from clbench.randomness import generator
from clbench.scenario import OutputLayout, Scenario
from clbench_streaming.noise import Noise
from clbench_streaming.stream_learner import StreamLearner

Tensors = dict[str, Tensor]


class _Dictated:
    """A net whose output is the scalar product of all its weights with the inputs ``(B, P)``."""

    def __init__(self, initial: Mapping[str, Tensor]) -> None:
        self._initial = initial

    def initial(self, generator: torch.Generator) -> Tensors:
        return {name: tensor.clone() for name, tensor in self._initial.items()}

    def __call__(self, params: Mapping[str, Tensor], query: Query, context: Context) -> Tensor:
        flat = torch.cat([tensor.reshape(-1) for tensor in params.values()])
        return (query.inputs @ flat).unsqueeze(-1)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


class _Output:
    """The loss of a sample is its output, so that the gradient is its input."""

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return outputs.squeeze(-1)


def _context(
    initial: Mapping[str, Tensor], learning_rate: float = 0.1, seed: int = 0
) -> LearnerContext:
    return toys.context(
        net=_Dictated(initial),
        layout=OutputLayout(Scenario.TASK_FREE, "shared", 1, 1),
        objective=_Output(),
        training=Training(iterations=1, batch_size=1, learning_rate=learning_rate),
        generator=lambda purpose: generator(seed, purpose),
    )


@pytest.fixture
def dictated() -> Callable[..., LearnerContext]:
    """The context of a net that starts at given weights, and whose gradient is its input."""
    return _context


Feed = Callable[..., list[Tensors]]


@pytest.fixture
def feed() -> Feed:
    """Give a rule gradients one after another; returns the weights after each step."""

    def feed(
        rule: type[StreamLearner[Any]],
        params: Any,
        initial: Mapping[str, Tensor],
        gradients: Sequence[Mapping[str, Tensor]],
        learning_rate: float = 0.1,
        seed: int = 0,
    ) -> list[Tensors]:
        learner = rule(params, _context(initial, learning_rate, seed))
        after = []
        for gradient in gradients:
            row = torch.cat([tensor.reshape(-1) for tensor in gradient.values()])
            learner.observe(Batch(inputs=row[None], targets=torch.zeros(1), task_id=None))
            for name, tensor in learner.gradients().items():
                assert torch.equal(tensor, gradient[name])
            after.append({n: tensor.clone() for n, tensor in learner.weights(None).items()})
        return after

    return feed


@pytest.fixture
def noise() -> Callable[[int, int, int], Tensor]:
    """The standard normal numbers of some steps, ``(steps, P)``, that a learner of a seed draws."""

    def noise(steps: int, size: int, seed: int = 0) -> Tensor:
        drawing = Noise(generator(seed, "noise"))
        return torch.stack([drawing.fill(torch.empty(size)) for _ in range(steps)])

    return noise
