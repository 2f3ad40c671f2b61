"""The main nets keep what main nets promise."""

from __future__ import annotations

import torch

from clbench.protocols import MainNet, Query, SequenceSpec
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import NetContract
from clbench_copytask.elman import Elman, ElmanParams
from clbench_copytask.lstm import Lstm, LstmParams

SPEC = SequenceSpec(kind="sequence", input_shape=(3,), outputs_per_task=2, num_tasks=2)
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 2, 2)


class _Sequences(NetContract):
    def query(self) -> Query:
        inputs = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0))
        return Query(inputs=inputs, task_id=1, window=slice(3, 6))


class TestElman(_Sequences):
    def build(self) -> MainNet:
        return Elman(ElmanParams(hidden_size=5), SPEC, LAYOUT)


class TestOrthogonalElman(_Sequences):
    def build(self) -> MainNet:
        return Elman(ElmanParams(hidden_size=5, orthogonal_init=True), SPEC, LAYOUT)


class TestLstm(_Sequences):
    def build(self) -> MainNet:
        return Lstm(LstmParams(hidden_size=5), SPEC, LAYOUT)
