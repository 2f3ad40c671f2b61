"""The nets for pictures in lockstep: R replicas as one program (`clbench.protocols.lockstep`).

They compute what `clbench_vision.mlp` and `clbench_vision.cnn` compute, to rounding: a layer of all
replicas is one batched matrix product. Drop-out draws for each replica from the generator of its
own net.

Passes are differentiable. The gradients of a step are taken faster by `backpropagate`: each layer
leaves its own backward step on a tape, which writes into buffers that are there already. On single
samples PyTorch's bookkeeping costs as much as the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from clbench.protocols import Context, NamedTensors, Query

from .hidden import ACTIVATIONS, Activation, Drawings

Back: TypeAlias = Callable[[Tensor], Tensor]
"""Gradient of what a layer gives -> gradient of what it was given."""


@dataclass(frozen=True, slots=True)
class _Tape:
    """What `backpropagate` needs of a forward pass.

    Attributes:
        gradients: Where the gradients of parameters go.
        backs: The backward steps of the layers so far.
    """

    gradients: NamedTensors
    backs: list[Back] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether nothing before the next layer has a gradient."""
        return not self.backs


class _HiddenParams(Protocol):
    """What the parameters of both nets have in common."""

    hidden_sizes: tuple[int, ...]
    activation: Activation
    dropout: float


