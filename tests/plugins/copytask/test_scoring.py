"""Loss and score of the copy tasks: by hand, and against PyTorch's own loss."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from clbench.protocols import Batch
from clbench_copytask.scoring import Bitwise

LOG3 = math.log(3.0)  # the logit of 3/4
OUTPUTS = torch.tensor([[[LOG3, -LOG3], [0.0, 0.0]], [[0.0, LOG3], [-LOG3, -0.5]]])  # (W, B, w)
TARGETS = torch.tensor([[[1.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 0.0]]])
BATCH = Batch(inputs=torch.zeros(4, 2, 3), targets=TARGETS, task_id=None, window=slice(2, 4))
MASK = torch.tensor([[1.0, 1.0], [1.0, 0.0]])  # the second sample is one step shorter


def test_losses_are_sums_over_the_scored_bits() -> None:
    losses = Bitwise().losses(OUTPUTS, BATCH)

    # sample 0: -ln 3/4 - ln 1/4 - ln 1/2 - ln 3/4; sample 1: 2 ln 2 - ln 3/4 + ln(1 + e^-1/2)
    first = 3 * math.log(4) + math.log(2) - 2 * math.log(3)
    second = 2 * math.log(2) + math.log(4 / 3) + math.log1p(math.exp(-0.5))
    assert losses.tolist() == pytest.approx([first, second], rel=1e-6)


def test_masked_steps_add_nothing_to_the_loss() -> None:
    losses = Bitwise().losses(OUTPUTS, replace(BATCH, mask=MASK))

    first = 3 * math.log(4) + math.log(2) - 2 * math.log(3)
    assert losses.tolist() == pytest.approx([first, 2 * math.log(2)], rel=1e-6)


def test_losses_at_chance_are_ln_2_per_bit() -> None:
    batch = replace(BATCH, targets=torch.ones(5, 3, 7))

    losses = Bitwise().losses(torch.zeros(5, 3, 7), batch)

    assert losses.tolist() == pytest.approx([35 * math.log(2)] * 3, rel=1e-6)


def test_losses_and_their_gradient_are_those_of_pytorch_and_stable_at_huge_logits() -> None:
    outputs = torch.linspace(-200, 200, 210, dtype=torch.double).reshape(5, 6, 7)
    outputs.requires_grad_()
    targets = (torch.arange(210).reshape(5, 6, 7) % 3 == 0).double()
    theirs = torch.nn.BCEWithLogitsLoss(reduction="sum")(outputs, targets)
    (expected,) = torch.autograd.grad(theirs, outputs)

    losses = Bitwise().losses(outputs, replace(BATCH, targets=targets))
    (gradient,) = torch.autograd.grad(losses.sum(), outputs)

    assert losses.shape == (6,)
    torch.testing.assert_close(losses.sum(), theirs, rtol=1e-12, atol=0)  # rounding of doubles
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-15)


def test_losses_of_samples_can_be_mapped() -> None:
    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        one = replace(BATCH, targets=targets.unsqueeze(1))
        return Bitwise().losses(outputs.unsqueeze(1), one).squeeze(0)

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=1, out_dims=1)(OUTPUTS, TARGETS)

    torch.testing.assert_close(gradients, OUTPUTS.sigmoid() - TARGETS)


def test_accuracy_counts_bits_and_a_logit_of_zero_says_one() -> None:
    # wrong of 8: bit 1 of sample 0 and of sample 1 at step 0, bit 0 of sample 0 at step 1
    assert Bitwise().tally(OUTPUTS, BATCH) == (500.0, 8)


def test_masked_steps_are_not_counted() -> None:
    assert Bitwise().tally(OUTPUTS, replace(BATCH, mask=MASK)) == (300.0, 6)


def test_the_score_is_an_accuracy_in_percent() -> None:
    assert (Bitwise().metric.name, Bitwise().metric.unit) == ("accuracy", "%")
