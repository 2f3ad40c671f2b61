"""Named parameters in one flat buffer, and the optimiser that moves them.

One flat tensor of values and one of gradients make the gradient norm, the optimiser and the
regularizers' bookkeeping single operations, however many parameters a net has.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from clbench.config import Adam, Sgd, Training
from clbench.protocols import NamedTensors, State


class FlatParameters:
    """Trainable parameters whose values and gradients are views of two flat buffers.

    Attributes:
        values: All values, shape ``(P,)``, in the order of the names.
        gradients: All gradients, shape ``(P,)``; `torch.autograd` adds to them.
        named: Name -> leaf tensor that requires a gradient, a view of `values`.
    """

    def __init__(self, initial: NamedTensors) -> None:
        self.shapes = {name: tensor.shape for name, tensor in initial.items()}
        values = torch.cat([tensor.detach().reshape(-1) for tensor in initial.values()])
        self.move(values, torch.zeros_like(values))

    def move(self, values: Tensor, gradients: Tensor) -> None:
        """Live in these two buffers from now on, with what is in them."""
        self.values, self.gradients = values, gradients
        self.named: dict[str, Tensor] = {}
        split_gradients = self.split(gradients)
        for name, view in self.split(values).items():
            leaf = view.detach().requires_grad_()  # shares memory with `values`
            leaf.grad = split_gradients[name]
            self.named[name] = leaf

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """A flat tensor ``(P,)`` as named views of the parameters' shapes."""
        return _split(flat, self.shapes)

    @property
    def detached(self) -> dict[str, Tensor]:
        """The parameters by name, without gradients; they follow every change of `values`."""
        return self.split(self.values)

    def zero_gradients(self) -> None:
        """Set all gradients to zero."""
        self.gradients.zero_()

    def clip_gradients(self, max_norm: float) -> None:
        """Scale all gradients so that their global L2 norm is at most `max_norm`.

        As in common practice the scale is ``max_norm / (norm + 1e-6)`` where that is below 1.
        """
        scale = max_norm / (torch.linalg.vector_norm(self.gradients) + 1e-6)
        self.gradients.mul_(scale.clamp_(max=1.0))

    def state(self) -> State:
        """The values."""
        return {"values": self.values.clone()}

    def restore(self, state: State) -> None:
        """Take back the values; gradients become zero."""
        self.values.copy_(state["values"])
        self.zero_gradients()


class StackedParameters:
    """The parameters of R replicas side by side: each lives in a row of the buffers from now on.

    Attributes:
        values: All values, shape ``(R, P)``.
        gradients: All gradients, shape ``(R, P)``.
        named: Name -> leaf tensor ``(R, ...)`` that requires a gradient, a view of `values`.
        detached: Name -> the same without a gradient.
        named_gradients: Name -> its gradient, a view of `gradients`.
    """

    def __init__(self, replicas: Sequence[FlatParameters]) -> None:
        self.values = torch.stack([replica.values for replica in replicas])
        self.gradients = torch.stack([replica.gradients for replica in replicas])
        for replica, values, gradients in zip(replicas, self.values, self.gradients, strict=True):
            replica.move(values, gradients)
        shapes = replicas[0].shapes
        self.detached = _split(self.values, shapes)
        self.named = {name: view.detach().requires_grad_() for name, view in self.detached.items()}
        self.named_gradients = _split(self.gradients, shapes)

    def differentiate(self, loss: Tensor) -> None:
        """Set all gradients to those of `loss`, the sum of the replicas' losses."""
        found = torch.autograd.grad(loss, list(self.named.values()))
        for place, gradient in zip(self.named_gradients.values(), found, strict=True):
            place.copy_(gradient)


def _split(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A tensor ``(..., P)`` as named views ``(..., *shape)``."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes.values()], -1)
    lead = flat.shape[:-1]
    return {
        name: part.view(*lead, *shape)
        for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }


class Optimiser:
    """Steps on `FlatParameters`, and the step it would take on a given gradient."""

    def __init__(self, parameters: FlatParameters, training: Training) -> None:
        self._parameters = parameters
        self._training = training
        self._flat = torch.nn.Parameter(parameters.values)
        self._flat.grad = parameters.gradients
        self._inner = self._fresh()

    def _fresh(self) -> torch.optim.Optimizer:
        training, kind = self._training, self._training.optimizer
        if isinstance(kind, Adam):
            return torch.optim.Adam(
                [self._flat],
                lr=training.learning_rate,
                betas=kind.betas,
                eps=kind.eps,
                weight_decay=training.weight_decay,
                fused=True,
            )
        assert isinstance(kind, Sgd)
        return torch.optim.SGD(
            [self._flat],
            lr=training.learning_rate,
            momentum=kind.momentum,
            nesterov=kind.nesterov,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def reset(self) -> None:
        """Forget all moments, as at the start of a task."""
        self._inner = self._fresh()

    def step(self) -> None:
        """Move the parameters along their gradients."""
        self._inner.step()

    def look_ahead(self, gradient: Tensor) -> Tensor:
        """The step `step` would take on `gradient`; nothing is changed.

        For Adam at its k-th step, with the moments m and v it holds::

            m' = beta1 m + (1 - beta1) g        v' = beta2 v + (1 - beta2) g^2
            step = -lr * m' / (1 - beta1^k) / (sqrt(v' / (1 - beta2^k)) + eps)

        Args:
            gradient: Shape ``(P,)``, unclipped.

        Returns:
            Shape ``(P,)``, what would be added to the values.
        """
        kind, lr = self._training.optimizer, self._training.learning_rate
        decay = self._training.weight_decay
        if decay:
            gradient = gradient.add(self._parameters.values, alpha=decay)
        moments: Mapping[str, Tensor] = self._inner.state.get(self._flat, {})
        if isinstance(kind, Adam):
            beta1, beta2 = kind.betas
            k = 1 + int(moments["step"]) if moments else 1
            m = gradient.mul(1 - beta1)
            v = gradient.square().mul_(1 - beta2)
            if moments:
                m.add_(moments["exp_avg"], alpha=beta1)
                v.add_(moments["exp_avg_sq"], alpha=beta2)
            scale = v.div_(1 - beta2**k).sqrt_().add_(kind.eps)
            return m.div_(scale).mul_(-lr / (1 - beta1**k))
        buffer = moments.get("momentum_buffer")
        velocity = gradient if buffer is None else gradient.add(buffer, alpha=kind.momentum)
        if kind.nesterov:
            velocity = gradient.add(velocity, alpha=kind.momentum)
        return velocity.mul(-lr)

    def state(self) -> State:
        """The moments."""
        inner = self._inner.state.get(self._flat, {})
        return {name: value.clone() for name, value in inner.items() if isinstance(value, Tensor)}

    def restore(self, state: State) -> None:
        """Take back the moments."""
        self.reset()
        if state:
            self._inner.state[self._flat] = {name: value.clone() for name, value in state.items()}
