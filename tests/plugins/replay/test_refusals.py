"""What generative replay cannot be combined with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import toys

from clbench.config import Training
from clbench.errors import UnavailableError
from clbench.protocols import LearnerContext, MainNet, Regularizer, SequenceSpec
from clbench.scenario import OutputLayout, Scenario
from clbench_copytask.elman import Elman
from clbench_copytask.recurrent import RecurrentParams
from clbench_copytask.scoring import Bitwise
from clbench_regularization.orthogonal import Orthogonal, OrthogonalParams
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams
from clbench_replay.generative import GenerativeReplay, GenerativeReplayParams


def _net(spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]) -> MainNet:
    return Elman(RecurrentParams.model_validate({"hidden_size": 4} | dict(changes)), spec, layout)


def _context() -> LearnerContext:
    spec = SequenceSpec(kind="sequence", input_shape=(4,), outputs_per_task=3, num_tasks=2)
    layout = OutputLayout(Scenario.TASK_IL, "per-task", 2, 3)
    return toys.context(
        spec=spec,
        net=_net(spec, layout, {}),
        layout=layout,
        objective=Bitwise(),
        training=Training(iterations=1),
        build_net=_net,
    )


def _orthogonal(net: MainNet) -> Orthogonal:
    return Orthogonal(OrthogonalParams(strength=0.3), net)


def _si(net: MainNet) -> SynapticIntelligence:
    return SynapticIntelligence(SynapticIntelligenceParams(), net)


@pytest.mark.parametrize(
    "makers",
    [(_si,), (_orthogonal, _si), (_si, _orthogonal)],
    ids=["alone", "behind another", "before another"],
)
def test_a_regularizer_that_watches_steps_is_refused_in_any_company(makers: Any) -> None:
    def build(net: MainNet) -> tuple[Regularizer, ...]:
        return tuple(make(net) for make in makers)

    with pytest.raises(UnavailableError) as caught:
        GenerativeReplay(GenerativeReplayParams(), replace(_context(), build_regularizers=build))

    assert str(caught.value) == "generative replay shows its steps to no regularizer"


def test_samples_that_are_no_sequences_are_refused() -> None:
    spec = replace(_context().spec, kind="classification")

    with pytest.raises(UnavailableError) as caught:
        GenerativeReplay(GenerativeReplayParams(), replace(_context(), spec=spec))

    expected = "generative replay is defined for sequences, not classification"
    assert str(caught.value) == expected
