"""A consolidation that a test dictates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor

from clbench.protocols import Batch


@dataclass
class Dictated:
    """Sample s has the gradient ``gradients[s]`` for the one parameter ``w``."""

    w: Tensor
    gradients: Tensor
    asked: list[int] = field(default_factory=list)

    @property
    def params(self) -> dict[str, Tensor]:
        return {"w": self.w}

    @property
    def num_samples(self) -> int:
        return len(self.gradients)

    def batches(self, num_samples: int) -> Iterator[Batch]:
        self.asked.append(num_samples)
        for s in range(0, num_samples, 2):
            rows = self.gradients[s : min(s + 2, num_samples)]
            yield Batch(inputs=rows, targets=rows, task_id=0)

    def predicted(self, batch: Batch) -> Batch:
        return replace(batch, inputs=10 * batch.inputs)

    def squared_gradients(self, batch: Batch) -> dict[str, Tensor]:
        return {"w": batch.inputs.square().sum(0)}


@pytest.fixture
def dictated() -> type[Dictated]:
    return Dictated


@pytest.fixture
def no_net() -> object:
    """For regularizers that ask nothing of the net."""
    return torch.nn.Identity()
