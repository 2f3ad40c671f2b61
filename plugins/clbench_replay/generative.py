"""Generative replay through feedback (van de Ven & Tolias 2018; as in Ehret et al. 2021).

The main net is also the encoder of a variational autoencoder: behind its heads it has 2 d further
outputs per time step, ``mu_t`` and ``log sigma_t^2`` of a latent ``z_t = mu_t + sigma_t * eps_t``.
A second net of the same model, the decoder, gets the latents and a one-hot vector of the task at
every time step and returns logits of the inputs. While task t is learnt the loss is::

    L_task + sum of regularizers(main net) + sum of regularizers(decoder)
      + reconstruction_strength * rec + prior_strength * KL
      + distillation_strength * sum over j < t of mean D_j

* ``rec``: binary cross-entropy of the decoder's logits and the inputs, summed over all time steps
  and channels; ``KL = 1/2 sum(-1 + (sigma^2 + mu^2)/s^2 + ln s^2 - ln sigma^2)`` with the prior's
  standard deviation s. Both are means over the current batch and, for t > 0, the replayed inputs.
* D: see `clbench_replay.distillation`. Replayed inputs are the probabilities that the decoder, as
  it was when the task began, gives for latents drawn from the prior; they are not made binary.

One optimiser trains both nets.

Departures from the source:

1. Regularizers act on both nets; those with a memory of earlier tasks never consolidate on the
   decoder, so they act on the main net only. The source knows the orthogonal penalty only.
2. Random draws come from generators of their own per purpose.
3. The decoder always gets the one-hot task; in the source only where each task has a head.
4. With ``task_input`` the source also reconstructs the one-hot task of the main net's input; here
   only the inputs of the task are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import ClassVar

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

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
    SequenceSpec,
    State,
    TaskData,
)
from clbench.replicas import (
    LockstepObjective,
    Program,
    drawn,
    inherited,
    joint_context,
    joint_regularizers,
    joint_tensors,
    put_together,
)
from clbench.sample_gradients import WeightConsolidation
from clbench.scenario import OutputLayout, Scenario

from .distillation import (
    Lesson,
    copied,
    distillation,
    ids_of_shares,
    require_distillable,
    share_out,
    teach,
)


class GenerativeReplayParams(Params):
    """Parameters of generative replay."""

    latent_size: PositiveInt = 100
    """Latent variables d per time step."""
    latent_std: PositiveFloat = 1.0
    """Standard deviation s of the prior."""
    reconstruction_strength: NonNegativeFloat = 1.0
    """Factor of the reconstruction loss."""
    prior_strength: NonNegativeFloat = 1.0
    """Factor of the divergence from the prior."""
    distillation_strength: NonNegativeFloat = 1.0
    """Factor of the distillation loss."""
    temperature: PositiveFloat = 2.0
    """T of the distillation loss."""
    replay_batch_size: PositiveInt = 128
    """Inputs rehearsed at each step, all earlier tasks together."""
    decoder_hidden_size: PositiveInt = 256
    """Hidden units of the decoder."""


class GenerativeReplay:
    """See the module's text."""

    Params: ClassVar[type[Params]] = GenerativeReplayParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_IL})
    regimes: ClassVar[frozenset[Regime]] = frozenset({"sequential"})

    def __init__(self, params: GenerativeReplayParams, context: LearnerContext) -> None:
        spec, layout = context.spec, context.layout
        if spec.kind != "sequence":
            raise UnavailableError(f"generative replay is defined for sequences, not {spec.kind}")
        (features,) = spec.input_shape
        self._params, self._context = params, context
        self._objective = require_distillable(context.objective)
        d, K = params.latent_size, layout.num_tasks
        self._layout = OutputLayout(
            layout.scenario, layout.heads, K, layout.outputs_per_task, extra_outputs=2 * d
        )
        self._net = context.build_net(spec, self._layout, {})
        self._decoder = context.build_net(
            SequenceSpec(kind="sequence", input_shape=(d,), outputs_per_task=features, num_tasks=K),
            OutputLayout(layout.scenario, "shared", K, features),
            {
                "hidden_size": params.decoder_hidden_size,
                "task_input": True,
                "recurrent_init": "hidden-size",
            },
        )
        main = self._net.initial(context.generator("init"))
        decoder = self._decoder.initial(context.generator("decoder-init"))
        self.parameters = FlatParameters(
            {f"main.{name}": tensor for name, tensor in main.items()}
            | {f"decoder.{name}": tensor for name, tensor in decoder.items()},
            context.device,
        )
        self._optimiser = Optimiser(self.parameters, context.training)
        self._noise = [context.generator("latent-noise")]  # one; in lockstep, of all replicas
        self._drawing = [context.generator("replay")]
        self._regularizers = context.build_regularizers(self._net)
        self._decoder_regularizers = context.build_regularizers(self._decoder)
        if any(regularizer.watches for regularizer in self._regularizers):
            raise UnavailableError("generative replay shows its steps to no regularizer")
        weights = self.parameters.detached
        for regularizer in self._regularizers:
            regularizer.begin(_part(weights, "main"))
        for regularizer in self._decoder_regularizers:
            regularizer.begin(_part(weights, "decoder"))
        self._task_id = 0
        self._former: dict[str, Tensor] = {}

    @property
    def num_parameters(self) -> int:
        """Main net and decoder."""
        return self.parameters.values.numel()

    def begin_task(self, task_id: int) -> None:
        """Keep both nets as they are, to be taught by them."""
        if self._context.training.optimizer_state == "reset":
            self._optimiser.reset()
        self._task_id = task_id
        self._former = copied(self.parameters.detached)

    def observe(self, batch: Batch) -> Observation:
        """One training step."""
        self.parameters.zero_gradients()
        weights = self.parameters.named
        main, decoder = _part(weights, "main"), _part(weights, "decoder")
        assert isinstance(batch.task_id, int)  # scenario and regime say so
        assert batch.window is not None  # sequences
        inputs = batch.inputs
        *lead, steps, B, _ = inputs.shape
        task_ids = torch.full((*lead, B), batch.task_id, device=inputs.device)
        lesson = self._lesson(inputs) if self._task_id > 0 else None
        if lesson is not None:
            assert isinstance(lesson.query.task_id, Tensor)
            inputs = torch.cat([inputs, lesson.query.inputs], dim=-2)
            task_ids = torch.cat([task_ids, lesson.query.task_id], dim=-1)
        everything = Query(inputs=inputs, task_id=task_ids, window=slice(0, steps))
        encoded = self._net(main, everything, Context(training=True))  # (..., S, B + n, outputs)

        outputs = self._layout.select(encoded[..., batch.window, :B, :], batch.task_id)
        loss = self._context.objective.losses(outputs, batch).mean(-1)
        total = loss.sum() + self._autoencoder_loss(encoded, everything, decoder)
        if lesson is not None and self._params.distillation_strength:
            replayed = encoded[..., lesson.query.window, B:, :]
            replayed = self._layout.select(replayed, lesson.query.task_id)
            taught = distillation(replayed, lesson, self._objective, self._params.temperature)
            total = total + self._params.distillation_strength * taught
        for regularizers, part in (
            (self._regularizers, main),
            (self._decoder_regularizers, decoder),
        ):
            for penalty in penalties(regularizers, part):
                total = total + penalty
        self.parameters.add_gradients(total)
        with torch.no_grad():
            if self._context.training.clip is not None:
                self.parameters.clip_gradients(self._context.training.clip)
            self._optimiser.step()
        return Observation(loss.detach(), outputs.detach())

    def _autoencoder_loss(self, encoded: Tensor, query: Query, decoder: NamedTensors) -> Tensor:
        """Reconstruction and prior terms, mean over all samples of a replica, ``()``."""
        d, params = self._params.latent_size, self._params
        mean, log_variance = encoded[..., -2 * d : -d], encoded[..., -d:]
        shape = mean.shape[-3:]
        noise = drawn(
            self._noise, lambda g: torch.empty(shape, dtype=mean.dtype).normal_(generator=g)
        ).to(mean.device, non_blocking=True)
        latent = mean + (0.5 * log_variance).exp() * noise
        decoded = self._decoder(
            decoder,
            Query(inputs=latent, task_id=query.task_id, window=query.window),
            Context(training=True),
        )
        n = query.inputs.shape[-2]
        reconstruction = binary_cross_entropy_with_logits(decoded, query.inputs, reduction="sum")
        prior = params.latent_std**2
        spread = (log_variance.exp() + mean.square()) / prior + math.log(prior) - log_variance - 1
        divergence = 0.5 * spread.sum()
        weighed = params.reconstruction_strength * reconstruction
        return (weighed + params.prior_strength * divergence) / n

    def _lesson(self, like: Tensor) -> Lesson:
        """Inputs that the former decoder makes up, with what the former net says of them.

        They are as long as those of `like`, ``(..., S, B, F)``.
        """
        params = self._params
        steps, n, std = like.shape[-3], params.replay_batch_size, params.latent_std
        shares = drawn(self._drawing, lambda g: share_out(n, self._task_id, g))
        shares = shares.to(like.device, non_blocking=True)
        task_ids = ids_of_shares(shares, n)
        latent = torch.empty(steps, n, params.latent_size, dtype=like.dtype)
        latent = drawn(
            self._drawing, lambda g: torch.empty_like(latent).normal_(0.0, std, generator=g)
        ).to(like.device, non_blocking=True)
        query = Query(inputs=latent, task_id=task_ids, window=slice(0, steps))
        with torch.no_grad():
            logits = self._decoder(_part(self._former, "decoder"), query, Context())
            inputs = logits.sigmoid()
        former = _part(self._former, "main")
        return teach(inputs, task_ids, shares, self._net, former, self._layout, self._objective)

    def end_task(self, task_id: int, data: TaskData) -> None:
        """Regularizers consolidate on the main net."""
        weights = _part(self.parameters.detached, "main")
        context = replace(self._context, net=self._net, layout=self._layout)
        consolidation = WeightConsolidation(weights, data, context, Context())
        for regularizer in self._regularizers:
            regularizer.consolidate(consolidation)

    @classmethod
    def lockstep_obstacle(cls, params: GenerativeReplayParams) -> str | None:
        """None but in subclasses (`clbench.protocols.RunsInLockstep`)."""
        return inherited(cls, "in_lockstep")

    @classmethod
    def in_lockstep(cls, replicas: Sequence[GenerativeReplay]) -> Program:
        """Learners of several seeds, put together (`clbench.protocols.RunsInLockstep`)."""
        together = copy(replicas[0])
        together._context = joint_context([replica._context for replica in replicas])
        together._objective = LockstepObjective(together._objective)
        together._net = put_together([replica._net for replica in replicas])
        together._decoder = put_together([replica._decoder for replica in replicas])
        together.parameters = StackedParameters([replica.parameters for replica in replicas])
        optimisers = [replica._optimiser for replica in replicas]
        together._optimiser = StackedOptimiser(optimisers, together.parameters)
        together._regularizers = joint_regularizers([r._regularizers for r in replicas])
        decoders = [replica._decoder_regularizers for replica in replicas]
        together._decoder_regularizers = joint_regularizers(decoders)
        together._former = joint_tensors([replica._former for replica in replicas])
        together._noise = [generator for replica in replicas for generator in replica._noise]
        together._drawing = [generator for replica in replicas for generator in replica._drawing]
        return Program(together)

    @torch.no_grad()
    def predict(self, query: Query) -> Tensor:
        """The competing outputs of the main net; changes no state."""
        weights = _part(self.parameters.detached, "main")
        return self._layout.select(self._net(weights, query, Context()), query.task_id)

    def state(self) -> State:
        """Weights, moments, former nets, generators, states of nets and regularizers."""
        return {
            "parameters": self.parameters.state(),
            "optimiser": self._optimiser.state(),
            "task_id": self._task_id,
            "former": dict(self._former),
            "noise": self._noise[0].get_state(),
            "drawing": self._drawing[0].get_state(),
            "nets": [self._net.state(), self._decoder.state()],
            "regularizers": [regularizer.state() for regularizer in self._regularizers],
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self.parameters.restore(state["parameters"])
        self._optimiser.restore(state["optimiser"])
        self._task_id = state["task_id"]
        device = self.parameters.values.device
        self._former = {name: tensor.to(device) for name, tensor in state["former"].items()}
        self._noise[0].set_state(state["noise"])
        self._drawing[0].set_state(state["drawing"])
        for net, saved in zip((self._net, self._decoder), state["nets"], strict=True):
            net.restore(saved)
        for regularizer, saved in zip(self._regularizers, state["regularizers"], strict=True):
            regularizer.restore(saved)


def _part(weights: NamedTensors, net: str) -> dict[str, Tensor]:
    """The weights of one of the two nets, by the net's own names."""
    prefix = f"{net}."
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }
