"""What is rehearsed, and how much it weighs."""

from __future__ import annotations

import pytest
import torch
import toys

from clbench.errors import UnavailableError
from clbench.protocols import Query
from clbench_copytask import scoring
from clbench_copytask.padded_copy import PaddedCopy, PaddedCopyParams
from clbench_copytask.scoring import Bitwise
from clbench_copytask.timeline import Padding
from clbench_replay.distillation import Lesson, distillation, require_distillable, share_out


@pytest.mark.parametrize(
    ("count", "tasks", "shares"),
    [(128, 1, [128]), (128, 2, [64, 64]), (128, 3, [42, 43, 43]), (3, 4, [0, 1, 1, 1])],
)
def test_inputs_are_shared_out_evenly_with_the_rest_to_random_tasks(
    count: int, tasks: int, shares: list[int]
) -> None:
    drawing = torch.Generator().manual_seed(0)

    drawn = [share_out(count, tasks, drawing).tolist() for _ in range(50)]

    assert all(sorted(one) == shares for one in drawn)
    if len(set(shares)) > 1:
        assert len({tuple(one) for one in drawn}) == tasks  # every task gets the short share


def test_the_loss_is_a_sum_over_tasks_of_means() -> None:
    """Three samples of task 0 and one of task 1, one bit each, worked out by hand."""
    outputs = torch.zeros(1, 4, 1)  # sigmoid(0 / 2) = 1/2 costs ln 2 whatever is taught
    query = Query(inputs=torch.zeros(1, 4, 1), task_id=torch.tensor([0, 0, 0, 1]))
    lesson = Lesson(query, torch.randn(1, 4, 1), None, torch.tensor([1 / 3, 1 / 3, 1 / 3, 1.0]))

    loss = distillation(outputs, lesson, Bitwise(), temperature=2.0)

    torch.testing.assert_close(loss, 2 * 4 * torch.tensor(2.0).log())  # two tasks, T^2 = 4


def test_the_distillation_loss_of_bits_is_softened_and_scaled() -> None:
    outputs, taught = torch.tensor([[[2.0], [0.0]]]), torch.tensor([[[-2.0], [4.0]]])
    p, q = torch.sigmoid(torch.tensor(1.0)), torch.sigmoid(torch.tensor(-1.0))
    # sample 0: -4 (q ln p + (1 - q) ln(1 - p)); sample 1 is masked out
    expected = -4 * (q * p.log() + (1 - q) * (1 - p).log())

    losses = Bitwise().distillation_losses(outputs, taught, 2.0, torch.tensor([[1.0, 0.0]]))

    torch.testing.assert_close(losses, torch.stack([expected, torch.tensor(0.0)]))


def test_its_gradient_vanishes_where_the_teacher_is_matched() -> None:
    taught = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    outputs = taught.clone().requires_grad_()

    Bitwise().distillation_losses(outputs, taught, 2.0, None).sum().backward()

    assert outputs.grad is not None
    assert outputs.grad.abs().max() < 1e-6


def _with_stops(*stops: int, steps: int = 11) -> torch.Tensor:
    inputs = torch.rand(steps, len(stops), 3) * 0.1
    for b, stop in enumerate(stops):
        inputs[stop, b, -1] = 0.9
    return inputs


def test_the_window_follows_the_stop_flag_of_the_replayed_input() -> None:
    window, mask = Bitwise().replay_window(_with_stops(5, 5))

    assert window == slice(6, 11)
    assert mask is None


def test_samples_with_other_stop_flags_have_their_own_steps() -> None:
    window, mask = Bitwise().replay_window(_with_stops(2, 5, 9, 0))
    # [3, 5), [6, 11), [10, 11) after clipping, and an empty window

    assert window == slice(1, 11)
    assert mask is not None
    scored = [(mask[:, b].nonzero().flatten() + 1).tolist() for b in range(4)]
    assert scored == [[3, 4], [6, 7, 8, 9, 10], [10], []]


@pytest.mark.parametrize("stop", [0, 10])
def test_a_window_is_never_empty_even_where_nothing_is_scored(stop: int) -> None:
    window, mask = Bitwise().replay_window(_with_stops(stop))

    assert 0 <= window.start < window.stop <= 11
    assert mask is not None
    assert mask.sum() == 0


def test_where_a_window_would_be_waited_for_it_is_all_steps_with_the_same_losses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = _with_stops(2, 5, 9, 0)
    outputs, taught = torch.randn(2, 11, 4, 3, generator=torch.Generator().manual_seed(0))
    window, mask = Bitwise().replay_window(inputs)
    expected = Bitwise().distillation_losses(outputs[window], taught[window], 2.0, mask)
    monkeypatch.setattr(scoring, "CPU", torch.device("meta"))

    everything, scored = Bitwise().replay_window(inputs)

    assert everything == slice(0, 11)
    found = Bitwise().distillation_losses(outputs, taught, 2.0, scored)
    torch.testing.assert_close(found, expected)


def test_an_objective_without_distillation_is_refused() -> None:
    with pytest.raises(UnavailableError, match=r"^CrossEntropy defines no distillation$"):
        require_distillable(toys.CrossEntropy())


@pytest.mark.parametrize("padding", ["zeros", "random", "after-stop"])
def test_padded_tasks_are_refused_as_inputs_do_not_tell_what_is_scored(padding: Padding) -> None:
    params = PaddedCopyParams(input_length=12, pattern_length=3, padding=padding)

    with pytest.raises(UnavailableError) as caught:
        require_distillable(PaddedCopy(params).objective)

    assert str(caught.value) == "PaddedBitwise defines no distillation"