class _LockstepNet:
    """What both nets share.

    Args:
        params: Of the nets.
        drawings: Behind the dropout of each replica.
    """

    def __init__(self, params: Any, drawings: Sequence[Drawings]) -> None:
        self._params, self._drawings = params, drawings

    def _forward(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        activity: dict[str, Tensor],
        tape: _Tape | None,
    ) -> Tensor:
        """The outputs; fills in the activity by layer, and the tape if there is one."""
        raise NotImplementedError

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """Logits ``(R, B, num_outputs)``."""
        return self._forward(params, query, context, {}, None)

    def with_activity(
        self, params: NamedTensors, query: Query, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and the activity of each layer, ``(R, B, C, H, W)`` or ``(R, B, H)``."""
        activity: dict[str, Tensor] = {}
        return self._forward(params, query, context, activity, None), activity

    @torch.no_grad()
    def backpropagate(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        loss_gradient: Callable[[Tensor], Tensor],
        gradients: NamedTensors,
    ) -> Tensor:
        """Logits, with gradients on the way (`clbench.protocols.HasLockstepGradients`)."""
        tape = _Tape(gradients)
        outputs = self._forward(params, query, context, {}, tape)
        gradient = loss_gradient(outputs)
        for back in reversed(tape.backs):
            gradient = back(gradient)
        return outputs

    def _hidden_layers(
        self,
        x: Tensor,
        params: NamedTensors,
        context: Context,
        activity: dict[str, Tensor],
        tape: _Tape | None,
    ) -> Tensor:
        """The layers ``h1``, ``h2``, ... on x ``(R, B, F)``, and the outputs."""
        p: _HiddenParams = self._params
        for i in range(1, len(p.hidden_sizes) + 1):
            x = _linear(x, str(i), params, tape)
            if (gain := context.gains.get(f"h{i}")) is not None:
                x = _scaled(x, gain, tape)
            x = activity[f"h{i}"] = _activated(x, p.activation, tape)
            x = self._dropped(x, context, tape)
        return _linear(x, "_out", params, tape)

    def _dropped(self, x: Tensor, context: Context, tape: _Tape | None) -> Tensor:
        """Drop-out of x ``(R, B, ...)``, each replica by its own draws."""
        probability = self._params.dropout
        if not context.training or not probability:
            return x
        ones = torch.ones(x.shape[1:], dtype=x.dtype, device=x.device)
        factors = [drawing.drop(ones, probability) for drawing in self._drawings]
        return _scaled(x, torch.stack(factors), tape)


class LockstepMlp(_LockstepNet):
    """`clbench_vision.mlp.Mlp` in lockstep, without winners and zeros in the weights."""

    def _forward(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        activity: dict[str, Tensor],
        tape: _Tape | None,
    ) -> Tensor:
        return self._hidden_layers(query.inputs.flatten(2), params, context, activity, tape)


class LockstepCnn(_LockstepNet):
    """`clbench_vision.cnn.Cnn` in lockstep, without winners and zeros in the weights."""

    def _forward(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        activity: dict[str, Tensor],
        tape: _Tape | None,
    ) -> Tensor:
        p = self._params
        x = query.inputs
        for i in range(1, len(p.channels) + 1):
            x = _convolution(_swapped(x, tape), str(i), params, p.padding, tape)
            x = _activated(x, p.conv_activation, tape)
            activity[f"c{i}"] = x.transpose(1, 2)
            x = _max_pool(x, p.pooling, tape) if p.pooling > 1 else x
            x = self._dropped(_swapped(x, tape), context, tape)
        shape = x.shape
        if tape is not None:
            tape.backs.append(lambda gradient: gradient.view(shape))
        return self._hidden_layers(x.flatten(2), params, context, activity, tape)


def _swapped(x: Tensor, tape: _Tape | None) -> Tensor:
    """Samples and channels exchanged: convolutions work on ``(R, C, B, H, W)``."""
    if tape is not None and not tape.is_empty:
        tape.backs.append(lambda gradient: gradient.transpose(1, 2))
    return x.transpose(1, 2)


def _scaled(x: Tensor, factors: Tensor, tape: _Tape | None) -> Tensor:
    """``x * factors``."""
    if tape is not None:
        tape.backs.append(lambda gradient: gradient * factors)
    return x * factors


def _activated(x: Tensor, name: Activation, tape: _Tape | None) -> Tensor:
    """The activation of x."""
    if tape is None or name == "linear":
        return ACTIVATIONS[name](x)
    if name == "relu":
        positive = torch.relu(x)
        tape.backs.append(lambda gradient: gradient.masked_fill(positive <= 0, 0))
        return positive
    with torch.enable_grad():
        leaf = x.requires_grad_()
        y = ACTIVATIONS[name](leaf)
    tape.backs.append(lambda gradient: torch.autograd.grad(y, leaf, gradient)[0])
    return y.detach()


def _linear(x: Tensor, layer: str, params: NamedTensors, tape: _Tape | None) -> Tensor:
    """``x W^T + b`` with x ``(R, B, F)``, W ``(R, H, F)`` and b ``(R, H)``: ``(R, B, H)``."""
    weight, bias = params[f"W{layer}"], params[f"b{layer}"]
    if tape is not None:
        of_weight, of_bias = tape.gradients[f"W{layer}"], tape.gradients[f"b{layer}"]
        is_first = tape.is_empty

        def back(gradient: Tensor) -> Tensor:
            if x.shape[1] == 1:  # as a product of matrices this is several times slower
                torch.mul(gradient.transpose(1, 2), x, out=of_weight)
            else:
                of_weight.copy_(torch.bmm(gradient.transpose(1, 2), x))
            torch.sum(gradient, 1, out=of_bias)
            return gradient if is_first else torch.bmm(gradient, weight)

        tape.backs.append(back)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def _convolution(
    x: Tensor, layer: str, params: NamedTensors, padding: int, tape: _Tape | None
) -> Tensor:
    """Convolutions with stride 1.

    A kernel's columns are laid out on the side of x, its rows on that of the result: one product
    gives what each row of a kernel makes of each row of x, and the result is a sum of k of those
    at a time. All k x k patches would be k times as many numbers to copy.

    Args:
        x: ``(R, C, B, H, W)``.
        layer: Name of the layer; its kernels are ``(R, N, C, k, k)`` and its biases ``(R, N)``.
        params: All parameters.
        padding: Zeros around x.
        tape: For the gradients, if they are wanted.

    Returns:
        Shape ``(R, N, B, H', W')``.
    """
    if padding:
        x = pad(x, (padding,) * 4)
    kernel, bias = params[f"K{layer}"], params[f"k{layer}"]
    R, C, B, H, W = x.shape
    N, k = kernel.shape[1], kernel.shape[-1]
    h, w = H - k + 1, W - k + 1
    matrices = kernel.permute(0, 3, 1, 2, 4).reshape(R, k * N, C * k)
    r, c, b, y, z = x.stride()
    windows = x.as_strided((R, C, k, B, H, w), (r, c, z, b, y, z))
    columns = windows.reshape(R, C * k, B * H * w)
    if tape is not None:
        of_kernel, of_bias = tape.gradients[f"K{layer}"], tape.gradients[f"k{layer}"]
        is_first = tape.is_empty

        def back(gradient: Tensor) -> Tensor:
            torch.sum(gradient, (2, 3, 4), out=of_bias)
            of_rows = gradient.new_zeros(R, k, N, B, H, w)
            for i in range(k):
                of_rows[:, i, :, :, i : i + h].copy_(gradient)
            of_rows = of_rows.view(R, k * N, B * H * w)
            product = torch.bmm(columns, of_rows.mT).view(R, C, k, k, N)
            of_kernel.copy_(product.permute(0, 4, 1, 3, 2))
            if is_first:
                return gradient
            of_columns = torch.bmm(matrices.mT, of_rows).view(R, C, k, B, H, w)
            of_x = torch.zeros_like(x)
            for i in range(k):
                of_x[..., i : i + w].add_(of_columns[:, :, i])
            return of_x[..., padding : H - padding, padding : W - padding] if padding else of_x

        tape.backs.append(back)
    rows = torch.bmm(matrices, columns).view(R, k, N, B, H, w)
    r, i, n, b, y, z = rows.stride()
    parts = rows.as_strided((R, N, B, h, w, k), (r, n, b, y, z, i + y))  # row i is i rows further
    return parts.sum(-1) + bias.view(R, N, 1, 1, 1)


def _max_pool(x: Tensor, size: int, tape: _Tape | None) -> Tensor:
    """Max-pooling of x ``(R, C, B, H, W)`` by squares that do not overlap."""
    planes = x.flatten(0, 2).unsqueeze(0)
    side_by_side = planes.contiguous(memory_format=torch.channels_last)  # several times as fast
    largest, places = max_pool2d(side_by_side, size, return_indices=True)
    if tape is not None:

        def back(gradient: Tensor) -> Tensor:
            """To the largest number of each square, the first of equal ones."""
            total = torch.zeros_like(planes[0]).flatten(1)
            total.scatter_(1, places[0].flatten(1), gradient.reshape(len(total), -1))
            return total.view(x.shape)

        tape.backs.append(back)
    return largest.contiguous().view(*x.shape[:3], *largest.shape[2:])
