"""Coresets: a few stored inputs per task, rehearsed by distillation.

After each task ``coreset_size`` random training inputs are stored, without targets. While a later
task is learnt, ``replay_batch_size`` stored inputs are drawn at each step, with replacement within
each task; the net as it was when the task began says what they should give (see
`clbench_replay.distillation` for the loss). It is a net of its own, as the state of a net, such as
the duty cycles that boost winners, goes on with training.

Departures from the source (Ehret et al. 2021):

1. The source keeps 200 further output rows for latent variables that coresets do not use; here
   there are none.
2. Stored inputs come from a sweep of their own, not from the running training sweep: in both cases
   a random subset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import pad

from clbench.config import Regime
from clbench.params import Params
from clbench.protocols import Context, LearnerContext, NamedTensors, State, TaskData
from clbench.replicas import LockstepObjective, joint_tensors, put_together
from clbench.scenario import Scenario
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams

from .distillation import (
    copied,
    distillation,
    ids_of_shares,
    require_distillable,
    share_out,
    teach,
)


class CoresetsParams(Params):
    """Parameters of coresets."""

    coreset_size: PositiveInt = 100
    """Inputs stored of each task."""
    distillation_strength: NonNegativeFloat = 1.0
    """Factor of the distillation loss."""
    temperature: PositiveFloat = 2.0
    """T of the distillation loss."""
    replay_batch_size: PositiveInt = 128
    """Inputs rehearsed at each step, all earlier tasks together."""


class Coresets(FineTuning):
    """The plain learner with a memory; see the module's text."""

    Params: ClassVar[type[Params]] = CoresetsParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_IL})
    regimes: ClassVar[frozenset[Regime]] = frozenset({"sequential", "cumulative"})

    def __init__(self, params: CoresetsParams, context: LearnerContext) -> None:
        super().__init__(FineTuningParams(), context)
        self._params = params
        self._objective = require_distillable(context.objective)
        self._axis = 1 if context.spec.kind == "sequence" else 0  # of samples
        self._drawing = context.generator("replay")
        self._stored: list[Tensor] = []
        self._former: dict[str, Tensor] = {}
        self._teacher = context.build_net(context.spec, context.layout, {})
        self._replicas: Sequence[Coresets] = ()  # in lockstep

    def begin_task(self, task_id: int) -> None:
        """Keep the net as it is, to be taught by it."""
        super().begin_task(task_id)
        self._former = copied(self.parameters.detached)
        self._teacher.restore(self.net.state())

    def penalties(self, weights: NamedTensors) -> list[Tensor]:
        """Those of the regularizers, and the distillation loss."""
        terms = super().penalties(weights)
        if self._stored and self._params.distillation_strength:
            terms.append(self._params.distillation_strength * self._distillation(weights))
        return terms

    def _distillation(self, weights: NamedTensors) -> Tensor:
        if self._replicas:
            rehearsed = [replica._rehearsed() for replica in self._replicas]
            inputs, shares = (torch.stack(parts) for parts in zip(*rehearsed, strict=True))
        else:
            inputs, shares = self._rehearsed()
        task_ids = ids_of_shares(shares, self._params.replay_batch_size)
        lesson = teach(
            inputs, task_ids, shares, self._teacher, self._former, self.layout, self._objective
        )
        outputs = self.net(weights, lesson.query, Context(training=True))
        outputs = self.layout.select(outputs, lesson.query.task_id)
        return distillation(outputs, lesson, self._objective, self._params.temperature)

    def _rehearsed(self) -> tuple[Tensor, Tensor]:
        """Stored inputs drawn for a step, and how many of each task."""
        shares = share_out(self._params.replay_batch_size, len(self._stored), self._drawing)
        drawn = [
            inputs.index_select(self._axis, self._draw(inputs, n))
            for inputs, n in zip(self._stored, shares.tolist(), strict=True)
        ]
        inputs = torch.cat(_of_one_length(drawn) if self._axis == 1 else drawn, dim=self._axis)
        return inputs, shares.to(inputs.device, non_blocking=True)

    def _draw(self, inputs: Tensor, count: int) -> Tensor:
        size = inputs.shape[self._axis]
        drawn = torch.randint(size, (count,), generator=self._drawing)
        return drawn.to(inputs.device, non_blocking=True)

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Store inputs of the task."""
        super().end_task(task_id, data)
        batches = data.batches(self._params.coreset_size)
        self._stored.append(torch.cat([batch.inputs for batch in batches], dim=self._axis))

    def join(self, replicas: Sequence[Any]) -> None:
        """Each replica draws from its own memory."""
        super().join(replicas)
        self._replicas = replicas
        self._objective = LockstepObjective(self._objective)
        self._former = joint_tensors([replica._former for replica in replicas])
        self._teacher = put_together([replica._teacher for replica in replicas])

    def state(self) -> State:
        """The plain learner's, with the stored inputs and the former net."""
        return super().state() | {
            "stored": list(self._stored),
            "former": dict(self._former),
            "teacher": self._teacher.state(),
            "drawing": self._drawing.get_state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        super().restore(state)
        device = self.parameters.values.device
        self._stored = [inputs.to(device) for inputs in state["stored"]]
        self._former = {name: tensor.to(device) for name, tensor in state["former"].items()}
        self._teacher.restore(state["teacher"])
        self._drawing.set_state(state["drawing"])


def _of_one_length(sequences: list[Tensor]) -> list[Tensor]:
    """Sequences ``(S_j, B_j, F)``, filled up with zeros at their ends to the longest."""
    longest = max(len(sequence) for sequence in sequences)
    return [pad(sequence, (0, 0, 0, 0, 0, longest - len(sequence))) for sequence in sequences]
