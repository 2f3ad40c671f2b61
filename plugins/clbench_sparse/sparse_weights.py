"""Weights most of which are zero for life (Ahmad & Scheinkman 2019, arXiv:1903.11257).

A layer of density w has, in each of its rows (an output unit or channel with fan-in I) and
independently of other rows, ``round((1 - w) * I)`` zeros at places drawn once. With M the mask of
zeros and ones, nets start from ``W * M`` and compute with ``W * M`` in every pass, in training and
at test. Setting W to zero after each step, as the source does, serves only while nobody forgets it;
masking in the pass keeps three promises by itself:

* Zeros are exact: whatever the optimiser does to W, the pass never sees a masked value.
* The chain rule masks the gradient, ``dL/dW = M * dL/d(W * M)``. So momentum and other moments of
  masked weights stay zero, and the weights with them, weight decay included. Only rules that add
  noise to every weight (``perturbed-sgd``, ``upgd``) move them; no pass sees it, but norms of
  weights count it, in records and in the noise scales of ``upgd``.
* Penalties and importances built from gradients are zero for masked weights.

Biases are never masked. A masked dense product is no cheaper than a dense one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def draw_mask(shape: tuple[int, ...], density: float, generator: torch.Generator) -> Tensor:
    """A mask of zeros and ones with the same number of ones in each row.

    Each row has exactly ``round((1 - density) * fan_in)`` zeros; all choices of their places are
    equally likely, independently of other rows. Every weight gets a random key, and the largest
    keys of a row are its zeros or its ones, whichever are fewer.

    Args:
        shape: Of the weight: rows first, ``(n_out, n_in)`` or ``(C_out, C_in, H, W)``; the fan-in
            is the product of all but the first.
        density: Fraction of ones, between 0 and 1, both excluded.
        generator: Gives one key per weight.

    Returns:
        Float tensor of `shape`, on the device of the generator.

    Raises:
        ValueError: The density is out of range, or so small that a row has no ones.
    """
    if not 0 < density < 1:
        raise ValueError(f"density must lie between 0 and 1, both excluded, not {density}")
    rows, fan_in = shape[0], math.prod(shape[1:])
    num_zeros = round((1 - density) * fan_in)
    if num_zeros == fan_in:
        raise ValueError(f"density {density} leaves none of {fan_in} weights of a unit")
    few, value = min((fan_in - num_zeros, 1.0), (num_zeros, 0.0))
    keys = torch.rand(rows, fan_in, generator=generator, device=generator.device)
    places = keys.topk(few, dim=1, sorted=False).indices  # (rows, few)
    return keys.fill_(1 - value).scatter_(1, places, value).view(shape)
