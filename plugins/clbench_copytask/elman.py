"""The Elman net of Ehret et al. 2021, with its extra hidden layer between state and output.

With the input ``x_t`` and ``h_0 = 0``, at each time step::

    h_t = tanh(g_h * (W_ih x_t + b_ih + W_hh h_{t-1} + b_hh))
    y_t = tanh(g_y * (W_ho h_t + b_ho))
    o_t = W_out y_t + b_out

The recurrence uses ``h_t``, not ``y_t``. The gains g are 1 unless a context sets them. It is not
`torch.nn.RNN` with a linear layer: that lacks ``W_ho`` and initialises the input weights otherwise.

The pass and its gradient are written out (full back-propagation through time): only the products
that cannot be avoided remain, input projections and weight gradients are one product over all
time steps, and outputs are computed only where they are wanted. ``tanh(a)`` is evaluated as
``2 sigmoid(2 a) - 1``, equal to rounding and several times faster on CPUs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clbench.protocols import Context, NamedTensors, Query, SequenceSpec
from clbench.replicas import add_product
from clbench.scenario import OutputLayout

from .recurrent import RecurrentNet, RecurrentParams


class Activity(NamedTuple):
    """What the backward pass needs of a forward pass."""

    h: Tensor  # (..., S, B, H)
    y: Tensor  # (..., W, B, H)


class Elman(RecurrentNet):
    """A main net for sequences; see the module's text for its equations.

    Gains are looked up under the names ``h`` and ``y``.
    """

    version: ClassVar[int] = 1

    recurrent_blocks: Mapping[str, int] = {"W_hh": 1}

    def __init__(self, params: RecurrentParams, spec: SequenceSpec, layout: OutputLayout) -> None:
        super().__init__(params, spec, layout)
        self.gain_sizes = {"h": params.hidden_size, "y": params.hidden_size}

    def layers(self, inputs: int, hidden: int, outputs: int) -> Mapping[str, tuple[int, ...]]:
        """Both hidden layers and the output layer."""
        return {
            "W_ih": (hidden, inputs),
            "b_ih": (hidden,),
            "W_hh": (hidden, hidden),
            "b_hh": (hidden,),
            "W_ho": (hidden, hidden),
            "b_ho": (hidden,),
            "W_out": (outputs, hidden),
            "b_out": (outputs,),
        }

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """Logits of the wanted steps, ``(..., W, B, num_outputs)``."""
        inputs = self.inputs(query)
        window = query.window
        assert window is not None  # the net takes sequences only
        gain_h, gain_y = context.gains.get("h"), context.gains.get("y")
        if inputs.dim() == 4 and gain_y is not None:
            gain_y = gain_y.unsqueeze(1)  # of replicas at all time steps: (R, 1, B, H)
        outputs: Tensor = _ElmanFunction.apply(  # type: ignore[no-untyped-call]
            inputs,
            (window.start, window.stop),
            gain_h,
            gain_y,
            *(params[name] for name in self.shapes),
        )
        return outputs

    def graph_obstacle(self) -> str | None:
        """None (`clbench.protocols.RunsAsGraph`)."""
        return None

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Elman]) -> Elman:
        """Any of them (`clbench.protocols.RunsInLockstep`)."""
        return replicas[0]

    def squared_gradients(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        loss_gradient: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        """Sum over samples of squared gradients (`clbench.protocols.HasSampleGradients`).

        The gradient of one sample is summed over time before it is squared.
        """
        inputs = self.inputs(query)
        window = query.window
        assert window is not None  # the net takes sequences only
        gains = context.gains.get("h"), context.gains.get("y")
        tensors = [params[name] for name in self.shapes]
        bounds = (window.start, window.stop)
        activity, outputs = _forward(inputs, bounds, *gains, *tensors)
        output_gradients = loss_gradient(outputs)
        da_h, da_y = _backward(output_gradients, activity, bounds, *gains, tensors)
        seen = slice(0, window.stop)
        layers = (  # (gradient of the pre-activation, what the weight is multiplied with)
            (da_h, inputs[seen]),
            (da_h[1:], activity.h[:-1]),
            (da_y, activity.h[window]),
            (output_gradients, activity.y),
        )
        squares: list[Tensor] = []
        for deltas, sources in layers:
            squares.append(_squared_weight_gradients(deltas, sources))
            squares.append(deltas.sum(0).square().sum(0))
        squares[3] = squares[1].clone()  # b_hh acts at the first step too, as b_ih does
        return dict(zip(self.shapes, squares, strict=True))


def _squared_weight_gradients(deltas: Tensor, sources: Tensor) -> Tensor:
    """Sum over samples of ``(sum over time of delta x source^T)^2``.

    Args:
        deltas: (S, B, H).
        sources: (S, B, F).

    Returns:
        (H, F).
    """
    H, F = deltas.shape[-1], sources.shape[-1]
    if H > F:
        return _squared_weight_gradients(sources, deltas).mT  # wide products are faster
    left = deltas.permute(1, 2, 0)  # (B, H, S)
    right = sources.transpose(0, 1)  # (B, S, F)
    chunk = max(1, _CHUNK // (H * F))  # samples at once; each place among them has own sums
    gradients = deltas.new_empty(chunk, H, F)
    totals = torch.zeros_like(gradients)
    for some, others in zip(left.split(chunk), right.split(chunk), strict=True):
        n = some.shape[0]
        found = torch.bmm(some, others, out=gradients[:n])
        totals[:n].addcmul_(found, found)
    return totals.sum(0)


_CHUNK = 2**18
"""Numbers in the gradients of as many samples as are taken at once: they stay in the cache."""


def _tanh_(doubled: Tensor) -> Tensor:
    """``tanh(a)`` in place of ``doubled = 2 a``."""
    return doubled.sigmoid_().mul_(2).sub_(1)


def _forward(
    inputs: Tensor,
    window: tuple[int, int],
    gain_h: Tensor | None,
    gain_y: Tensor | None,
    W_ih: Tensor,
    b_ih: Tensor,
    W_hh: Tensor,
    b_hh: Tensor,
    W_ho: Tensor,
    b_ho: Tensor,
    W_out: Tensor,
    b_out: Tensor,
) -> tuple[Activity, Tensor]:
    """The activity up to the last wanted step, and the outputs of the wanted steps.

    Everything may have a leading replica axis.
    """
    start, stop = window
    B = inputs.shape[-2]
    h = _affine(_steps(inputs, 0, stop), W_ih, b_ih + b_hh, 2).unflatten(-2, (stop, B))
    W_hh_t, before = W_hh.mT, None
    for a in h.unbind(-3):
        if before is not None:
            add_product(a, before, W_hh_t, alpha=2, out=a)
        if gain_h is not None:
            a.mul_(gain_h)
        before = _tanh_(a)
    y = _affine(_steps(h, start, stop), W_ho, b_ho, 2).unflatten(-2, (stop - start, B))
    if gain_y is not None:
        y.mul_(gain_y)
    _tanh_(y)
    outputs = _affine(y.flatten(-3, -2), W_out, b_out, 1)
    return Activity(h, y), outputs.unflatten(-2, (stop - start, B))


def _steps(sequences: Tensor, start: int, stop: int) -> Tensor:
    """Some time steps of ``(..., S, B, F)`` as matrices, ``(..., (stop - start) * B, F)``."""
    return sequences[..., start:stop, :, :].flatten(-3, -2)


def _affine(x: Tensor, weight: Tensor, bias: Tensor, factor: int) -> Tensor:
    """``factor * (W x + b)``."""
    return add_product(bias.unsqueeze(-2), x, weight.mT, beta=factor, alpha=factor)


def _backward(
    d_outputs: Tensor,
    activity: Activity,
    window: tuple[int, int],
    gain_h: Tensor | None,
    gain_y: Tensor | None,
    tensors: list[Tensor],
) -> tuple[Tensor, Tensor]:
    """Gradients of the pre-activations: of h, (..., stop, B, H), and of y, (..., W, B, H)."""
    _, _, W_hh, _, W_ho, _, W_out, _ = tensors
    h, y = activity
    start, stop = window
    d_y = torch.matmul(d_outputs.flatten(-3, -2), W_out).view_as(y)
    da_y = torch.ops.aten.tanh_backward(d_y, y)
    if gain_y is not None:
        da_y.mul_(gain_y)
    da_h = torch.empty_like(h)
    torch.matmul(da_y.flatten(-3, -2), W_ho, out=_steps(da_h, start, stop))
    after = None
    for t, d, state in reversed(list(zip(range(stop), da_h.unbind(-3), h.unbind(-3), strict=True))):
        if after is not None:
            if t >= start:
                add_product(d, after, W_hh, out=d)
            else:
                torch.matmul(after, W_hh, out=d)
        torch.ops.aten.tanh_backward.grad_input(d, state, grad_input=d)
        if gain_h is not None:
            d.mul_(gain_h)
        after = d
    return da_h, da_y


class _ElmanFunction(torch.autograd.Function):
    """The net as one differentiable operation; no gradient with respect to gains."""

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        window: tuple[int, int],
        gain_h: Tensor | None,
        gain_y: Tensor | None,
        *tensors: Tensor,
    ) -> Tensor:
        activity, outputs = _forward(inputs, window, gain_h, gain_y, *tensors)
        ctx.save_for_backward(inputs, *activity, gain_h, gain_y, *tensors)
        ctx.window = window
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_outputs: Tensor) -> tuple[Tensor | None, ...]:
        inputs, h, y, gain_h, gain_y, *tensors = ctx.saved_tensors
        start, stop = ctx.window
        da_h, da_y = _backward(d_outputs, Activity(h, y), ctx.window, gain_h, gain_y, tensors)
        flat_h, flat_y, flat_o = (da.flatten(-3, -2) for da in (da_h, da_y, d_outputs))
        b_h = flat_h.sum(-2)
        if stop > 1:
            W_hh = torch.matmul(_steps(da_h, 1, stop).mT, _steps(h, 0, stop - 1))
        else:
            W_hh = torch.zeros_like(tensors[2])
        d_inputs = None
        if ctx.needs_input_grad[0]:
            d_inputs = torch.zeros_like(inputs)
            d_x = torch.matmul(flat_h, tensors[0])
            d_inputs[..., :stop, :, :] = d_x.unflatten(-2, (stop, -1))
        return (
            d_inputs,
            *(None, None, None),
            torch.matmul(_steps(inputs, 0, stop).mT, flat_h).mT,  # the faster order
            b_h,
            W_hh,
            b_h.clone(),
            torch.matmul(flat_y.mT, _steps(h, start, stop)),
            flat_y.sum(-2),
            torch.matmul(flat_o.mT, y.flatten(-3, -2)),
            flat_o.sum(-2),
        )
