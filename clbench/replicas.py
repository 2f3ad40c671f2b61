"""Learners of several seeds as one: the parts of which their programs are made.

See `clbench.protocols.lockstep`. A program is a learner whose parts are those of R replicas put
together: parameters, net, regularizers, memory. As far as its code takes a leading replica axis it
is the code of the learner alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from clbench.mixing import concatenate
from clbench.protocols import (
    Batch,
    Distillable,
    LearnerContext,
    NamedTensors,
    Objective,
    Observation,
)


def inherited(cls: type, method: str) -> str | None:
    """What keeps a class from lockstep that has `method` from its base; None: it has its own.

    It may compute something else than its base, so each class has to say anew that it can.
    """
    return None if method in vars(cls) else f"the inherited {method}"


class Learns(Protocol):
    """What takes a training step on a stacked batch."""

    def observe(self, batch: Batch) -> Observation:
        """The losses ``(R,)``, and the outputs with a leading replica axis."""


@dataclass(frozen=True, slots=True)
class Program:
    """A `clbench.protocols.LockstepLearner` of a learner that takes a leading replica axis.

    Attributes:
        learner: All replicas as one.
        steps: Takes its steps in another way, such as played back (`clbench.graphs`); None: none.
    """

    learner: Learns
    steps: Learns | None = None

    def observe(self, batches: Sequence[Batch]) -> Sequence[Observation]:
        """One step of each replica on a batch of its own."""
        batch = stacked(batches)
        seen = (self.steps or self.learner).observe(batch)
        return observations(seen.loss, seen.outputs, batch, batches)


def put_together(replicas: Sequence[Any]) -> Any:
    """Nets or regularizers of one class in lockstep."""
    return type(replicas[0]).in_lockstep(replicas)


def joint_context(contexts: Sequence[LearnerContext]) -> LearnerContext:
    """What learners were built from, with net, objective and regularizers put together."""
    first = contexts[0]
    objective: Any = LockstepObjective(first.objective)  # it scores nothing, as training does not
    return replace(
        first,
        net=put_together([context.net for context in contexts]),
        objective=objective,
        regularizers=joint_regularizers([context.regularizers for context in contexts]),
    )


def joint_regularizers(replicas: Sequence[Sequence[Any]]) -> tuple[Any, ...]:
    """The regularizers of R replicas, each put together with its like."""
    return tuple(put_together(equals) for equals in zip(*replicas, strict=True))


def joint_tensors(replicas: Sequence[NamedTensors]) -> dict[str, Tensor]:
    """A copy of named tensors of R replicas, ``(R, ...)`` each."""
    return {name: torch.stack([one[name] for one in replicas]) for name in replicas[0]}


def add_product(
    a: Tensor, x: Tensor, y: Tensor, *, beta: int = 1, alpha: int = 1, out: Tensor | None = None
) -> Tensor:
    """``beta a + alpha x y`` of matrices, or of those of R replicas."""
    product = torch.addmm if x.dim() == 2 else torch.baddbmm
    return product(a, x, y, beta=beta, alpha=alpha, out=out)


def drawn(
    generators: Sequence[torch.Generator], draw: Callable[[torch.Generator], Tensor]
) -> Tensor:
    """What `draw` gives for one generator, or for those of R replicas, ``(R, ...)``."""
    if len(generators) == 1:
        return draw(generators[0])
    return torch.stack([draw(generator) for generator in generators])


def stacked(batches: Sequence[Batch]) -> Batch:
    """Batches of R replicas as one whose tensors have a leading replica axis.

    Task ids of single samples, as in joint training, become ``(R, B)``; one id for all samples is
    the same in all replicas. Sequences of different lengths are filled up, and windows widened, as
    `clbench.mixing.concatenate` does it.
    """
    first, side_by_side = batches[0], concatenate(batches)
    ids = [batch.task_id for batch in batches if isinstance(batch.task_id, Tensor)]
    samples = 0 if first.window is None else 1

    def apart(tensor: Tensor) -> Tensor:
        parts = torch.unflatten(tensor, samples, (len(batches), -1))
        return parts.movedim(samples, 0).contiguous()

    return replace(
        side_by_side,
        inputs=apart(side_by_side.inputs),
        targets=apart(side_by_side.targets),
        task_id=torch.stack(ids) if ids else first.task_id,
        mask=None if side_by_side.mask is None else apart(side_by_side.mask),
        num_tasks=first.num_tasks,
    )


def observations(
    losses: Tensor, outputs: Tensor, batch: Batch, batches: Sequence[Batch]
) -> list[Observation]:
    """What each replica observed.

    Args:
        losses: ``(R,)``.
        outputs: ``(R, W, B, n)`` or ``(R, B, n)``.
        batch: What `stacked` made of `batches`.
        batches: Those of the replicas.
    """
    found = []
    for loss, output, own in zip(losses, outputs, batches, strict=True):
        if own.window is not None and batch.window is not None and own.window != batch.window:
            start = own.window.start - batch.window.start
            output = output.narrow(0, start, own.window.stop - own.window.start)
        found.append(Observation(loss, output))
    return found


class LockstepObjective:
    """An objective for replicas: it knows of none, so it gets their samples as those of one batch.

    Args:
        objective: Of the tasks.
    """

    def __init__(self, objective: Objective | Distillable) -> None:
        self._objective: Any = objective

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The loss of each sample, ``(R, B)``.

        Args:
            outputs: The competing outputs, ``(R, W, B, n)`` or ``(R, B, n)``.
            batch: As `stacked` returns it.
        """
        samples = 1 if batch.window is None else 2  # the axis over samples
        merged = replace(
            batch,
            inputs=_merged(batch.inputs, samples),
            targets=_merged(batch.targets, samples),
            task_id=batch.task_id.flatten() if isinstance(batch.task_id, Tensor) else batch.task_id,
            mask=None if batch.mask is None else _merged(batch.mask, samples),
        )
        losses: Tensor = self._objective.losses(_merged(outputs, samples), merged)
        return losses.view(outputs.shape[0], -1)

    def replay_window(self, inputs: Tensor) -> tuple[slice | None, Tensor | None]:
        """One window for all replicas (`clbench.protocols.Distillable`).

        Args:
            inputs: ``(R, S, B, F)``, or without time.

        Returns:
            The window, and a mask ``(R, W, B)``.
        """
        window, mask = self._objective.replay_window(_merged(inputs, _samples(inputs)))
        if mask is not None:
            mask = mask.unflatten(1, (len(inputs), -1)).movedim(1, 0)
        return window, mask

    def distillation_losses(
        self, outputs: Tensor, taught: Tensor, temperature: float, mask: Tensor | None
    ) -> Tensor:
        """The loss of each sample, ``(R, B)`` (`clbench.protocols.Distillable`).

        Args:
            outputs: ``(R, W, B, n)`` or ``(R, B, n)``.
            taught: Of the teachers, of the same shape.
            temperature: Divides both.
            mask: ``(R, W, B)``, the scored steps; None: all.
        """
        samples = _samples(outputs)
        losses: Tensor = self._objective.distillation_losses(
            _merged(outputs, samples),
            _merged(taught, samples),
            temperature,
            None if mask is None else _merged(mask, samples),
        )
        return losses.view(outputs.shape[0], -1)


def _samples(tensor: Tensor) -> int:
    """The axis over samples: behind that over time, which sequences ``(R, S, B, F)`` have."""
    return 2 if tensor.dim() == 4 else 1


def _merged(tensor: Tensor, samples: int) -> Tensor:
    """The replica axis merged into the axis over samples, which comes out one place earlier."""
    return tensor.movedim(0, samples - 1).flatten(samples - 1, samples)
