"""Continual learning with a chunked hypernetwork (von Oswald et al. 2020, Eq. 2).

All weights of the main net are generated, ``Theta_t = h(e_t, theta)``, and only theta (the
hypernetwork with its chunk embeddings) and the task embeddings e are trained. While task t is
learnt the loss is::

    L_task(Theta_t) + penalties(Theta_t)
      + beta / |J| * sum over j in J of || m_j * (h(e_j, theta + dtheta) - Theta*_j) ||^2

``Theta*_j`` are the weights of earlier task j as generated just before task t began, J all earlier
tasks or a random subset drawn afresh at each step, and ``m_j`` leaves out the output rows of
other tasks' heads. The norm is a sum over all weights, without a factor 1/2. With
``look_ahead`` the step dtheta that the optimiser would take on the task gradient alone is added
before the output penalty is evaluated, as a constant; without it dtheta is 0.

Where the id of the task is withheld at test time (domain-il, class-il), it is inferred sample by
sample: of the tasks learnt so far the one whose weights give the output distribution of least
entropy is taken (HNET+ENT in the paper). Each task is trained on its own outputs only; in class-il
an inferred task's outputs are the only ones that compete.

Steps are of one task, so batches that mix tasks (joint and cumulative training) are refused. Tasks
that the learner has not learnt, as where each has a learner of its own, are not regularized.

Nothing here knows what the main net is.

Departures from the sources:

1. Random draws come from generators of their own per purpose.
2. The older interface of the copy-task code is the same function with its inputs in another order.
3. One Adam trains everything, where von Oswald et al. give task embeddings one of their own; that
   is the same without clipping.
4. The look-ahead adds Adam's eps after the bias correction, where hypercl adds it before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import log_softmax, pad

from clbench import graphs
from clbench.config import Regime
from clbench.errors import UnavailableError
from clbench.optimisation import FlatParameters, Optimiser, StackedOptimiser, StackedParameters
from clbench.params import Params
from clbench.penalties import penalties
from clbench.protocols import (
    Batch,
    Context,
    LearnerContext,
    NamedTensors,
    Observation,
    Query,
    State,
    TaskData,
)
from clbench.replicas import Program, drawn, inherited, joint_context
from clbench.sample_gradients import WeightConsolidation
from clbench.scenario import WITH_BOUNDARIES, Scenario

from .generator import Architecture, Hypernetwork


class ChunkedHypernetworkParams(Architecture):
    """Parameters of the chunked hypernetwork and of its output penalty."""

    beta: NonNegativeFloat
    """Strength of the output penalty."""
    regularized_tasks: PositiveInt | Literal["all"] = "all"
    """Earlier tasks in the output penalty of a step: all, or as many at random."""
    regularized_heads: Literal["own", "all"] = "own"
    """Whether an earlier task's weights are kept with its own output rows only, or with all."""
    look_ahead: bool = False
    """Whether the output penalty is evaluated after the step that the task gradient would cause."""
    old_embeddings: Literal["trained", "frozen"] = "trained"
    """Whether the output penalty also moves the embeddings of earlier tasks."""


class ChunkedHypernetwork:
    """See the module's text."""

    Params: ClassVar[type[Params]] = ChunkedHypernetworkParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = WITH_BOUNDARIES
    regimes: ClassVar[frozenset[Regime]] = frozenset({"sequential", "independent"})

    def __init__(self, params: ChunkedHypernetworkParams, context: LearnerContext) -> None:
        infers = not context.layout.scenario.gives_task_id_at_test
        if infers and context.spec.kind != "classification":
            raise UnavailableError(
                "a hypernetwork infers the task by the entropy of a classification, and these "
                f"tasks are of kind {context.spec.kind}"
            )
        for regularizer in context.regularizers:
            if regularizer.watches:
                raise UnavailableError(
                    f"{type(regularizer).__name__} watches the steps of weights, "
                    "and a hypernetwork generates them"
                )
        self._params, self._context = params, context
        self._net, self._layout = context.net, context.layout
        self._clip = context.training.clip
        self._shapes = self._net.shapes
        self._sizes = [torch.Size(shape).numel() for shape in self._shapes.values()]
        self._hypernetwork = Hypernetwork(params, self._sizes, context.layout.num_tasks)
        context.net.initial(context.generator("main-net"))  # zeros in weights, dropout; no weights
        initial = self._hypernetwork.initial(context.generator("init"))
        self._parameters = FlatParameters(initial, context.device)
        self._optimiser = Optimiser(self._parameters, context.training)
        self._subsets = [context.generator("regularized-tasks")]  # one; in lockstep, of replicas
        self._task_id = 0
        self._learnt = range(0)  # tasks, with the current one
        self._targets: Tensor | None = None  # (t, N): the weights of earlier tasks
        self._num_weights = sum(self._sizes)
        masks = [self._mask(j) for j in range(context.layout.num_tasks)]
        self._masks = torch.stack(masks).to(context.device)
        self._factors = self._masks  # (t, N): of the differences in the penalty's gradient
        width = self._hypernetwork.num_chunks * params.chunk_size
        self._pull = self._masks.new_zeros(len(masks), width)  # gradients; always 0 beyond N
        for regularizer in context.regularizers:
            regularizer.begin(self._weights(0))

    @property
    def num_parameters(self) -> int:
        """The hypernetwork with all its embeddings."""
        return self._parameters.values.numel()

    def begin_task(self, task_id: int) -> None:
        """Remember the weights of earlier tasks; the optimiser forgets its moments."""
        self._task_id = task_id
        earlier = self._learnt
        self._learnt = range(earlier.start if earlier else task_id, task_id + 1)
        if self._context.training.optimizer_state == "reset":
            self._optimiser.reset()
        if earlier and self._params.beta > 0:
            self._targets = self._generate(earlier)
        self._set_factors()

    def _set_factors(self) -> None:
        """Masks times ``2 beta / |J|``."""
        if self._targets is None:
            return
        factor = 2 * self._params.beta / self._num_wanted
        self._factors = self._masks[: self._num_targets] * factor

    def observe(self, batch: Batch) -> Observation:
        """One training step."""
        self._parameters.zero_gradients()
        subset = self._subset()
        has_penalty = subset.shape[-1] > 0
        ahead = has_penalty and self._params.look_ahead
        chunks = self._chunks(subset[..., :0] if ahead else subset)
        pull = self._pull[..., : chunks.shape[-2], :]
        observation = self._task_gradient(batch, chunks[..., 0, :], out=pull[..., 0, :])
        if has_penalty and not ahead:
            self._penalty_gradient(chunks.detach()[..., 1:, :], subset, out=pull[..., 1:, :])
        self._parameters.add_gradients(chunks, pull)
        if ahead:
            self._add_penalty_ahead(subset)
        with torch.no_grad():
            if self._clip is not None:
                self._parameters.clip_gradients(self._clip)
            self._optimiser.step()
        return observation

    def _subset(self) -> Tensor:
        """The earlier tasks J of this step's output penalty, ``(|J|,)``, maybe none."""
        count, wanted = self._num_targets, self._num_wanted
        if wanted == count:
            every = torch.arange(count, device=self._pull.device)
            return every.expand(*self._pull.shape[:-2], count)
        subset = drawn(self._subsets, lambda g: torch.randperm(count, generator=g)[:wanted])
        return subset.to(self._pull.device, non_blocking=True)

    @property
    def _num_targets(self) -> int:
        """Earlier tasks whose weights are kept."""
        return 0 if self._targets is None else self._targets.shape[-2]

    @property
    def _num_wanted(self) -> int:
        """How many of them a step regularizes, |J|."""
        count, wanted = self._num_targets, self._params.regularized_tasks
        return count if wanted == "all" else min(wanted, count)

    def _chunks(self, subset: Tensor) -> Tensor:
        """Differentiable chunks of weights of the current task first, then of earlier ones."""
        named = self._parameters.named
        embeddings = _rows(named["tasks"], pad(subset, (1, 0), value=self._task_id))
        if self._params.old_embeddings == "frozen" and subset.shape[-1] > 0:
            now, before = embeddings[..., :1, :], embeddings[..., 1:, :]
            embeddings = torch.cat([now, before.detach()], dim=-2)
        return self._hypernetwork.chunks(named, embeddings)

    def _task_gradient(self, batch: Batch, chunks: Tensor, out: Tensor) -> Observation:
        """The gradient of the task loss, with penalties on the generated weights, into `out`."""
        leaf = chunks.detach()[..., : self._num_weights].requires_grad_()
        named = self._named(leaf)
        outputs = self._net(named, batch, Context(training=True))
        outputs = self._layout.select(outputs, batch.task_id)
        first = self._first_label(self._task_id)  # earlier tasks' outputs do not compete
        local = replace(batch, targets=batch.targets - first) if first else batch
        outputs = outputs[..., first:] if first else outputs
        loss = self._context.objective.losses(outputs, local).mean(-1)
        total = loss.sum()
        for penalty in penalties(self._context.regularizers, named):
            total = total + penalty
        (gradient,) = torch.autograd.grad(total, leaf)
        shown = pad(outputs.detach(), (first, 0), value=-math.inf) if first else outputs.detach()
        out[..., : self._num_weights] = gradient
        return Observation(loss.detach(), shown)

    def _first_label(self, task_id: int) -> int:
        """The label of the task's first class, which is not 0 where labels are global."""
        is_global = self._layout.scenario is Scenario.CLASS_IL
        return int(self._layout.own_rows(task_id).start) if is_global else 0

    def _penalty_gradient(self, chunks: Tensor, subset: Tensor, out: Tensor) -> None:
        """Gradient of the output penalty with respect to the weights of earlier tasks, into `out`.

        Args:
            chunks: (|J|, chunks * chunk_size).
            subset: J, (|J|,).
            out: Like `chunks`; untouched beyond the N weights.
        """
        assert self._targets is not None  # the subset is one of its rows
        every = subset.shape[-1] == self._num_targets
        targets = self._targets if every else _rows(self._targets, subset)
        factors = self._factors if every else self._factors[subset]
        N = self._num_weights
        torch.sub(chunks[..., :N], targets, out=out[..., :N]).mul_(factors)

    def _add_penalty_ahead(self, subset: Tensor) -> None:
        """Add the gradient of the output penalty, taken after the optimiser's look-ahead."""
        step = self._optimiser.look_ahead(self._parameters.gradients)
        ahead = self._parameters.values + step
        named = {n: t.requires_grad_() for n, t in self._parameters.split(ahead).items()}
        now = _rows(self._parameters.detached["tasks"], subset).requires_grad_()
        chunks = self._hypernetwork.chunks(named, now)
        pull = self._pull[..., : subset.shape[-1], :]
        self._penalty_gradient(chunks.detach(), subset, out=pull)
        trained = {n: t for n, t in named.items() if n != "tasks"}
        *gradients, by_embedding = torch.autograd.grad(chunks, [*trained.values(), now], pull)
        own = self._parameters.named_gradients
        for name, gradient in zip(trained, gradients, strict=True):
            own[name] += gradient
        if self._params.old_embeddings == "trained":
            own["tasks"].scatter_add_(-2, _index(subset, by_embedding), by_embedding)

    def _mask(self, task_id: int) -> Tensor:
        """1 for every weight of task `task_id`, 0 for the output rows of other tasks' heads."""
        masks = {name: torch.ones(shape) for name, shape in self._net.shapes.items()}
        if self._params.regularized_heads == "own":
            for name in self._net.output_names:
                own = masks[name][self._layout.own_rows(task_id)].clone()
                masks[name].zero_()[self._layout.own_rows(task_id)] = own
        return torch.cat([mask.flatten() for mask in masks.values()])

    def _named(self, weights: Tensor) -> dict[str, Tensor]:
        """Flat weights (..., N) by the main net's names."""
        parts = torch.split(weights, self._sizes, -1)
        pairs, lead = zip(self._shapes.items(), parts, strict=True), weights.shape[:-1]
        return {name: part.view(*lead, *shape) for (name, shape), part in pairs}

    @torch.no_grad()
    def _generate(self, task_ids: range) -> Tensor:
        """The weights of consecutive tasks as they are now, (T, N)."""
        named = self._parameters.detached
        return self._hypernetwork(named, named["tasks"][task_ids.start : task_ids.stop])

    def _weights(self, task_id: int) -> dict[str, Tensor]:
        """The weights of a task as they are now, by the main net's names."""
        return self._named(self._generate(range(task_id, task_id + 1))[0])

    def graph_obstacle(self) -> str | None:
        """Tasks drawn at each step, or that of a part (`clbench.protocols.RunsAsGraph`)."""
        if self._num_wanted < self._num_targets:
            return "regularized_tasks"
        return graphs.obstacle(self._net, *self._context.regularizers)

    @classmethod
    def lockstep_obstacle(cls, params: ChunkedHypernetworkParams) -> str | None:
        """None but in subclasses (`clbench.protocols.RunsInLockstep`)."""
        return inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[ChunkedHypernetwork]) -> Program:
        """Learners of several seeds, put together (`clbench.protocols.RunsInLockstep`)."""
        together = copy(replicas[0])
        together._context = joint_context([replica._context for replica in replicas])
        together._net = together._context.net
        together._parameters = StackedParameters([replica._parameters for replica in replicas])
        optimisers = [replica._optimiser for replica in replicas]
        together._optimiser = StackedOptimiser(optimisers, together._parameters)
        together._subsets = [generator for r in replicas for generator in r._subsets]
        targets = [replica._targets for replica in replicas if replica._targets is not None]
        together._targets = torch.stack(targets) if targets else None
        together._pull = torch.stack([replica._pull for replica in replicas])
        return Program(together)

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Regularizers consolidate on the generated weights of the task, as they were trained."""
        context, first = self._context, self._first_label(task_id)
        if first:
            context = replace(context, layout=replace(self._layout, scenario=Scenario.TASK_IL))
            data = _LocalData(data, first)
        generated = WeightConsolidation(self._weights(task_id), data, context, Context())
        for regularizer in self._context.regularizers:
            regularizer.consolidate(generated)

    @torch.no_grad()
    def predict(self, query: Query) -> Tensor:
        """The competing outputs, with the weights of the query's task; changes no state."""
        if query.task_id is None:
            return self._predict_inferred(query)
        assert isinstance(query.task_id, int)  # tasks are not mixed at test time
        weights = self._weights(query.task_id)
        return self._layout.select(self._net(weights, query, Context()), query.task_id)

    def _predict_inferred(self, query: Query) -> Tensor:
        """Outputs under the weights of the task that is surest of the sample."""
        tasks = self._learnt or range(1)
        candidates = []
        for task_id, flat in zip(tasks, self._generate(tasks), strict=True):
            outputs = self._net(self._named(flat), query, Context())
            candidates.append(outputs[..., self._layout.own_rows(task_id)])
        outputs = torch.stack(candidates)  # (tasks, B, n)
        log_p = log_softmax(outputs, -1)
        entropy = -(log_p.exp() * log_p).sum(-1)  # (tasks, B)
        inferred = entropy.argmin(0)  # (B,)
        index = inferred.view(1, -1, 1).expand(1, -1, outputs.shape[-1])
        chosen = outputs.gather(0, index).squeeze(0)  # (B, n)
        if self._layout.heads == "shared":
            return chosen
        competing = chosen.new_full((len(chosen), self._layout.num_task_outputs), -math.inf)
        own = torch.arange(chosen.shape[1], device=chosen.device)
        columns = (tasks.start + inferred).unsqueeze(1) * chosen.shape[1] + own
        return competing.scatter_(1, columns, chosen)

    def weights(self, task_id: int | None) -> NamedTensors:
        """The weights generated for a task; of the current one where the id is withheld."""
        return self._weights(self._task_id if task_id is None else task_id)

    def gradients(self) -> NamedTensors:
        """Empty: the weights of the main net are generated, not stepped."""
        return {}

    def artefacts(self) -> NamedTensors:
        """The task embeddings, ``task_embeddings`` (K, E)."""
        return {"task_embeddings": self._parameters.detached["tasks"]}

    def state(self) -> State:
        """Parameters, moments, tasks, targets, the generator of subsets, net, regularizers."""
        return {
            "parameters": self._parameters.state(),
            "optimiser": self._optimiser.state(),
            "task_id": self._task_id,
            "learnt": [self._learnt.start, self._learnt.stop],
            "targets": self._targets,
            "subsets": self._subsets[0].get_state(),
            "net": self._net.state(),
            "regularizers": [r.state() for r in self._context.regularizers],
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._parameters.restore(state["parameters"])
        self._optimiser.restore(state["optimiser"])
        self._task_id, self._learnt = state["task_id"], range(*state["learnt"])
        targets = state["targets"]
        self._targets = None if targets is None else targets.to(self._pull.device)
        self._set_factors()
        self._subsets[0].set_state(state["subsets"])
        self._net.restore(state["net"])
        for regularizer, saved in zip(
            self._context.regularizers, state["regularizers"], strict=True
        ):
            regularizer.restore(saved)


@dataclass(frozen=True, slots=True)
class _LocalData:
    """Training data whose labels count from the first of the task."""

    inner: TaskData
    first: int

    @property
    def num_samples(self) -> int:
        return self.inner.num_samples

    def batches(self, num_samples: int) -> Iterator[Batch]:
        for batch in self.inner.batches(num_samples):
            yield replace(batch, targets=batch.targets - self.first)


def _index(ids: Tensor, like: Tensor) -> Tensor:
    """The index by which `torch.gather` takes rows ``(..., T, n)``, those `ids` ``(..., T)``."""
    return ids.unsqueeze(-1).expand(*ids.shape, like.shape[-1])


def _rows(tensor: Tensor, ids: Tensor) -> Tensor:
    """The rows `ids` ``(..., T)`` of ``(..., K, n)``."""
    return tensor.gather(-2, _index(ids, tensor))
