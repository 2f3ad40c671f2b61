"""Squared gradients of single samples, without one backward pass per sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clbench.protocols import (
    Batch,
    Context,
    HasSampleGradients,
    LearnerContext,
    MainNet,
    NamedTensors,
    Objective,
    TaskData,
)
from clbench.scenario import OutputLayout


def squared_gradients(
    net: MainNet,
    params: NamedTensors,
    batch: Batch,
    context: Context,
    layout: OutputLayout,
    objective: Objective,
) -> dict[str, Tensor]:
    """Per parameter, the sum over the samples of `batch` of the squared gradient of their loss.

    A net that implements `HasSampleGradients` is asked; any other is mapped over its samples
    (`torch.func.vmap`), which takes the memory of one gradient per sample of the batch.

    Returns:
        Name -> tensor of the parameter's shape.
    """
    params = {name: tensor.detach() for name, tensor in params.items()}
    if isinstance(net, HasSampleGradients):

        @torch.enable_grad()
        def loss_gradient(outputs: Tensor) -> Tensor:
            leaf = outputs.detach().requires_grad_()
            total = objective.losses(layout.select(leaf, batch.task_id), batch).sum()
            return torch.autograd.grad(total, leaf)[0]

        with torch.no_grad():
            return net.squared_gradients(params, batch, context, loss_gradient)
    return _mapped(net, params, batch, context, layout, objective)


def _mapped(
    net: MainNet,
    params: NamedTensors,
    batch: Batch,
    context: Context,
    layout: OutputLayout,
    objective: Objective,
) -> dict[str, Tensor]:
    axis = 1 if batch.window is not None else 0  # where the samples lie, in time-major sequences

    def loss(params: NamedTensors, inputs: Tensor, targets: Tensor, mask: Tensor | None) -> Tensor:
        one = replace(
            batch,
            inputs=inputs.unsqueeze(axis),
            targets=targets.unsqueeze(axis),
            mask=None if mask is None else mask.unsqueeze(axis),
        )
        outputs = layout.select(net(params, one, context), batch.task_id)
        return objective.losses(outputs, one).squeeze(0)

    mask_axis = None if batch.mask is None else axis
    mapped = torch.func.vmap(torch.func.grad(loss), in_dims=(None, axis, axis, mask_axis))
    gradients = mapped(params, batch.inputs, batch.targets, batch.mask)
    return {name: gradient.square().sum(0) for name, gradient in gradients.items()}


@dataclass(frozen=True, slots=True)
class WeightConsolidation:
    """A `clbench.protocols.Consolidation` on main net weights, own or generated.

    Attributes:
        params: The weights at the end of the task, detached.
        data: The task's training data.
        learner: What the learner was built from.
        forward: Context of the forward pass on the task.
    """

    params: NamedTensors
    data: TaskData
    learner: LearnerContext
    forward: Context

    @property
    def num_samples(self) -> int:
        """Size of the task's training set."""
        return self.data.num_samples

    def batches(self, num_samples: int) -> Iterator[Batch]:
        """`num_samples` training samples, from a freshly shuffled sweep."""
        return self.data.batches(num_samples)

    def outputs(self, params: NamedTensors, batch: Batch) -> Tensor:
        """The competing outputs at any parameters, ``(W, B, n)`` or ``(B, n)``; differentiable."""
        outputs = self.learner.net(params, batch, self.forward)
        return self.learner.layout.select(outputs, batch.task_id)

    @torch.no_grad()
    def predicted(self, batch: Batch) -> Batch:
        """The batch with the targets that the outputs stand for."""
        outputs = self.outputs(self.params, batch)
        return replace(batch, targets=self.learner.objective.predictions(outputs))

    def squared_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Per parameter, the sum over samples of the squared gradient of a sample's task loss."""
        c = self.learner
        return squared_gradients(c.net, self.params, batch, self.forward, c.layout, c.objective)
