"""Batches and losses of replicas that run in lockstep (`clbench.protocols.lockstep`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clbench.protocols import Batch, Objective


def stacked(batches: Sequence[Batch]) -> Batch:
    """Batches of R replicas as one whose tensors have a leading replica axis.

    Task ids of single samples, as in joint training, become ``(R, B)``; one id for all samples is
    the same in all replicas.
    """
    first = batches[0]
    ids = [batch.task_id for batch in batches if isinstance(batch.task_id, Tensor)]
    masks = [batch.mask for batch in batches if batch.mask is not None]
    return replace(
        first,
        inputs=torch.stack([batch.inputs for batch in batches]),
        targets=torch.stack([batch.targets for batch in batches]),
        task_id=torch.stack(ids) if ids else first.task_id,
        mask=torch.stack(masks) if masks else None,
    )


def mean_losses(objective: Objective, outputs: Tensor, batch: Batch) -> Tensor:
    """The mean loss of each replica, ``(R,)``.

    As an objective knows of no replicas, it is given their samples as those of one batch.

    Args:
        objective: Of the tasks.
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
    losses = objective.losses(_merged(outputs, samples), merged)
    return losses.view(outputs.shape[0], -1).mean(1)


def _merged(tensor: Tensor, samples: int) -> Tensor:
    """The replica axis merged into the axis over samples, which comes out one place earlier."""
    return tensor.movedim(0, samples - 1).flatten(samples - 1, samples)
