"""K-winners: of all units of a layer only the k largest are passed on (Ahmad & Scheinkman 2019).

For a sample with values x of n units, duty cycles d and boost strength beta (arXiv:1903.11257,
section 3; Numenta's nupic.torch)::

    k = round(n * percent_on)      at test floor(k * k_inference_factor) takes the place of k,
                                   for local channels round(n * percent_on * k_inference_factor)
    b_i = x_i * exp(beta * (k / n - d_i))
    S = the k units of largest b
    y_i = x_i for i in S, 0 otherwise          dL/dx_i = dL/dy_i for i in S, 0 otherwise

Boosting favours units that seldom won; it decides who wins, not what is passed on, and no gradient
passes through it. After each training pass over B samples, with L the samples seen so far and
``P = min(duty_cycle_period, L)``::

    d_i <- (d_i * (P - B) + number of samples with y_i > 0) / P

The duty cycle counts strictly positive winners only; testing leaves it alone. In a layer of C
channels d has one value per channel, which counts ``y > 0`` over samples and places, divided by
H * W. Winners are the k largest of the C channels at each place (``local``, n = C), or of all
n = C * H * W units of the sample.

The entropy of duty cycles, ``sum_i h(d_i)`` (for channels times H * W), is largest where all units
win equally often: ``n * h(k / n)``, for local channels times H * W (`clbench.statistics`).

Departures from nupic.torch:

1. Exactly k win, as in its first version: later ones let all win that tie with the k-th.
2. k = 0 is an error, not a layer that is always zero.
3. A batch larger than the period replaces the duty cycle (P = B); in nupic.torch the old values
   then count negatively.
4. L is part of the state.
5. The largest entropy uses the k of training, where nupic.torch rounds ``n * percent_on`` down.
6. beta stays as it is; nupic.torch can lower it after each epoch, which no published run does.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from clbench.params import Params
from clbench.protocols import State
from clbench.statistics import duty_cycle_entropy


class KWinnersParams(Params):
    """Parameters of k-winners layers."""

    percent_on: Annotated[float, Field(gt=0, lt=1)]
    """Fraction (not percent) of the units that win."""
    k_inference_factor: PositiveFloat = 1.0
    """Winners at test over winners in training; times `percent_on` it stays below 1."""
    boost_strength: NonNegativeFloat = 0.0
    """How strongly units that seldom won are favoured (beta in the paper); 0: not at all."""
    boost_strength_factor: Annotated[float, Field(ge=1, le=1)] = 1.0
    """1: the boost strength stays as it is, since no published run ever lowers it."""
    duty_cycle_period: PositiveInt = 1000
    """Samples over which duty cycles are averaged."""

    @model_validator(mode="after")
    def _not_all_win_at_test(self) -> KWinnersParams:
        if (share := self.percent_on * self.k_inference_factor) >= 1:
            raise ValueError(
                "percent_on times k_inference_factor, the fraction of winners at test, must be "
                f"below 1, not {share:g}"
            )
        return self


class _Competition:
    """What a layer of units and one of channels share: duty cycles, boosting, their state."""

    def __init__(self, params: KWinnersParams, size: int) -> None:
        self._params = params
        self._size = size  # units or channels
        self.reset()

    def reset(self) -> None:
        """Start again as new: no unit has won yet."""
        self._duty_cycle = torch.zeros(self._size)
        self._num_samples = 0

    @property
    def duty_cycle(self) -> Tensor:
        """How often each unit or channel won lately, ``(n,)`` or ``(C,)``, between 0 and 1."""
        return self._duty_cycle

    def _settle(self, device: torch.device) -> None:
        """Keep duty cycles where the values are that compete."""
        self._duty_cycle = self._duty_cycle.to(device)

    def _num_winners(self, n: int, training: bool) -> int:
        p = self._params
        k = round(n * p.percent_on)
        if k < 1:
            raise ValueError(f"percent_on {p.percent_on} of {n} units rounds to no winner")
        if training:
            return k
        k_inference = self._at_test(n, k)
        if not 1 <= k_inference <= n:
            raise ValueError(
                f"k_inference_factor {p.k_inference_factor} makes {k_inference} winners at test "
                f"out of {k} in training; expected 1 to {n}, the number of units"
            )
        return k_inference

    def _at_test(self, n: int, k: int) -> int:
        """Winners at test among n, of which k win in training."""
        return int(k * self._params.k_inference_factor)

    def _compete(
        self, x: Tensor, dim: int, duty_cycle: Tensor, training: bool
    ) -> tuple[Tensor, Tensor]:
        """Who wins along `dim`, and the winners' values; `duty_cycle` broadcasts to `x`."""
        n = x.shape[dim]
        k = self._num_winners(n, training)
        scores = x.detach()
        boost = self._params.boost_strength
        if boost > 0:
            scores = scores * torch.exp(boost * (k / n - duty_cycle))
        winners = scores.topk(k, dim, sorted=False).indices
        return winners, x.gather(dim, winners)

    def _record(self, winners: Tensor, is_on: Tensor, B: int, places: int = 1) -> None:
        """Count winners in the duty cycles: units or channels, and which of them are positive."""
        self._num_samples += B
        P = max(min(self._params.duty_cycle_period, self._num_samples), B)
        share = torch.zeros_like(self._duty_cycle)
        share.scatter_add_(0, winners.flatten(), is_on.flatten().to(share.dtype)).div_(places)
        self._duty_cycle = (self._duty_cycle * (P - B) + share) / P

    def state(self) -> State:
        """Duty cycles, and samples seen."""
        return {"duty_cycle": self._duty_cycle.clone(), "num_samples": self._num_samples}

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._duty_cycle = state["duty_cycle"].clone()
        self._num_samples = state["num_samples"]


