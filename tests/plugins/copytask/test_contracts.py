"""The main nets and families keep what main nets and families promise."""

from __future__ import annotations

import torch

from clbench.protocols import MainNet, Query, SequenceSpec, TaskFamily
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import FamilyContract, NetContract
from clbench_copytask.elman import Elman
from clbench_copytask.lstm import Lstm
from clbench_copytask.padded_copy import PaddedCopy, PaddedCopyParams
from clbench_copytask.pattern_manipulation import PatternManipulation, PatternManipulationParams
from clbench_copytask.permuted_copy import PermutedCopy, PermutedCopyParams
from clbench_copytask.plain_copy import PlainCopy, PlainCopyParams
from clbench_copytask.recurrent import RecurrentParams

SPEC = SequenceSpec(kind="sequence", input_shape=(3,), outputs_per_task=2, num_tasks=2)
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 2, 2)


class _Sequences(NetContract):
    def query(self) -> Query:
        inputs = torch.rand(6, 4, 3, generator=torch.Generator().manual_seed(0))
        return Query(inputs=inputs, task_id=1, window=slice(3, 6))


class TestElman(_Sequences):
    def build(self) -> MainNet:
        return Elman(RecurrentParams(hidden_size=5), SPEC, LAYOUT)


class TestOrthogonalElman(_Sequences):
    def build(self) -> MainNet:
        return Elman(RecurrentParams(hidden_size=5, orthogonal_init=True), SPEC, LAYOUT)


class TestLstm(_Sequences):
    def build(self) -> MainNet:
        return Lstm(RecurrentParams(hidden_size=5), SPEC, LAYOUT)


SMALL = {"num_tasks": 3, "num_train": 100, "num_test": 20, "num_validation": 5}


class TestPlainCopy(FamilyContract):
    def build(self) -> TaskFamily:
        values = {**SMALL, "input_length_step": 2, "input_length_variability": 1}
        return PlainCopy(PlainCopyParams.model_validate(values))


class TestPermutedCopy(FamilyContract):
    scenario = Scenario.DOMAIN_IL

    def build(self) -> TaskFamily:
        return PermutedCopy(PermutedCopyParams.model_validate({**SMALL, "permute": "both"}))


class TestPaddedCopy(FamilyContract):
    def build(self) -> TaskFamily:
        values = {**SMALL, "input_length": 8, "padding": "after-stop", "permute": "time"}
        return PaddedCopy(PaddedCopyParams.model_validate(values))


class TestPatternManipulation(FamilyContract):
    def build(self) -> TaskFamily:
        values = {**SMALL, "xor_iterations": 3, "permutations": "iterated"}
        return PatternManipulation(PatternManipulationParams.model_validate(values))
