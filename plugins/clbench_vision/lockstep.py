"""The nets for pictures in lockstep: R replicas as one program (`clbench.protocols.lockstep`).

They compute what `clbench_vision.mlp` and `clbench_vision.cnn` compute, to rounding: a layer of all
replicas is one batched matrix product, a convolution that of the kernels with the patches under
them. Drop-out draws for each replica from the generator of its own net.

Passes are differentiable. The gradients of a step are taken faster by `backpropagate`: each layer
leaves its own backward step on a tape, which writes into buffers that are there already. On single
samples PyTorch's bookkeeping costs as much as the products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import fold, max_pool2d, pad

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
        drawings: Behind the drop-out of each replica.
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
            of_bias.copy_(gradient.sum(1))
            return gradient if is_first else torch.bmm(gradient, weight)

        tape.backs.append(back)
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


def _convolution(
    x: Tensor, layer: str, params: NamedTensors, padding: int, tape: _Tape | None
) -> Tensor:
    """Convolutions with stride 1.

    Args:
        x: ``(R, C, B, H, W)``.
        layer: Name of the layer; its kernels are ``(R, O, C, k, k)`` and its biases ``(R, O)``.
        params: All parameters.
        padding: Black pixels around x.
        tape: For the gradients, if they are wanted.

    Returns:
        Shape ``(R, O, B, H', W')``.
    """
    if padding:
        x = pad(x, (padding,) * 4)
    kernel, bias = params[f"K{layer}"], params[f"k{layer}"]
    R, C, B, H, W = x.shape
    k = kernel.shape[-1]
    matrices, biases = kernel.flatten(2), bias.unsqueeze(2)
    if tape is not None:
        of_kernel, of_bias = tape.gradients[f"K{layer}"], tape.gradients[f"k{layer}"]
        is_first = tape.is_empty

        def back(gradient: Tensor) -> Tensor:
            delta = gradient.flatten(2)  # (R, O, B * H' * W')
            of_x = []
            for part, patches in _chunks(x, k):  # copied anew: that costs less than to keep them
                product = torch.bmm(delta[part], patches.transpose(1, 2))
                of_kernel[part].copy_(product.view_as(of_kernel[part]))
                if not is_first:
                    of_patches = torch.bmm(matrices[part].transpose(1, 2), delta[part])
                    columns = of_patches.unflatten(2, (B, -1)).transpose(1, 2).flatten(0, 1)
                    of_x.append(fold(columns, (H, W), k).view(-1, B, C, H, W).transpose(1, 2))
            of_bias.copy_(delta.sum(2))
            if is_first:
                return gradient
            return torch.cat(of_x)[..., padding : H - padding, padding : W - padding]

        tape.backs.append(back)
    products = [
        torch.baddbmm(biases[part], matrices[part], patches) for part, patches in _chunks(x, k)
    ]
    return torch.cat(products).view(R, -1, B, H - k + 1, W - k + 1)


_CHUNK = 2**17
"""Numbers in the patches of as many replicas as are taken at once: they stay in the cache."""


def _chunks(x: Tensor, k: int) -> Iterator[tuple[slice, Tensor]]:
    """Some replicas after others, with their k x k patches as matrices.

    Of x ``(R, C, B, H, W)`` the patches of r replicas are ``(r, C * k * k, B * H' * W')``.
    """
    R, C, B, H, W = x.shape
    shape = (C, k, k, B, H - k + 1, W - k + 1)
    count = max(1, _CHUNK // math.prod(shape))
    for first in range(0, R, count):
        part = x[first : first + count]
        r, c, b, h, w = part.stride()
        patches = part.as_strided((len(part), *shape), (r, c, h, w, b, h, w))
        copied = patches.clone(memory_format=torch.contiguous_format)
        yield slice(first, first + count), copied.view(len(part), C * k * k, -1)


def _max_pool(x: Tensor, size: int, tape: _Tape | None) -> Tensor:
    """Max-pooling of x ``(R, C, B, H, W)`` by squares that do not overlap."""
    pictures = x.flatten(0, 2)
    largest, places = max_pool2d(pictures, size, return_indices=True)
    if tape is not None:

        def back(gradient: Tensor) -> Tensor:
            """To the largest number of each square, the first of equal ones."""
            total = torch.zeros_like(pictures).flatten(1)
            total.scatter_(1, places.flatten(1), gradient.reshape(len(total), -1))
            return total.view(x.shape)

        tape.backs.append(back)
    return largest.unflatten(0, x.shape[:3])
