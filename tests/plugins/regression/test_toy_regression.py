"""The toy regression problem."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clbench.errors import UnavailableError
from clbench.protocols import Batch, TaskFamily
from clbench.scenario import Scenario
from clbench.testing import FamilyContract
from clbench_regression.toy_regression import SquaredError, ToyRegression, ToyRegressionParams


class TestContract(FamilyContract):
    def build(self) -> TaskFamily:
        return ToyRegression(ToyRegressionParams())


def _all(task_id: int, noise_std: float = 0.05) -> tuple[Batch, Batch]:
    """Training points in their order of drawing, and test points."""
    family = ToyRegression(ToyRegressionParams(noise_std=noise_std))
    task = family.tasks(42, Scenario.TASK_IL)[task_id]
    (test,) = task.test_batches()
    return task.train_stream(torch.Generator().manual_seed(0)).next(100), test


def test_test_points_are_the_polynomials_without_noise() -> None:
    for task_id, (low, high, polynomial) in enumerate(
        [
            (-4, -2, lambda x: x + 3),
            (-1, 1, lambda x: 2 * x**2 - 1),
            (2, 4, lambda x: (x - 3) ** 3),
        ]
    ):
        _, test = _all(task_id)
        assert test.inputs.shape == test.targets.shape == (50, 1)
        assert (test.inputs.min(), test.inputs.max()) == (low, high)
        torch.testing.assert_close(test.targets, polynomial(test.inputs))


def test_there_are_as_many_points_as_asked_for_the_test_points_equidistant() -> None:
    family = ToyRegression(ToyRegressionParams(num_train=7, num_test=5))
    tasks = family.tasks(42, Scenario.TASK_IL)

    (test,) = tasks[1].test_batches()

    assert [task.train_size for task in tasks] == [7, 7, 7]
    assert test.inputs.flatten().tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert test.targets.flatten().tolist() == [1.0, -0.5, -1.0, -0.5, 1.0]  # 2 x^2 - 1


def test_tasks_share_relative_positions_and_noise() -> None:
    relative, noises = [], []
    for task_id, low in enumerate((-4, -1, 2)):
        noisy, clean = _all(task_id)[0], _all(task_id, noise_std=0.0)[0]
        relative.append((noisy.inputs - low) / 2)
        noises.append(noisy.targets - clean.targets)

    drawing = np.random.RandomState(42)
    positions = drawing.uniform(0, 1, 100)
    found = np.sort(relative[0].flatten().numpy())
    np.testing.assert_allclose(found, np.sort(positions), atol=1e-6)
    for other in (1, 2):
        torch.testing.assert_close(relative[0], relative[other], atol=1e-6, rtol=0)
        torch.testing.assert_close(noises[0], noises[other], atol=1e-6, rtol=0)
    assert 0.04 < float(noises[0].std()) < 0.06


def test_the_score_is_the_mean_squared_error_and_lower_is_better() -> None:
    objective = SquaredError()
    batch = Batch(inputs=torch.zeros(2, 1), targets=torch.tensor([[1.0], [2.0]]), task_id=0)
    outputs = torch.tensor([[2.0], [5.0]])

    assert objective.losses(outputs, batch).tolist() == [1.0, 9.0]
    assert objective.tally(outputs, batch) == (10.0, 2)
    assert objective.metric.better == "lower"


def test_what_a_regression_predicts_has_no_loss_to_take_gradients_of() -> None:
    with pytest.raises(UnavailableError) as caught:
        SquaredError().predictions(torch.tensor([[2.0], [5.0]]))

    assert str(caught.value) == (
        "the targets that a regression predicts are its outputs, where its loss has no gradient"
    )
