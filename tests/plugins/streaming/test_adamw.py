"""Adam with decoupled decay, against its formula in double precision."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from clbench.protocols import Batch
from clbench_streaming.adamw import StreamAdamW, StreamAdamWParams

W = [1.0, -2.0, 0.0]
GRADIENTS = [[0.5, 0.25, 0.0], [0.5, -0.25, 1e-4], [-0.2, 0.1, 0.0]]


def _by_hand(
    beta1: float, beta2: float, eps: float, decay: float, alpha: float
) -> list[list[float]]:
    p, m, v = list(W), [0.0] * 3, [0.0] * 3
    after = []
    for t, g in enumerate(GRADIENTS, start=1):
        for i in range(3):
            m[i] = beta1 * m[i] + (1 - beta1) * g[i]
            v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2
            root = math.sqrt(v[i]) / math.sqrt(1 - beta2**t) + eps
            p[i] = p[i] * (1 - alpha * decay) - alpha / (1 - beta1**t) * m[i] / root
        after.append(list(p))
    return after


@pytest.mark.parametrize(
    ("beta1", "beta2", "eps", "decay"),
    [
        (0.9, 0.999, 1e-8, 0.0),
        (0.0, 0.9999, 1e-8, 0.1),  # as in the published streams of EMNIST
        (0.9, 0.99, 0.1, 0.0),  # an eps that can be seen
    ],
)
def test_three_steps_follow_the_formula(
    feed: Any, beta1: float, beta2: float, eps: float, decay: float
) -> None:
    params = StreamAdamWParams(betas=(beta1, beta2), eps=eps, weight_decay=decay)
    gradients = [{"w": torch.tensor(g)} for g in GRADIENTS]

    after = feed(StreamAdamW, params, {"w": torch.tensor(W)}, gradients)

    expected = torch.tensor(_by_hand(beta1, beta2, eps, decay, alpha=0.1))
    actual = torch.stack([weights["w"] for weights in after])
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)  # roundings of float32


def test_the_first_step_is_of_the_step_size_whatever_the_gradient(feed: Any) -> None:
    gradients = [{"w": torch.tensor([5.0, -0.002])}]

    after = feed(StreamAdamW, StreamAdamWParams(), {"w": torch.zeros(2)}, gradients)

    torch.testing.assert_close(after[0]["w"], torch.tensor([-0.1, 0.1]), rtol=1e-4, atol=0)


def test_moments_of_weights_without_gradient_end_at_zero(dictated: Any) -> None:
    params = StreamAdamWParams(betas=(0.6, 0.9))
    learner = StreamAdamW(params, dictated({"w": torch.zeros(2)}))
    moments = []
    for first in [1e-16] + [0.0] * 63:
        gradient = torch.tensor([[first, 1.0]])
        learner.observe(Batch(inputs=gradient, targets=torch.zeros(1), task_id=None))
        moments.append(learner.state()["traces"])

    assert 0 < moments[62]["v"][0] < 1e-34
    assert moments[63]["v"][0] == 0
    left = 0.4e-16 * 0.6**63  # 4e-31: small, and kept
    assert float(moments[63]["m"][0]) == pytest.approx(left, rel=1e-4, abs=0)
    assert moments[63]["v"][1] == pytest.approx(1 - 0.9**64)
