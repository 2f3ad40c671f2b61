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
from clbench.protocols import CPU, NamedTensors, State


class FlatParameters:
    """Trainable parameters whose values and gradients are views of two flat buffers.

    Args:
        initial: Name -> initial value, wherever it was drawn.
        device: Where the buffers are.

    Attributes:
        values: All values, shape ``(P,)``, in the order of the names.
        gradients: All gradients, shape ``(P,)``; `torch.autograd` adds to them.
        named: Name -> leaf tensor that requires a gradient, a view of `values`.
        detached: Name -> the same without a gradient; it follows every change of `values`.
        named_gradients: Name -> its gradient, a view of `gradients`.
    """

    def __init__(self, initial: NamedTensors, device: torch.device = CPU) -> None:
        self.shapes = {name: tensor.shape for name, tensor in initial.items()}
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in initial.values()])
        values = flat.to(device)
        self.move(values, torch.zeros_like(values))

    def move(self, values: Tensor, gradients: Tensor) -> None:
        """Live in these two buffers from now on, with what is in them."""
        self.values, self.gradients = values, gradients
        self.detached, self.named_gradients = self.split(values), self.split(gradients)
        self.named: dict[str, Tensor] = {}
        for name, view in self.detached.items():
            leaf = view.detach().requires_grad_()  # shares memory with `values`
            leaf.grad = self.named_gradients[name]
            self.named[name] = leaf

    def split(self, flat: Tensor) -> dict[str, Tensor]:
        """A tensor of the shape of `values` as named views of the parameters' shapes."""
        parts = torch.split(flat, [math.prod(shape) for shape in self.shapes.values()], -1)
        lead = flat.shape[:-1]
        return {
            name: part.view(*lead, *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }

    def zero_gradients(self) -> None:
        """Set all gradients to zero."""
        self.gradients.zero_()

    def add_gradients(self, outputs: Tensor, gradient: Tensor | None = None) -> None:
        """Add the gradients of a loss; of `outputs` where their `gradient` is given."""
        outputs.backward(gradient)

    def clip_gradients(self, max_norm: float) -> None:
        """Scale all gradients so that their global L2 norm is at most `max_norm`.

        As in common practice the scale is ``max_norm / (norm + 1e-6)`` where that is below 1.
        """
        norm = torch.linalg.vector_norm(self.gradients, dim=-1, keepdim=True)
        self.gradients.mul_((max_norm / (norm + 1e-6)).clamp_(max=1.0))

    def state(self) -> State:
        """The values."""
        return {"values": self.values.clone()}

    def restore(self, state: State) -> None:
        """Take back the values; gradients become zero."""
        self.values.copy_(state["values"])
        self.zero_gradients()


class StackedParameters(FlatParameters):
    """The parameters of R replicas side by side: each lives in a row of the buffers from now on.

    All is as of one replica, with a leading replica axis: `values` are ``(R, P)``, named tensors
    ``(R, ...)``, and each row of gradients is clipped by a norm of its own.
    """

    def __init__(self, replicas: Sequence[FlatParameters]) -> None:
        self.shapes = replicas[0].shapes
        self.move(
            torch.stack([replica.values for replica in replicas]),
            torch.stack([replica.gradients for replica in replicas]),
        )
        for replica, values, gradients in zip(replicas, self.values, self.gradients, strict=True):
            replica.move(values, gradients)

    def add_gradients(self, outputs: Tensor, gradient: Tensor | None = None) -> None:
        """Add the gradients of the sum of the replicas' losses, or of `outputs`."""
        leaves, places = list(self.named.values()), self.named_gradients.values()
        found = torch.autograd.grad(outputs, leaves, gradient, allow_unused=True)
        for place, one in zip(places, found, strict=True):
            if one is not None:
                place.add_(one)


class Optimiser:
    """Steps on `FlatParameters`, and the step it would take on a given gradient."""

    def __init__(self, parameters: FlatParameters, training: Training) -> None:
        self._parameters = parameters
        self._training = training
        self._flat = torch.nn.Parameter(parameters.values)
        self._flat.grad = parameters.gradients
        self._inner = self._fresh([self._flat])

    def _fresh(self, flat: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
        training, kind = self._training, self._training.optimizer
        if isinstance(kind, Adam):
            return torch.optim.Adam(
                flat,
                lr=training.learning_rate,
                betas=kind.betas,
                eps=kind.eps,
                weight_decay=training.weight_decay,
                fused=True,
                capturable=flat[0].is_cuda,  # by a CUDA graph
            )
        assert isinstance(kind, Sgd)
        return torch.optim.SGD(
            flat,
            lr=training.learning_rate,
            momentum=kind.momentum,
            nesterov=kind.nesterov,
            weight_decay=training.weight_decay,
            fused=True,
        )

    def reset(self) -> None:
        """Forget all moments, as at the start of a task."""
        self._inner = self._fresh([self._flat])

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
            k = 1 + moments["step"].double() if moments else 1  # on the device: nobody waits for it
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
            device = self._flat.device
            self._inner.state[self._flat] = {
                name: value.to(device, copy=True) for name, value in state.items()
            }


class StackedOptimiser(Optimiser):
    """The optimisers of R replicas as one; each keeps its own moments, and can step alone again.

    Args:
        replicas: Of equal settings.
        parameters: Theirs, put together.
    """

    def __init__(self, replicas: Sequence[Optimiser], parameters: StackedParameters) -> None:
        self._replicas = replicas
        rows = zip(replicas, parameters.values, parameters.gradients, strict=True)
        for replica, values, gradients in rows:
            replica._flat.data, replica._flat.grad = values, gradients
        self._inner = replicas[0]._fresh([replica._flat for replica in replicas])
        for replica in replicas:
            self._inner.state[replica._flat] = replica._inner.state[replica._flat]

    def step(self) -> None:
        """Move the parameters of all replicas along their gradients."""
        self._inner.step()

    def look_ahead(self, gradient: Tensor) -> Tensor:
        """The step that each replica would take on its row of `gradient`, ``(R, P)`` both."""
        rows = zip(self._replicas, gradient, strict=True)
        return torch.stack([replica.look_ahead(row) for replica, row in rows])
