"""Loss and score of tasks that classify."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import cross_entropy, log_softmax, softmax

from clbench.metrics import ACCURACY, Metric
from clbench.protocols import Batch, Tally


class Classification:
    """Softmax cross-entropy over the competing outputs; accuracy of the largest one.

    Labels count from the first competing output: 0 to n - 1 on one task's own outputs.
    """

    metric: Metric = ACCURACY

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Nats per sample, ``(B,)``; ``outputs`` are ``(B, n)``, ``batch.targets`` ``(B,)``."""
        return cross_entropy(outputs, batch.targets, reduction="none")

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        """Right answers in percent points, and the number of samples."""
        right = int((outputs.argmax(-1) == batch.targets).sum())
        return Tally(100.0 * right, len(batch.targets))

    def predictions(self, outputs: Tensor) -> Tensor:
        """The class of each sample, ``(B,)``."""
        return outputs.argmax(-1)

    def replay_window(self, inputs: Tensor) -> tuple[None, None]:
        """Nothing: pictures have no time."""
        return None, None

    def distillation_losses(
        self, outputs: Tensor, taught: Tensor, temperature: float, mask: Tensor | None
    ) -> Tensor:
        """``-T^2 sum_k softmax(y*/T)_k log softmax(y/T)_k`` per sample, ``(B,)``.

        Hinton, Vinyals & Dean 2015.
        """
        soft = softmax(taught / temperature, -1)
        return -(temperature**2) * (soft * log_softmax(outputs / temperature, -1)).sum(-1)
