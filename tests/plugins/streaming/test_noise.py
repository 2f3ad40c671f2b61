"""The fast source of normal numbers, against the normal distribution."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from clbench.randomness import generator
from clbench_streaming.noise import Noise, slice_means


def _drawn(size: int, seed: int = 0) -> torch.Tensor:
    return Noise(generator(seed, "noise")).fill(torch.empty(size))


def test_the_numbers_that_can_be_drawn_are_the_normal_distribution_in_slices() -> None:
    values = slice_means(torch.float64)

    assert values.shape == (65_536,)
    assert torch.all(values.diff() > 0)
    assert float(values.mean()) == pytest.approx(0, abs=1e-12)
    assert float(values.square().mean()) == pytest.approx(1, abs=1e-12)
    assert float(values.pow(4).mean()) == pytest.approx(3, abs=2e-3)
    assert float(values[-1]) == pytest.approx(4.36, abs=0.05)
    assert float(values[-1]) == pytest.approx(-float(values[0]), abs=1e-9)
    below = torch.from_numpy(stats.norm.cdf(values.numpy()))  # between the steps of the slices'
    middles = (torch.arange(65_536) + 0.5) / 65_536
    assert float((below - middles).abs().max()) < 1 / 131_072


def test_a_million_draws_look_normal() -> None:
    drawn = _drawn(1_000_000)

    assert stats.kstest(drawn.numpy(), "norm").pvalue > 0.01
    assert abs(float(drawn.mean())) < 4e-3  # four standard errors
    assert abs(float(drawn.var()) - 1) < 6e-3


def test_draws_are_independent_of_those_before() -> None:
    source = Noise(generator(0, "noise"))
    size = 250_000

    steps = torch.stack([source.fill(torch.empty(size)) for _ in range(3)])

    correlations = [(steps[0] * steps[1]).mean(), (steps[1] * steps[2]).mean()]
    correlations += [(steps[:, lag:] * steps[:, :-lag]).mean() for lag in (1, 2, 3, 4, 8)]
    assert all(abs(float(value)) < 4 / size**0.5 for value in correlations)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 101])
def test_every_number_of_a_tensor_is_filled(size: int) -> None:
    out = torch.full((size,), 99.0)

    Noise(generator(0, "noise")).fill(out)

    assert float(out.abs().max()) < 4.5


def test_equal_seeds_draw_equal_numbers_and_others_do_not() -> None:
    assert torch.equal(_drawn(1000), _drawn(1000))
    assert not torch.equal(_drawn(1000), _drawn(1000, seed=1))


def test_a_thousand_seeds_begin_at_a_thousand_places() -> None:
    sources = [Noise(generator(seed, "noise")) for seed in range(1000)]

    assert len({tuple(source.state().tolist()) for source in sources}) == 1000


def test_it_goes_on_from_a_saved_state() -> None:
    source, other = Noise(generator(0, "noise")), Noise(generator(1, "noise"))
    source.fill(torch.empty(101))
    saved = source.state()

    expected = source.fill(torch.empty(101))
    other.restore(saved)

    assert torch.equal(other.fill(torch.empty(101)), expected)


def test_the_saved_state_stays_as_it_was() -> None:
    source = Noise(generator(0, "noise"))
    saved = source.state()
    before = saved.clone()

    source.restore(saved)
    source.fill(torch.empty(1000))

    assert torch.equal(saved, before)


def test_numbers_of_double_precision_are_the_same_choices() -> None:
    double = Noise(generator(0, "noise")).fill(torch.empty(100, dtype=torch.float64))

    assert torch.allclose(double.float(), _drawn(100))
