"""Masks of sparse weights."""

from __future__ import annotations

import pytest
import torch

from clbench_sparse.sparse_weights import draw_mask


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("shape", "density", "ones"),
    [
        ((8, 784), 0.1, 78),
        ((8, 3072), 0.1, 307),
        ((8, 4000), 0.1, 400),
        ((3, 73728), 0.1, 7373),
        ((8, 3, 5, 5), 0.99, 74),
        ((8, 64, 5, 5), 0.99, 1584),
        ((8, 4, 2, 1), 0.5, 4),
        ((8, 25), 0.99, 25),  # round(0.25) = 0 zeros
    ],
)
def test_every_row_has_the_same_number_of_ones(
    shape: tuple[int, ...], density: float, ones: int
) -> None:
    mask = draw_mask(shape, density, _generator())

    assert mask.shape == shape
    assert mask.dtype == torch.float32
    assert mask.unique().tolist() in ([0.0, 1.0], [1.0])
    assert mask.flatten(1).sum(1).tolist() == [ones] * shape[0]


@pytest.mark.parametrize("density", [0.1, 0.9])
def test_equal_generators_draw_equal_masks_and_others_do_not(density: float) -> None:
    first, again, other = (draw_mask((5, 40), density, _generator(seed)) for seed in (1, 1, 2))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_rows_are_drawn_independently_and_every_place_equally_often() -> None:
    mask = draw_mask((4000, 5), 0.4, _generator())

    # each place is one with probability 2/5: 5 standard deviations of a mean of 4000
    deviation = (0.4 * 0.6 / 4000) ** 0.5
    assert mask.mean(0).tolist() == pytest.approx([0.4] * 5, abs=5 * deviation)
    assert len(mask.unique(dim=0)) == 10  # all choices of 2 of 5 places


def test_no_global_random_number_is_drawn() -> None:
    before = torch.random.get_rng_state()

    draw_mask((5, 40), 0.5, _generator())

    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_weight_masked_in_the_pass_stays_zero_under_momentum_and_weight_decay() -> None:
    mask = draw_mask((6, 10), 0.3, _generator())
    W = (torch.randn(6, 10, generator=_generator(1)) * mask).requires_grad_()
    optimiser = torch.optim.SGD([W], lr=0.1, momentum=0.9, weight_decay=0.1)
    x = torch.randn(4, 10, generator=_generator(2))
    start = W.detach().clone()

    for _ in range(3):
        optimiser.zero_grad()
        (x @ (W * mask).t()).square().sum().backward()
        optimiser.step()

    hidden = mask == 0
    assert W.detach()[hidden].count_nonzero() == 0
    assert optimiser.state[W]["momentum_buffer"][hidden].count_nonzero() == 0
    assert (W.detach() != start)[~hidden].all()


@pytest.mark.parametrize("density", [0.0, 1.0, -0.5, 10.0])
def test_a_density_out_of_range_is_an_error(density: float) -> None:
    with pytest.raises(ValueError, match="density") as caught:
        draw_mask((2, 10), density, _generator())

    assert str(caught.value) == (f"density must lie between 0 and 1, both excluded, not {density}")


def test_a_density_that_leaves_a_unit_without_weights_is_an_error() -> None:
    with pytest.raises(ValueError, match="density") as caught:
        draw_mask((2, 10), 0.01, _generator())

    assert str(caught.value) == "density 0.01 leaves none of 10 weights of a unit"
