"""Learning curves, worked out by hand."""

from __future__ import annotations

import pytest
import torch
import toys

from clbench.curves import CurveKeeper, DivergedError
from clbench.protocols import Batch, Observation


def _keeper(steps: int, num_tasks: int) -> CurveKeeper:
    return CurveKeeper(1, steps, num_tasks, toys.CrossEntropy())


def _add(keeper: CurveKeeper, step: int, loss: float) -> None:
    """A step; the answer is right at every third."""
    batch = Batch(inputs=torch.zeros(1, 1), targets=torch.tensor([1]), task_id=None)
    outputs = torch.tensor([[0.5, float(step % 3 == 0)]])
    keeper.add(step, Observation(torch.tensor(loss), outputs), batch)


def test_a_point_has_the_mean_loss_since_the_last_one_and_the_score_of_its_own_step() -> None:
    keeper = _keeper(steps=11, num_tasks=250)  # 4 points or more: at every second step
    for step in range(1, 12):
        _add(keeper, step, loss=step)

    curve = keeper.curve()

    assert curve.task == 1
    assert curve.iterations == (2, 4, 6, 8, 10, 11)
    assert curve.loss == (1.5, 3.5, 5.5, 7.5, 9.5, 11.0)
    assert curve.score == (0.0, 0.0, 100.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("num_tasks", "points"),
    [(1, 100), (10, 100), (50, 20), (1000, 1), (5000, 1)],
)
def test_tasks_have_a_hundred_points_each_or_a_thousand_together(
    num_tasks: int, points: int
) -> None:
    keeper = _keeper(steps=400, num_tasks=num_tasks)
    for step in range(1, 401):
        _add(keeper, step, loss=1.0)

    assert keeper.curve().iterations == tuple(range(400 // points, 401, 400 // points))


def test_a_loss_that_is_no_number_is_told_with_the_steps_since_the_last_point() -> None:
    keeper = _keeper(steps=8, num_tasks=250)
    for step, loss in ((1, 1.0), (2, 1.0), (3, torch.nan)):
        _add(keeper, step, loss)

    with pytest.raises(DivergedError) as caught:
        _add(keeper, 4, loss=1.0)

    assert str(caught.value) == "the loss of task 1 is nan between steps 3 and 4"


def test_a_curve_goes_on_from_between_two_points() -> None:
    cut, whole = _keeper(steps=8, num_tasks=250), _keeper(steps=8, num_tasks=250)
    for step in range(1, 9):
        _add(whole, step, loss=step)
        if step <= 5:  # points at 2 and 4
            _add(cut, step, loss=step)
    going_on = _keeper(steps=8, num_tasks=250)

    going_on.restore(cut.state())
    for step in range(6, 9):
        _add(going_on, step, loss=step)

    assert going_on.curve() == whole.curve()
    assert whole.curve().loss == (1.5, 3.5, 5.5, 7.5)
