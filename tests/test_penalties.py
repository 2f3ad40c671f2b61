"""Penalties of a step: one number each, or an error that names the regularizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
import toys
from torch import Tensor

from clbench.config import Training
from clbench.errors import PluginError
from clbench.penalties import penalties
from clbench.protocols import LearnerContext
from clbench.scenario import OutputLayout, Scenario
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams

LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)
WEIGHTS: Mapping[str, Tensor] = {"W": torch.ones(2, 3), "b": torch.ones(2)}


class Fixed:
    """A penalty that is what it is told to be."""

    watches: frozenset[str] = frozenset()

    def __init__(self, given: Any) -> None:
        self._given = given

    def begin(self, params: Mapping[str, Tensor]) -> None:
        pass

    def penalty(self, params: Mapping[str, Tensor]) -> Any:
        return self._given


def _context(*regularizers: Any) -> LearnerContext:
    return toys.pictures_context(LAYOUT, training=Training(iterations=1), regularizers=regularizers)


def _regularizers(*given: Any) -> Any:
    return [Fixed(one) for one in given]


def test_those_that_have_one_now_are_taken_in_order() -> None:
    found = penalties(_regularizers(torch.tensor(2.0), None, torch.tensor(1.0)), WEIGHTS)

    assert [float(one) for one in found] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (0.5, "the penalty of Fixed is no tensor but of type float"),
        (torch.ones(3), "the penalty of Fixed is not one number: its shape is (3,), not ()"),
        (torch.ones(1), "the penalty of Fixed is not one number: its shape is (1,), not ()"),
    ],
    ids=["float", "vector", "one number in a vector"],
)
def test_what_is_not_one_number_is_named(given: Any, message: str) -> None:
    learner = FineTuning(FineTuningParams(), _context(*_regularizers(torch.tensor(1.0), given)))
    (batch,) = toys.batches(toys.Pictures(toys.TwoParams()), 0, 1)

    with pytest.raises(PluginError) as caught:
        learner.observe(batch)

    assert str(caught.value) == message
