"""Gradients of single samples: squared without one backward pass per sample, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clbench.errors import ClbenchError
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


def sample_gradients(
    outputs: Callable[[NamedTensors, Batch], Tensor],
    params: NamedTensors,
    batch: Batch,
    of: Callable[[Tensor], Tensor],
) -> Iterator[dict[str, Tensor]]:
    """Sample by sample, the gradient of `of` of its outputs; see `Consolidation`.

    Args:
        outputs: Parameters and batch -> ``(W, B, n)`` or ``(B, n)``, differentiable.
        params: Where the gradients are taken.
        batch: B samples.
        of: Outputs -> ``(B,)``, or ``(W, B)``, which is summed over steps.

    Raises:
        ClbenchError: What `of` gives has another shape.
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in params.items()}
    with torch.no_grad():
        found = outputs(leaves, batch)
    directions = _output_gradient(of, found)
    for n in range(found.shape[-2]):
        with torch.enable_grad():  # not around the `yield`: the caller's mode is its own
            one = outputs(leaves, _sample(batch, n))
        gradients = torch.autograd.grad(
            one, list(leaves.values()), directions[..., n : n + 1, :], materialize_grads=True
        )
        yield dict(zip(leaves, gradients, strict=True))


@torch.enable_grad()
def _output_gradient(of: Callable[[Tensor], Tensor], outputs: Tensor) -> Tensor:
    """The gradient of each sample's number with respect to its outputs, of their shape."""
    leaf = outputs.detach().requires_grad_()
    numbers = of(leaf)
    shapes = {tuple(leaf.shape[:-1]), (leaf.shape[-2],)}
    if tuple(numbers.shape) not in shapes:
        wanted = " or ".join(map(str, sorted(shapes, key=len)))
        raise ClbenchError(
            f"`of` has to give a number for each sample, of shape {wanted}; from outputs "
            f"{tuple(leaf.shape)} it made {tuple(numbers.shape)}"
        )
    return torch.autograd.grad(numbers.sum(), leaf)[0]


def _sample(batch: Batch, n: int) -> Batch:
    """A batch of one of the samples."""
    axis = 1 if batch.window is not None else 0  # where the samples lie, in time-major sequences
    inputs, targets = batch.inputs.narrow(axis, n, 1), batch.targets.narrow(axis, n, 1)
    mask = None if batch.mask is None else batch.mask.narrow(axis, n, 1)
    return replace(batch, inputs=inputs, targets=targets, mask=mask)


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
        """`num_samples` training samples in all, from a freshly shuffled sweep."""
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

    def sample_gradients(
        self, batch: Batch, of: Callable[[Tensor], Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """Sample by sample, the gradient of `of` of its outputs, ``(B,)`` or ``(W, B)``."""
        return sample_gradients(self.outputs, self.params, batch, of)
