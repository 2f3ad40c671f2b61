"""Gradient descent with noise and decay, against steps worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from clbench_streaming.perturbed_sgd import PerturbedSgd, PerturbedSgdParams

W = {"w": torch.tensor([1.0, -2.0])}
GRADIENTS = [{"w": torch.tensor(values)} for values in ([0.5, 0.25], [0.5, 0.25], [-0.2, 0.1])]


def _close(actual: Tensor, expected: Tensor | list[float]) -> None:
    """Within a few roundings of float32 numbers near 1."""
    expected = torch.as_tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_without_noise_and_decay_it_is_gradient_descent(feed: Any) -> None:
    first, second, third = feed(PerturbedSgd, PerturbedSgdParams(), W, GRADIENTS)

    _close(first["w"], [0.95, -2.025])
    _close(second["w"], [0.90, -2.05])
    _close(third["w"], [0.92, -2.06])


def test_decay_shrinks_the_weights_of_before_the_step(feed: Any) -> None:
    first, second, _ = feed(PerturbedSgd, PerturbedSgdParams(weight_decay=0.5), W, GRADIENTS)

    _close(first["w"], [0.95 * 1 - 0.05, 0.95 * -2 - 0.025])  # 0.9, -1.925
    _close(second["w"], [0.95 * 0.9 - 0.05, 0.95 * -1.925 - 0.025])


def test_noise_perturbs_the_gradient(feed: Any, noise: Any) -> None:
    xi = noise(2, 2)

    first, second, _ = feed(PerturbedSgd, PerturbedSgdParams(noise_std=0.3), W, GRADIENTS)

    _close(first["w"], W["w"] - 0.1 * (GRADIENTS[0]["w"] + 0.3 * xi[0]))
    _close(second["w"], first["w"] - 0.1 * (GRADIENTS[1]["w"] + 0.3 * xi[1]))


def test_shrink_and_perturb_does_both(feed: Any, noise: Any) -> None:
    xi = noise(1, 2)
    params = PerturbedSgdParams(noise_std=0.3, weight_decay=0.5)

    first = feed(PerturbedSgd, params, W, GRADIENTS[:1])[0]

    _close(first["w"], 0.95 * W["w"] - 0.1 * (GRADIENTS[0]["w"] + 0.3 * xi[0]))


def test_the_noise_obeys_the_seed(feed: Any) -> None:
    params = PerturbedSgdParams(noise_std=0.3)

    first, again, other = (
        feed(PerturbedSgd, params, W, GRADIENTS, seed=seed)[-1]["w"] for seed in (0, 0, 1)
    )

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", ["noise_std", "weight_decay"])
def test_negative_values_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){name}.*greater than or equal to 0"):
        PerturbedSgdParams(**{name: -0.1})
