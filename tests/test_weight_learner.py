"""What learners are built on: regularizers that nobody would use are refused."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
import toys

from clbench.config import Training
from clbench.errors import UnavailableError
from clbench.protocols import LearnerContext
from clbench.scenario import OutputLayout, Scenario
from clbench.weight_learner import WeightLearner
from clbench_masking.random_masks import RandomMasks
from clbench_regularization.fine_tuning import FineTuning
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams
from clbench_replay.coresets import Coresets


class _Mine(WeightLearner):
    """Nothing of its own."""


class _MineWithPenalties(WeightLearner):
    uses_regularizers: ClassVar[bool] = True


def _context(*regularizers: Any) -> LearnerContext:
    layout = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)
    return toys.pictures_context(layout, training=Training(iterations=1), regularizers=regularizers)


def _two() -> tuple[Any, Any]:
    net: Any = None
    return (
        OnlineEwc(OnlineEwcParams(ewc_lambda=1.0), net),
        SynapticIntelligence(SynapticIntelligenceParams(), net),
    )


def test_a_learner_that_does_not_say_that_it_uses_regularizers_is_refused() -> None:
    with pytest.raises(UnavailableError) as caught:
        _Mine(_context(*_two()))

    assert str(caught.value) == "_Mine takes no regularizers: OnlineEwc, SynapticIntelligence"


def test_a_learner_that_says_so_is_built_with_them_and_any_other_without() -> None:
    with_them, without = _MineWithPenalties(_context(*_two())), _Mine(_context())

    assert len(with_them.context.regularizers) == 2
    assert without.context.regularizers == ()


@pytest.mark.parametrize("learner", [FineTuning, Coresets, RandomMasks])
def test_what_extends_fine_tuning_uses_them(learner: type[WeightLearner]) -> None:
    assert learner.uses_regularizers
