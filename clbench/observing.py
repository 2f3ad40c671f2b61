"""What is recorded of a net besides its scores: what updates are good for, and who is active.

Both need a net that shows its activity and a learner that shows the net's weights
(`clbench.protocols.HasActivity`, `HasWeights`); of others less is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clbench import statistics
from clbench.protocols import (
    Batch,
    Context,
    HasActivity,
    HasLockstepWeights,
    HasStatistics,
    HasWeights,
    Learner,
    LockstepLearner,
    LockstepNet,
    MainNet,
    NamedTensors,
    Objective,
    Observation,
    Query,
    State,
)
from clbench.records import Online
from clbench.replicas import LockstepObjective, put_together, stacked
from clbench.scenario import OutputLayout
from clbench.statistics import LayerUse
from clbench.weight_learner import WeightLearner

NORM_STEPS = 100
"""Steps of a stream from one look at the norms to the next."""


class StreamKeeper:
    """Scores of a task-free stream, sample by sample, as means over each task.

    After each update the same sample is predicted again; with the losses before and after it the
    plasticity is ``clamp(1 - L_after / max(L_before, 1e-8), 0, 1)``. In the same pass units of the
    hidden layers whose activity is exactly 0 are counted as inactive. Every `NORM_STEPS` steps the
    norms of weights and gradients are taken over all tensors but biases, as one vector. After each
    task the net tells of itself.
    """

    def __init__(
        self, learner: Learner, net: MainNet, layout: OutputLayout, objective: Objective
    ) -> None:
        self._learner, self.net = learner, net
        self.layout, self.objective = layout, objective
        self._tasks: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._first: list[tuple[float, float]] = []
        self._steps = 0

    def add(self, observation: Observation, batch: Batch) -> None:
        """Take in one update."""
        self.take(observation, batch, *self._predict_again(batch))

    def take(
        self, observation: Observation, batch: Batch, after: float, inactive: float | None
    ) -> None:
        """Take in one update with what the second prediction gave.

        Args:
            observation: Of the update.
            batch: Of the update.
            after: The loss after it.
            inactive: The fraction of inactive units; None where it cannot be seen.
        """
        before = float(observation.loss)
        tally = self.objective.tally(observation.outputs, batch)
        score = tally.total / tally.scored
        if not self._sums:
            self._first.append((before, score))
        self._count("loss", before)
        self._count("score", score)
        self._count("plasticity", min(1.0, max(0.0, 1.0 - after / max(before, 1e-8))))
        if inactive is not None:
            self._count("inactive_units", inactive)
        if self._steps % NORM_STEPS == 0 and isinstance(self._learner, HasWeights):
            for name, value in _norms(self._learner.weights(None), self._learner.gradients()):
                self._count(name, value)
        self._steps += 1

    @torch.no_grad()
    def _predict_again(self, batch: Batch) -> tuple[float, float | None]:
        """The loss now, and the fraction of inactive units."""
        query = Query(inputs=batch.inputs, task_id=None, window=batch.window)
        activity: list[Tensor] = []
        if isinstance(self.net, HasActivity) and isinstance(self._learner, HasWeights):
            weights = self._learner.weights(None)
            outputs, by_layer = self.net.with_activity(weights, query, Context())
            outputs = self.layout.select(outputs, None)
            activity = [layer for layer in by_layer.values() if layer.dim() == 2]
        else:
            outputs = self._learner.predict(query)
        inactive = None
        if activity:
            units = sum(layer.numel() for layer in activity)
            inactive = 1.0 - sum(int(layer.count_nonzero()) for layer in activity) / units
        return float(self.objective.losses(outputs, batch).mean()), inactive

    def _count(self, name: str, value: float) -> None:
        self._sums[name] = self._sums.get(name, 0.0) + value
        self._counts[name] = self._counts.get(name, 0) + 1

    def end_task(self) -> None:
        """The samples so far were the last ones of a task."""
        means = {name: self._sums[name] / self._counts[name] for name in self._sums}
        told = self.net.statistics() if isinstance(self.net, HasStatistics) else {}
        self._tasks.append(means | told)
        self._sums, self._counts = {}, {}

    def state(self) -> State:
        """Means of the tasks so far, and sums of the task under way."""
        return {
            "tasks": [dict(task) for task in self._tasks],
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "first": [list(pair) for pair in self._first],
            "steps": self._steps,
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._tasks = [dict(task) for task in state["tasks"]]
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
        self._first = [(loss, score) for loss, score in state["first"]]
        self._steps = state["steps"]

    def online(self) -> Online:
        """What was measured, task by task."""
        return Online(
            loss=self._column("loss"),
            score=self._column("score"),
            plasticity=self._column("plasticity"),
            first_loss=tuple(loss for loss, _ in self._first),
            first_score=tuple(score for _, score in self._first),
        )

    def statistics(self) -> dict[str, tuple[float, ...]]:
        """All but scores and plasticity, task by task, where it could be taken in every task."""
        names = {name: 0 for task in self._tasks for name in task}
        others = [name for name in names if name not in ("loss", "score", "plasticity")]
        complete = [name for name in others if all(name in task for task in self._tasks)]
        return {name: self._column(name) for name in complete}

    def _column(self, name: str) -> tuple[float, ...]:
        return tuple(task[name] for task in self._tasks)


class StreamKeepers:
    """The keepers of R streams in lockstep; the second prediction is one for all of them.

    Args:
        keepers: Of each replica.
        learners: What learns; where it does not show the weights, each keeper predicts by itself.
    """

    def __init__(self, keepers: Sequence[StreamKeeper], learners: LockstepLearner) -> None:
        self._keepers, self._learners = keepers, learners
        nets = [keeper.net for keeper in keepers]
        self._net: LockstepNet = put_together(nets)
        self._objective = LockstepObjective(keepers[0].objective)
        self._is_shown = isinstance(nets[0], HasActivity)

    def add(self, observations: Sequence[Observation], batches: Sequence[Batch]) -> None:
        """Take in one update of each replica."""
        if not (self._is_shown and isinstance(self._learners, HasLockstepWeights)):
            for keeper, observation, batch in zip(
                self._keepers, observations, batches, strict=True
            ):
                keeper.add(observation, batch)
            return
        found = self._predict_again(batches, self._learners.weights(None))
        for keeper, observation, batch, (after, inactive) in zip(
            self._keepers, observations, batches, found, strict=True
        ):
            keeper.take(observation, batch, after, inactive)

    @torch.no_grad()
    def _predict_again(
        self, batches: Sequence[Batch], weights: NamedTensors
    ) -> list[tuple[float, float | None]]:
        """Of each replica the loss now, and the fraction of inactive units."""
        batch, first = stacked(batches), self._keepers[0]
        query = Query(inputs=batch.inputs, task_id=None, window=batch.window)
        outputs, by_layer = self._net.with_activity(weights, query, Context())
        outputs = first.layout.select(outputs, None)
        losses: list[float] = self._objective.losses(outputs, batch).mean(1).tolist()
        activity = [layer.flatten(1) for layer in by_layer.values() if layer.dim() == 3]
        if not activity:
            return [(loss, None) for loss in losses]
        units = sum(layer.shape[1] for layer in activity)
        active = torch.stack([layer.count_nonzero(1) for layer in activity]).sum(0).tolist()
        return [(loss, 1.0 - n / units) for loss, n in zip(losses, active, strict=True)]


def _norms(weights: NamedTensors, gradients: NamedTensors) -> list[tuple[str, float]]:
    found = []
    for what, tensors in (("weight", weights), ("gradient", gradients)):
        matrices = [tensor for tensor in tensors.values() if tensor.dim() > 1]
        if not matrices:
            continue
        flat = torch.cat([tensor.reshape(-1) for tensor in matrices])
        found.append((f"{what}_l2", float(torch.linalg.vector_norm(flat))))
        found.append((f"{what}_l1", float(flat.abs().sum())))
        if what == "gradient":
            found.append(("gradient_l0", int(flat.count_nonzero()) / flat.numel()))
    return found


class ActivityKeeper:
    """How a net uses its units, task by task.

    After each task, on that task's test set: the fraction of activity that is not 0
    (``active_<layer>``), the fraction of units that no test sample activates (``dead_<layer>``),
    and what the net tells of itself. At the end, of the mean activity on each task: the mean over
    pairs of tasks of its cosine and of the Jaccard index of the top tenth of the units
    (``cosine_<layer>``, ``jaccard_<layer>``, the same number K times).
    """

    def __init__(self, net: MainNet, learner: Learner) -> None:
        self._net, self._learner = net, learner
        self._tasks: list[dict[str, float]] = []
        self._overlaps: dict[str, float] = {}

    def end_task(self, queries: Sequence[Query]) -> None:
        """A task has been learnt; `queries` are its test set."""
        found: dict[str, float] = {}
        task_id = len(self._tasks)
        for layer, use in self._use(queries, task_id).items():
            found[f"active_{layer}"] = use.active_fraction()
            found[f"dead_{layer}"] = use.dead_fraction()
        if isinstance(self._net, HasStatistics):
            found |= self._net.statistics()
        self._tasks.append(found)

    def end(self, queries: Sequence[Sequence[Query]]) -> None:
        """All tasks have been learnt; `queries` are the test set of each."""
        means: dict[str, list[Tensor]] = {}
        for task_id, task in enumerate(queries):
            for layer, use in self._use(task, task_id).items():
                means.setdefault(layer, []).append(use.means())
        for layer, rows in means.items():
            if len(rows) < 2:
                continue
            stacked = torch.stack(rows)
            for name, overlap in (
                ("cosine", statistics.cosine_overlap(stacked)),
                ("jaccard", statistics.jaccard_overlap(stacked)),
            ):
                K = len(rows)
                pairs = (overlap.sum() - overlap.diagonal().sum()) / (K * (K - 1))
                self._overlaps[f"{name}_{layer}"] = float(pairs)

    def state(self) -> State:
        """What was found so far."""
        return {"tasks": [dict(task) for task in self._tasks]}

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._tasks = [dict(task) for task in state["tasks"]]

    @torch.no_grad()
    def _use(self, queries: Sequence[Query], task_id: int) -> Mapping[str, LayerUse]:
        """By layer, with the weights and gains of a task, also where its id is withheld."""
        found: dict[str, LayerUse] = {}
        learner = self._learner
        if not isinstance(self._net, HasActivity) or not isinstance(learner, HasWeights):
            return found
        context = Context()
        if isinstance(learner, WeightLearner):
            context = learner.forward_context(task_id, training=False)
        weights = learner.weights(task_id)
        for query in queries:
            _, activity = self._net.with_activity(weights, query, context)
            for layer, tensor in activity.items():
                if layer in found:
                    found[layer].add(tensor)
                else:
                    found[layer] = LayerUse(tensor)
        return found

    def statistics(self) -> dict[str, tuple[float, ...]]:
        """What was found, by name."""
        names = {name: 0 for task in self._tasks for name in task}
        found = {name: tuple(task[name] for task in self._tasks) for name in names}
        K = len(self._tasks)
        return found | {name: (value,) * K for name, value in self._overlaps.items()}
