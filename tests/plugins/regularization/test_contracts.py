"""Learner and regularizers keep what learners and regularizers promise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import toys
from torch import Tensor

from clbench.config import Training
from clbench.protocols import (
    Batch,
    Learner,
    NamedTensors,
    Regularizer,
    SequenceSpec,
)
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import LearnerContract, RegularizerContract
from clbench_copytask.elman import Elman
from clbench_copytask.recurrent import RecurrentParams
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_regularization.orthogonal import Orthogonal, OrthogonalParams
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams

LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 3, 1)
SPEC = SequenceSpec(kind="sequence", input_shape=(1,), outputs_per_task=1, num_tasks=3)
NET = Elman(RecurrentParams(hidden_size=4), SPEC, LAYOUT)


class _Consolidation:
    """Gradients drawn at random; only their squares matter."""

    num_samples = 8

    def __init__(self, params: NamedTensors) -> None:
        self.params = params

    def batches(self, num_samples: int) -> list[Batch]:
        return [Batch(inputs=torch.zeros(8, 1), targets=torch.zeros(8, 1), task_id=0)]

    def squared_gradients(self, batch: Batch) -> dict[str, Tensor]:
        drawing = torch.Generator().manual_seed(0)
        return {n: torch.rand(t.shape, generator=drawing) for n, t in self.params.items()}


class _OnElman(RegularizerContract):
    def params(self, seed: int) -> dict[str, Tensor]:
        return NET.initial(torch.Generator().manual_seed(seed))

    def learn(self, regularizer: Regularizer, params: dict[str, Tensor]) -> None:
        regularizer.consolidate(cast(Any, _Consolidation(params)))


class TestOnlineEwc(_OnElman):
    def build(self) -> Regularizer:
        return OnlineEwc(OnlineEwcParams(ewc_lambda=10.0, gamma=0.9), NET)


class TestSi(_OnElman):
    def build(self) -> Regularizer:
        return SynapticIntelligence(SynapticIntelligenceParams(), NET)


class TestSiOverTotalSteps(_OnElman):
    def build(self) -> Regularizer:
        return SynapticIntelligence(SynapticIntelligenceParams(path="total-step"), NET)


class TestOrthogonal(_OnElman):
    from_the_start = True

    def anchor(self, regularizer: Regularizer, params: dict[str, Tensor]) -> None:
        return None

    def build(self) -> Regularizer:
        return Orthogonal(OrthogonalParams(strength=1.0), NET)


class TestFineTuning(LearnerContract):
    def regularizers(self) -> tuple[Regularizer, ...]:
        return ()

    def build(self) -> Learner:
        context = toys.context(
            net=NET,
            layout=LAYOUT,
            objective=cast(Any, toys.Squares()),
            training=Training(iterations=1, learning_rate=0.01, clip_grad_norm=1.0),
            regularizers=self.regularizers(),
        )
        return FineTuning(FineTuningParams(), context)

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        return toys.batches(toys.Echoes(toys.TwoParams()), task_id, count)


class TestFineTuningWithAllRegularizers(TestFineTuning):
    def regularizers(self) -> tuple[Regularizer, ...]:
        return (
            Orthogonal(OrthogonalParams(strength=0.1), NET),
            OnlineEwc(OnlineEwcParams(ewc_lambda=10.0, gamma=0.9, fisher_samples=20), NET),
            SynapticIntelligence(SynapticIntelligenceParams(), NET),
            SynapticIntelligence(SynapticIntelligenceParams(path="total-step"), NET),
        )
