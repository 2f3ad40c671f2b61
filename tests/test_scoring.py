"""Outputs on test samples are those of the samples, and an accuracy is one."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from clbench.errors import PluginError
from clbench.metrics import ACCURACY, MSE
from clbench.protocols import Batch, Learner, Query
from clbench.scoring import check_range, predicted

SAMPLES = Batch(inputs=torch.zeros(5, 3), targets=torch.zeros(5, dtype=torch.long), task_id=None)
STEPS = Batch(
    inputs=torch.zeros(7, 5, 3), targets=torch.zeros(4, 5, 2), task_id=None, window=slice(3, 7)
)


def _predicted(predict: Callable[[Query], Any], batch: Batch = SAMPLES) -> Tensor:
    return predicted(cast(Learner, SimpleNamespace(predict=predict)), batch, 1, num_outputs=2)


@pytest.mark.parametrize(
    ("batch", "shape"),
    [(SAMPLES, (5, 2)), (STEPS, (4, 5, 2)), (SAMPLES, (5, 1))],
    ids=["samples", "steps", "classes not seen yet left out"],
)
def test_outputs_of_each_sample_are_taken(batch: Batch, shape: tuple[int, ...]) -> None:
    asked = []

    def predict(query: Query) -> Tensor:
        asked.append((query.task_id, query.window))
        return torch.zeros(shape)

    assert _predicted(predict, batch).shape == shape
    assert asked == [(1, batch.window)]


@pytest.mark.parametrize("shape", [(5,), (1, 2), (2, 5), (5, 6), (5, 2, 1)])
def test_outputs_of_other_shapes_are_told(shape: tuple[int, ...]) -> None:
    with pytest.raises(PluginError) as caught:
        _predicted(lambda query: torch.zeros(shape))

    assert str(caught.value) == (
        f"SimpleNamespace predicted outputs of shape {shape}; expected (5, 2): those that compete "
        "for each sample, as layout.select(outputs, query.task_id) gives them"
    )


def test_what_is_no_tensor_is_told() -> None:
    with pytest.raises(PluginError) as caught:
        _predicted(lambda query: None)

    assert str(caught.value) == "SimpleNamespace predicted a value of type NoneType, no tensor"


def test_inputs_that_were_changed_in_place_are_told() -> None:
    """They are those of a test set, which is used again after the next task."""
    with pytest.raises(PluginError) as caught:
        _predicted(lambda query: query.inputs.sub_(1)[:, :2])

    assert str(caught.value) == (
        "SimpleNamespace, or its main net, changed the inputs of a query in place, so that later "
        "predictions are of other inputs; write x = x - 1 in place of x -= 1 or x.sub_(1)"
    )


def test_inputs_of_inference_mode_serve() -> None:
    with torch.inference_mode():
        inputs = torch.zeros(5, 3)
    batch = Batch(inputs=inputs, targets=SAMPLES.targets, task_id=None)

    assert _predicted(lambda query: query.inputs[:, :2], batch).shape == (5, 2)


@pytest.mark.parametrize("score", [0.0, 100.0, 100.0002])
def test_an_accuracy_is_taken(score: float) -> None:
    check_range(ACCURACY, score, 100, 0)


@pytest.mark.parametrize("score", [-1.0, 5000.0])
def test_an_accuracy_that_is_none_is_told(score: float) -> None:
    with pytest.raises(PluginError) as caught:
        check_range(ACCURACY, score, 100, 2)

    assert str(caught.value) == (
        f"an accuracy of {score:g} % on the test set of task 2 (100 scored): its objective's tally "
        "counts something else than 100 for each sample that is right"
    )


def test_other_scores_have_no_range() -> None:
    check_range(MSE, 5000.0, 100, 2)
