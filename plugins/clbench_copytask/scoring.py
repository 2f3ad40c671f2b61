"""Loss and score of the copy tasks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from clbench.metrics import ACCURACY, Metric
from clbench.protocols import CPU, Batch, Tally


class PaddedBitwise:
    """Binary cross-entropy of logits, summed over all scored bits of a sample; accuracy per bit.

    A sum, not a mean: 35 bits at a pattern of 5 steps, ``35 ln 2 = 24.3`` nats at chance. All
    published regularisation strengths are calibrated to it.

    It defines no distillation, as an input alone does not tell which steps are scored where the
    pattern is shorter than the input.
    """

    metric: Metric = ACCURACY

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Nats per sample, ``(B,)``; ``outputs`` and ``batch.targets`` are ``(W, B, w)``."""
        weight = None if batch.mask is None else batch.mask.unsqueeze(-1)
        losses = binary_cross_entropy_with_logits(
            outputs, batch.targets, weight=weight, reduction="none"
        )
        return losses.sum((0, 2))

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        """Percent of the scored bits that are right; a logit of 0 or more says 1."""
        right = (outputs >= 0) == batch.targets
        if batch.mask is None:
            return Tally(100.0 * int(right.count_nonzero()), right.numel())
        scored = int(batch.mask.count_nonzero()) * right.shape[-1]
        right = right & batch.mask.unsqueeze(-1).bool()
        return Tally(100.0 * int(right.count_nonzero()), scored)

    def predictions(self, outputs: Tensor) -> Tensor:
        """The bits that the outputs say, 1 for a logit of 0 or more."""
        return (outputs >= 0).to(outputs.dtype)


class Bitwise(PaddedBitwise):
    """The same of patterns as long as the input, with distillation."""

    def replay_window(self, inputs: Tensor) -> tuple[slice, Tensor | None]:
        """The steps after the stop flag, as many as before it, as far as the sequence goes.

        The stop flag of a sample stands at the step q at which the last channel is greatest; its
        window is ``[q + 1, 2 q + 1)``. The window that covers those of all samples has to be read,
        so on a device that would be waited for it is the whole sequence.
        """
        S = inputs.shape[0]
        stop = inputs[:, :, -1].argmax(0)  # (B,)
        begin, end = stop + 1, (2 * stop + 1).clamp(max=S)
        window = slice(0, S)
        if inputs.device == CPU:
            extremes = torch.stack([*begin.aminmax(), *end.aminmax()])
            first, latest_begin, earliest_end, last = extremes.tolist()
            first = min(first, S - 1)
            window = slice(first, max(last, first + 1))
            if latest_begin <= window.start and window.stop <= earliest_end:
                return window, None
        steps = torch.arange(window.start, window.stop, device=inputs.device).unsqueeze(1)
        scored = (steps >= begin) & (steps < end)  # (W, B)
        return window, scored.to(inputs.dtype)

    def distillation_losses(
        self, outputs: Tensor, taught: Tensor, temperature: float, mask: Tensor | None
    ) -> Tensor:
        """Cross-entropy of softened bits, summed over the scored bits, ``(B,)``.

        ``T^2 * sum BCE(sigmoid(y / T), sigmoid(y* / T))`` (the factor: Hinton et al. 2015).
        """
        losses = binary_cross_entropy_with_logits(
            outputs / temperature,
            (taught / temperature).sigmoid(),
            weight=None if mask is None else mask.unsqueeze(-1),
            reduction="none",
        )
        return losses.sum((0, 2)) * temperature**2
