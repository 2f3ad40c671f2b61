"""What the hidden layers of the nets for pictures have in common.

A layer's pre-activations a become its output in this order: gains of the context (masks per task),
activation, winners (`clbench_sparse.k_winners`), dropout. In training, dropout sets each output
to 0 with probability p and divides the others by 1 - p.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from clbench.protocols import CPU, State
from clbench.statistics import weight_density
from clbench_sparse.k_winners import KWinnersParams
from clbench_sparse.sparse_weights import draw_mask

Activation = Literal["relu", "elu", "tanh", "sigmoid", "leaky-relu", "linear"]
Init = Literal["fan-in", "xavier"]
Fraction = Annotated[float, Field(gt=0, lt=1)]

ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "elu": functional.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "leaky-relu": functional.leaky_relu,
    "linear": lambda a: a,
}


def is_off_at_zero(activation: str) -> bool:
    """Whether a unit whose pre-activation is 0 is 0: whether a gain of 0 switches it off."""
    return float(ACTIVATIONS[activation](torch.zeros(()))) == 0.0


class Winners(Protocol):
    """A k-winners layer, of units or of channels."""

    @property
    def max_entropy(self) -> float:
        """Bits, where all win equally often."""

    def entropy(self) -> float:
        """Of the duty cycles, in bits."""

    def __call__(self, x: Tensor, training: bool) -> Tensor:
        """What is passed on."""

    def reset(self) -> None:
        """Start duty cycles again."""

    def state(self) -> State:
        """Duty cycles."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


def require_hidden_layers(hidden_sizes: Sequence[int], **options: object) -> None:
    """Refuse options that act on hidden layers where there are none.

    Raises:
        ValueError: One of the options is set, and there is no hidden layer.
    """
    for name, value in options.items():
        if value and not hidden_sizes:
            raise ValueError(f"{name} acts on hidden layers; hidden_sizes is empty")


def difference_in_training(dropout: float, *winners: KWinnersParams | None) -> str | None:
    """Which parameter lets a net predict otherwise in training than at test; None: none."""
    if dropout:
        return "dropout"
    factors = [one.k_inference_factor for one in winners if one is not None]
    return None if all(factor == 1 for factor in factors) else "k_inference_factor"


def relative_entropy(winners: Winners) -> float:
    """Entropy of duty cycles over the largest possible one.

    0 where the largest is 0: where all units win, who wins tells nothing, and before the first
    training pass nobody has won.
    """
    highest = winners.max_entropy
    return winners.entropy() / highest if highest else 0.0


class Drawings:
    """The generator behind dropout; it belongs to one net and is part of its state."""

    def __init__(self) -> None:
        self._generator = torch.Generator()

    def reset(self, generator: torch.Generator) -> None:
        """Start from a seed that `generator` draws."""
        self._generator.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))

    def drop(self, x: Tensor, probability: float) -> Tensor:
        """The values with dropout."""
        drawn = torch.empty_like(x, device=CPU).uniform_(generator=self._generator)
        kept = drawn.to(x.device, non_blocking=True).ge_(probability)
        return x * kept.div_(1 - probability)  # several times as fast as `bernoulli_`

    def state(self) -> Tensor:
        """The generator's."""
        return self._generator.get_state()

    def restore(self, state: Tensor) -> None:
        """Take back what `state` returned."""
        self._generator.set_state(state)


def draw_weights(
    shapes: Mapping[str, tuple[int, ...]], init: Init, generator: torch.Generator
) -> dict[str, Tensor]:
    """Fresh weights, each followed by its bias, in the order of `shapes`.

    ``fan-in``: weights and biases uniform in ±1/sqrt(fan-in). ``xavier``: weights uniform in
    ±sqrt(6 / (fan-in + fan-out)), biases 0. Fans count the positions of a convolution's kernel.
    """
    drawn: dict[str, Tensor] = {}
    bound = 0.0
    for name, shape in shapes.items():
        if len(shape) > 1:
            fan_in, kernel = math.prod(shape[1:]), math.prod(shape[2:])
            fan_out = shape[0] * kernel
            bound = math.sqrt(6 / (fan_in + fan_out)) if init == "xavier" else 1 / math.sqrt(fan_in)
        elif init == "xavier":
            bound = 0.0
        drawn[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
    return drawn


class WeightMasks:
    """Fixed random zeros in the weights of some layers (`clbench_sparse.sparse_weights`)."""

    def __init__(self, densities: Mapping[str, float]) -> None:
        self._densities = densities
        self._masks: dict[str, Tensor] = {}

    def draw(self, weights: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        """Draw the masks, and set what they hide to zero."""
        self._masks = {
            name: draw_mask(tuple(weights[name].shape), density, generator)
            for name, density in self._densities.items()
        }
        return {name: self.apply(name, weight) for name, weight in weights.items()}

    def apply(self, name: str, weight: Tensor) -> Tensor:
        """A weight with its zeros; itself where its layer is dense."""
        mask = self._masks.get(name)
        if mask is None:
            return weight
        if mask.device != weight.device:  # the first time since it was drawn or restored
            mask = self._masks[name] = mask.to(weight.device)
        return weight * mask

    def densities(self) -> dict[str, float]:
        """Fraction of non-zero weights of each layer that is not dense."""
        return {f"density_{name}": weight_density(mask) for name, mask in self._masks.items()}

    def state(self) -> State:
        """The masks."""
        return dict(self._masks)

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._masks = dict(state)
