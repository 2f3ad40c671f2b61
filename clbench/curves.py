"""Learning curves: about a hundred points of loss and training score per task."""

from __future__ import annotations

import math

from torch import Tensor

from clbench.errors import ClbenchError
from clbench.protocols import Batch, Objective, Observation, State
from clbench.records import Curve

POINTS = 100
"""Points of a learning curve per task."""
MOST_POINTS = 1000
"""Points of the learning curves of all tasks together."""


class DivergedError(ClbenchError):
    """The loss became infinite or not a number."""


class CurveKeeper:
    """Keeps points of the curve of training losses and scores of one task.

    Args:
        task_id: The task.
        steps: Training steps on it.
        num_tasks: How many tasks, K.
        objective: Scores outputs.
    """

    def __init__(self, task_id: int, steps: int, num_tasks: int, objective: Objective) -> None:
        self.losses: list[float] = []
        self.scores: list[float] = []
        self._iterations: list[int] = []
        self._task_id, self._steps = task_id, steps
        self._every = max(1, steps // min(POINTS, max(1, MOST_POINTS // num_tasks)))
        self._objective = objective
        self._loss: Tensor | None = None
        self._since = 0

    def add(self, step: int, observation: Observation, batch: Batch) -> None:
        """Take in a step (from 1); loss and score are read at the points of the curve only.

        Raises:
            DivergedError: The loss since the last point is infinite or not a number.
        """
        self._loss = observation.loss if self._loss is None else self._loss + observation.loss
        if step % self._every == 0 or step == self._steps:
            tally = self._objective.tally(observation.outputs, batch)
            self._add_point(step, tally.total / tally.scored)

    def _add_point(self, step: int, score: float) -> None:
        total, count = float(self._loss or 0.0), step - self._since
        if not math.isfinite(total):
            raise DivergedError(
                f"the loss of task {self._task_id} is {total} "
                f"between steps {self._since + 1} and {step}"
            )
        self._iterations.append(step)
        self.losses.append(total / count)
        self.scores.append(score)
        self._loss, self._since = None, step

    def curve(self) -> Curve:
        """The points so far."""
        return Curve(
            task=self._task_id,
            iterations=tuple(self._iterations),
            loss=tuple(self.losses),
            score=tuple(self.scores),
        )

    def state(self) -> State:
        """The points, and the losses since the last one."""
        return {
            "iterations": list(self._iterations),
            "losses": list(self.losses),
            "scores": list(self.scores),
            "loss": self._loss,
            "since": self._since,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._iterations, self._since = list(state["iterations"]), state["since"]
        self.losses, self.scores = list(state["losses"]), list(state["scores"])
        self._loss = state["loss"]
