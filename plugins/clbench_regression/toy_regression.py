"""The toy problem of von Oswald et al. 2020: three polynomials on neighbouring intervals.

::

    y_1 = x + 3        on [-4, -2]
    y_2 = 2 x^2 - 1    on [-1, 1]
    y_3 = (x - 3)^3    on [2, 4]

Each task has 100 training points, x uniform on its interval and y with Gaussian noise, and 50 test
points, equidistant on the interval with its ends, without noise. As in the source, the points of
all tasks are drawn from ``numpy.random.RandomState(data_seed)`` anew, so tasks share their relative
x positions and their noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from clbench.batching import SweptStream
from clbench.errors import UnavailableError
from clbench.metrics import MSE, Metric
from clbench.params import Params
from clbench.protocols import Batch, BatchStream, Objective, SequenceSpec, Tally, Task
from clbench.scenario import Scenario

_POLYNOMIALS: tuple[tuple[float, float, Callable[[Tensor], Tensor]], ...] = (
    (-4.0, -2.0, lambda x: x + 3),
    (-1.0, 1.0, lambda x: 2 * x.square() - 1),
    (2.0, 4.0, lambda x: (x - 3) ** 3),
)


class ToyRegressionParams(Params):
    """Parameters of the toy problem."""

    num_train: PositiveInt = 100
    """Training points of each task."""
    num_test: PositiveInt = 50
    """Test points of each task."""
    noise_std: NonNegativeFloat = 0.05
    """Standard deviation of the noise on training targets."""


class SquaredError:
    """Mean squared error; as a loss and as a score, which is better when lower."""

    metric: Metric = MSE

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """Squared error of each sample, mean over its outputs, ``(B,)``."""
        return (outputs - batch.targets).square().mean(-1)

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        """Squared errors summed over samples, and their number."""
        return Tally(float(self.losses(outputs, batch).sum()), len(outputs))

    def predictions(self, outputs: Tensor) -> Tensor:
        """Refused, as they would be the outputs themselves.

        Raises:
            UnavailableError: Always.
        """
        raise UnavailableError(
            "the targets that a regression predicts are its outputs, where its loss has no gradient"
        )


@dataclass(frozen=True, slots=True)
class _Points:
    """`clbench.protocols.Task` over points in memory, x and y of shape (N, 1)."""

    train_x: Tensor
    train_y: Tensor
    test_x: Tensor
    test_y: Tensor

    @property
    def train_size(self) -> int:
        return len(self.train_x)

    def train_stream(self, generator: torch.Generator) -> BatchStream:
        def gather(index: Tensor) -> Batch:
            return Batch(inputs=self.train_x[index], targets=self.train_y[index], task_id=None)

        return SweptStream(self.train_size, gather, generator, self.train_x.device)

    def moved(self, move: Callable[[Tensor], Tensor]) -> _Points:
        tensors = (self.train_x, self.train_y, self.test_x, self.test_y)
        return _Points(*map(move, tensors))

    def test_batches(self) -> Iterable[Batch]:
        yield Batch(inputs=self.test_x, targets=self.test_y, task_id=None)


class ToyRegression:
    """See the module's text."""

    Params: ClassVar[type[Params]] = ToyRegressionParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_IL, Scenario.DOMAIN_IL})

    def __init__(self, params: ToyRegressionParams) -> None:
        self._params = params

    @property
    def spec(self) -> SequenceSpec:
        """What the sequence gives."""
        return SequenceSpec(
            kind="regression", input_shape=(1,), outputs_per_task=1, num_tasks=len(_POLYNOMIALS)
        )

    @property
    def objective(self) -> Objective:
        """Mean squared error."""
        return SquaredError()

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[Task]:
        """The three tasks in order."""
        p = self._params
        tasks = []
        for low, high, polynomial in _POLYNOMIALS:
            drawing = np.random.RandomState(data_seed)
            x = torch.from_numpy(drawing.uniform(low, high, (p.num_train, 1))).float()
            noise = torch.from_numpy(drawing.normal(0.0, p.noise_std, (p.num_train, 1))).float()
            grid = torch.linspace(low, high, p.num_test).unsqueeze(1)
            tasks.append(_Points(x, polynomial(x) + noise, grid, polynomial(grid)))
        return tasks