class KWinners(_Competition):
    """K-winners among the units of a layer; see the module's text.

    Args:
        params: The parameters.
        num_units: n.

    Raises:
        ValueError: The parameters leave no winner, or want more winners than there are units.
    """

    def __init__(self, params: KWinnersParams, num_units: int) -> None:
        super().__init__(params, num_units)
        for training in (True, False):
            self._num_winners(num_units, training)

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """The winners' values, and 0 for all other units.

        Args:
            x: ``(B, n)``; without the first axis under `torch.func.vmap`.
            training: Whether duty cycles go on, and k is that of training.

        Returns:
            Of the shape of `x`.
        """
        assert x.shape[-1] == self._size
        self._settle(x.device)
        winners, values = self._compete(x, -1, self._duty_cycle, training)
        if training:
            self._record(winners, values > 0, len(x))
        return _passed_on(x, -1, winners, values)

    def entropy(self) -> float:
        """Of the duty cycles, in bits."""
        return duty_cycle_entropy(self._duty_cycle)

    @property
    def max_entropy(self) -> float:
        """The entropy where all units win equally often, in bits."""
        return _uniform_entropy(self._size, self._num_winners(self._size, training=True))


class KWinners2d(_Competition):
    """K-winners among channels; see the module's text.

    Args:
        params: The parameters.
        num_channels: C.
        local: Whether channels compete at each place, or all units of a sample with each other.

    Raises:
        ValueError: The parameters leave no winner, or want more winners than there are units
            (raised by the first pass where `local` is false: only it knows their number).
    """

    def __init__(self, params: KWinnersParams, num_channels: int, local: bool) -> None:
        super().__init__(params, num_channels)
        self._local = local
        if local:
            for training in (True, False):
                self._num_winners(num_channels, training)

    def reset(self) -> None:
        """Start again as new: no channel has won yet."""
        super().reset()
        self._num_places = 0  # of the last training pass

    def _at_test(self, n: int, k: int) -> int:
        """Of channels that compete at each place the factor comes before rounding."""
        if not self._local:
            return super()._at_test(n, k)
        return round(n * self._params.percent_on * self._params.k_inference_factor)

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """The winners' values, and 0 everywhere else.

        Args:
            x: ``(B, C, H, W)``; without the first axis under `torch.func.vmap`.
            training: Whether duty cycles go on, and k is that of training.

        Returns:
            Of the shape of `x`.
        """
        C, H, W = x.shape[-3:]
        assert self._size == C
        self._settle(x.device)
        if self._local:
            dim, units, duty_cycle = -3, x, self._duty_cycle[:, None, None]
        else:
            dim, units = -1, x.flatten(-3)
            duty_cycle = self._duty_cycle.repeat_interleave(H * W)
        winners, values = self._compete(units, dim, duty_cycle, training)
        if training:
            self._num_places = H * W
            channels = winners if self._local else winners // (H * W)
            self._record(channels, values > 0, len(x), H * W)
        return _passed_on(units, dim, winners, values).view(x.shape)

    def entropy(self) -> float:
        """Of the duty cycles, in bits, over all places; 0 before the first training pass."""
        return duty_cycle_entropy(self._duty_cycle) * self._num_places

    @property
    def max_entropy(self) -> float:
        """The entropy where all units win equally often, in bits; as for `entropy`, over places."""
        if not self._num_places:
            return 0.0
        n = self._size if self._local else self._size * self._num_places
        highest = _uniform_entropy(n, self._num_winners(n, training=True))
        return highest * self._num_places if self._local else highest

    def state(self) -> State:
        """Duty cycles, samples and places seen."""
        return super().state() | {"num_places": self._num_places}

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        super().restore(state)
        self._num_places = state["num_places"]


def _passed_on(x: Tensor, dim: int, winners: Tensor, values: Tensor) -> Tensor:
    nothing = x.new_zeros(()).expand(x.shape)  # one zero; `scatter` writes the only full tensor
    return nothing.scatter(dim, winners, values)


def _uniform_entropy(n: int, k: int) -> float:
    """Of n units with the duty cycle k / n, in bits."""
    return n * duty_cycle_entropy(torch.tensor([k / n], dtype=torch.float64))
