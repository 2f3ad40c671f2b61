"""Flat parameters, and the optimiser with its look-ahead."""

from __future__ import annotations

import pytest
import torch

from clbench.config import Adam, Sgd, Training
from clbench.optimisation import (
    FlatParameters,
    Optimiser,
    StackedOptimiser,
    StackedParameters,
)


def _parameters() -> FlatParameters:
    generator = torch.Generator().manual_seed(0)
    return FlatParameters(
        {
            "W": torch.randn(3, 4, generator=generator).double(),
            "b": torch.randn(3, generator=generator).double(),
        }
    )


def _training(**values: object) -> Training:
    return Training.model_validate({"iterations": 1, "learning_rate": 0.01} | values)


TRAININGS = [
    _training(optimizer=Adam()),
    _training(optimizer=Adam(betas=(0.5, 0.9), eps=1e-4), weight_decay=0.1),
    _training(optimizer=Sgd()),
    _training(optimizer=Sgd(momentum=0.9), weight_decay=0.1),
    _training(optimizer=Sgd(momentum=0.9, nesterov=True)),
]


def test_gradients_and_steps_act_on_one_flat_buffer() -> None:
    parameters = _parameters()
    W, b = parameters.named["W"], parameters.named["b"]

    ((W * 2).sum() + (b * 3).sum()).backward()

    assert parameters.gradients.tolist() == [2.0] * 12 + [3.0] * 3
    parameters.values.add_(1.0)
    assert torch.equal(W.flatten(), parameters.values[:12])
    assert torch.equal(parameters.detached["b"], b.detach())
    parameters.zero_gradients()
    assert W.grad is not None
    assert W.grad.abs().max() == 0


@pytest.mark.parametrize(("norm", "largest", "scale"), [(10.0, 5.0, 0.5), (3.0, 5.0, 1.0)])
def test_gradients_are_clipped_by_their_global_norm(
    norm: float, largest: float, scale: float
) -> None:
    parameters = FlatParameters({"a": torch.zeros(1), "b": torch.zeros(1)})
    parameters.gradients.copy_(torch.tensor([0.6 * norm, 0.8 * norm]))

    parameters.clip_gradients(largest)

    assert parameters.gradients.tolist() == pytest.approx(
        [0.6 * norm * scale, 0.8 * norm * scale], rel=1e-6
    )


@pytest.mark.parametrize("training", TRAININGS)
def test_the_look_ahead_is_the_step_that_would_be_taken(training: Training) -> None:
    parameters = _parameters()
    optimiser = Optimiser(parameters, training)
    generator = torch.Generator().manual_seed(1)

    for _ in range(5):
        gradient = torch.randn(15, generator=generator).double()
        parameters.gradients.copy_(gradient)
        before = parameters.values.clone()
        ahead = optimiser.look_ahead(gradient)
        assert torch.equal(parameters.values, before)
        optimiser.step()
        torch.testing.assert_close(ahead, parameters.values - before, rtol=1e-9, atol=1e-12)


def test_the_first_step_of_adam_is_the_learning_rate_against_the_sign() -> None:
    parameters = FlatParameters({"w": torch.zeros(2)})
    optimiser = Optimiser(parameters, _training(learning_rate=0.1))

    ahead = optimiser.look_ahead(torch.tensor([5.0, -0.01]))

    assert ahead.tolist() == pytest.approx([-0.1, 0.1], rel=1e-5)


@pytest.mark.parametrize("training", TRAININGS)
def test_a_restored_optimiser_goes_on_as_the_saved_one(training: Training) -> None:
    first, second = _parameters(), _parameters()
    saved, restored = Optimiser(first, training), Optimiser(second, training)
    gradients = torch.randn(6, 15, generator=torch.Generator().manual_seed(2)).double()
    for gradient in gradients[:3]:
        first.gradients.copy_(gradient)
        saved.step()

    second.restore(first.state())
    restored.restore(saved.state())
    for gradient in gradients[3:]:
        for parameters, optimiser in ((first, saved), (second, restored)):
            parameters.gradients.copy_(gradient)
            optimiser.step()

    assert torch.equal(first.values, second.values)


def test_a_reset_optimiser_has_forgotten_its_moments() -> None:
    parameters = FlatParameters({"w": torch.zeros(1)})
    optimiser = Optimiser(parameters, _training(learning_rate=0.1))
    parameters.gradients.fill_(100.0)
    optimiser.step()

    optimiser.reset()

    assert optimiser.look_ahead(torch.tensor([-1.0])).tolist() == pytest.approx([0.1])


def _gradients(seed: int) -> torch.Tensor:
    return torch.randn(5, 15, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("training", TRAININGS)
def test_replicas_put_together_step_as_each_would_alone(training: Training) -> None:
    alone, together = ([_parameters() for _ in range(3)] for _ in range(2))
    singles = [Optimiser(parameters, training) for parameters in alone]
    optimisers = [Optimiser(parameters, training) for parameters in together]
    given = [_gradients(r) for r in range(3)]

    def step_alone(t: int, clip: float) -> None:
        for parameters, optimiser, gradients in zip(alone, singles, given, strict=True):
            parameters.gradients.copy_(gradients[t])
            parameters.clip_gradients(clip)
            optimiser.step()

    step_alone(0, 1e9)
    for parameters, optimiser, gradients in zip(together, optimisers, given, strict=True):
        parameters.gradients.copy_(gradients[0])
        optimiser.step()
    stacked = StackedParameters(together)
    program = StackedOptimiser(optimisers, stacked)
    for t in range(1, 4):
        stacked.gradients.copy_(torch.stack([gradients[t] for gradients in given]))
        ahead = program.look_ahead(stacked.gradients)
        for r, optimiser in enumerate(singles):
            torch.testing.assert_close(ahead[r], optimiser.look_ahead(given[r][t]))
        stacked.clip_gradients(2.0)
        program.step()
        step_alone(t, 2.0)
    for parameters, optimiser, gradients in zip(together, optimisers, given, strict=True):
        parameters.gradients.copy_(gradients[4])
        optimiser.step()  # alone again
    step_alone(4, 1e9)

    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other.values, one.values)
    for single, optimiser in zip(singles, optimisers, strict=True):
        torch.testing.assert_close(optimiser.state(), single.state())


def test_gradients_of_replicas_are_added_and_stay_where_they_belong() -> None:
    stacked = StackedParameters([_parameters() for _ in range(2)])
    factors = torch.tensor([2.0, 3.0]).double()

    stacked.add_gradients((stacked.named["W"].sum((1, 2)) * factors).sum())
    stacked.add_gradients(stacked.named["W"].sum())

    assert stacked.gradients.tolist() == [[3.0] * 12 + [0.0] * 3, [4.0] * 12 + [0.0] * 3]
