"""Copy data: the conformance values of the source at data seed 42, and samples read by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from clbench_copytask.manipulations import unchanged
from clbench_copytask.sequences import CopyTask, Inputs, Samples, draw_inputs
from clbench_copytask.timeline import Padding, Timeline


def _splits(timeline: Timeline) -> tuple[Inputs, ...]:
    random = np.random.RandomState(42)
    return tuple(draw_inputs(random, n, 7, [timeline]) for n in (100_000, 1000, 1000))


@pytest.fixture(scope="module")
def short() -> tuple[Inputs, ...]:
    """Train, test and validation inputs of the published size, 11 steps."""
    return _splits(Timeline(5, 5))


@pytest.fixture(scope="module")
def padded() -> tuple[Inputs, ...]:
    """The same with 20 steps of padding, 31 steps."""
    return _splits(Timeline(25, 5))


def _small(*timelines: Timeline, count: int = 60, seed: int = 3) -> Samples:
    inputs = draw_inputs(np.random.RandomState(seed), count, 7, timelines)
    return Samples.of(inputs, unchanged)


def _text(steps: Tensor) -> str:
    """``(S, 7)`` bits as text, one word per time step."""
    return " ".join("".join(str(int(bit)) for bit in step) for step in steps)


@pytest.mark.parametrize(
    ("name", "steps", "train", "test"),
    [
        (
            "short",
            11,
            "0111000 1101100 1110100 1010001 0001011",
            "0011010 0000100 1100011 0100111 0001001",
        ),
        (
            "padded",
            31,
            "0111000 1101100 1110100 1010001 0001011",
            "0011010 0100011 1000100 1001110 0011110",
        ),
    ],
)
def test_the_first_patterns_are_those_of_the_source(
    name: str, steps: int, train: str, test: str, request: pytest.FixtureRequest
) -> None:
    splits: tuple[Inputs, ...] = request.getfixturevalue(name)

    assert [s.stored.shape for s in splits] == [(n, steps, 8) for n in (100_000, 1000, 1000)]
    assert _text(splits[0].stored[0, :5, :7]) == train
    assert _text(splits[1].stored[0, :5, :7]) == test


@pytest.mark.parametrize(
    ("name", "ones"), [("short", [1749816, 17649, 17629]), ("padded", [1749816, 17567, 17516])]
)
def test_the_counts_of_ones_are_those_of_the_source(
    name: str, ones: list[int], request: pytest.FixtureRequest
) -> None:
    splits: tuple[Inputs, ...] = request.getfixturevalue(name)

    assert [int(s.stored[:, :5, :7].sum()) for s in splits] == ones
    assert [int(s.stored.sum()) for s in splits] == [
        n + len(s.stored) for n, s in zip(ones, splits, strict=True)
    ]


@pytest.mark.parametrize("name", ["short", "padded"])
def test_the_only_stop_flag_follows_the_input(name: str, request: pytest.FixtureRequest) -> None:
    inputs: Inputs = request.getfixturevalue(name)[1]
    flags = torch.zeros_like(inputs.stored[:, :, 7])
    flags[:, 5 if name == "short" else 25] = 1

    assert torch.equal(inputs.stored[:, :, 7], flags)


def test_draws_are_those_of_one_call_over_all_steps() -> None:
    samples = _small(Timeline(6, 2), count=4, seed=5)
    drawn = np.random.RandomState(5).rand(9, 4, 7) > 0.5

    assert samples.inputs[:, :2, :7].numpy().tolist() == drawn[:2].transpose(1, 0, 2).tolist()


@pytest.mark.parametrize(
    ("timeline", "steps", "window"),
    [
        (Timeline(5, 5), 11, slice(6, 11)),
        (Timeline(25, 5), 31, slice(26, 31)),
        (Timeline(25, 5, "random"), 31, slice(26, 31)),
        (Timeline(25, 5, "after-stop"), 31, slice(6, 31)),
    ],
)
def test_batches_are_time_major_floats_with_targets_for_the_window_only(
    timeline: Timeline, steps: int, window: slice
) -> None:
    batch = _small(timeline).batch(torch.tensor([3, 1, 3, 2]))

    assert batch.inputs.shape == (steps, 4, 8)
    assert batch.targets.shape == (window.stop - window.start, 4, 7)
    assert batch.inputs.dtype == batch.targets.dtype == torch.float32
    assert batch.inputs.is_contiguous()
    assert batch.targets.is_contiguous()
    assert (batch.window, batch.mask, batch.task_id) == (window, None, None)


def test_a_plain_sample_is_pattern_stop_flag_and_silence() -> None:
    samples = _small(Timeline(3, 3))
    batch = samples.batch(torch.tensor([7]))
    x = batch.inputs[:, 0]

    assert torch.equal(batch.targets[:, 0], x[:3, :7])
    assert x[:, 7].tolist() == [0, 0, 0, 1, 0, 0, 0]
    assert int(x[3:].sum()) == 1
    assert torch.equal(x, samples.inputs[7].float())


@pytest.mark.parametrize("padding", ["zeros", "random"])
def test_padding_stands_between_pattern_and_stop_flag(padding: Padding) -> None:
    samples = _small(Timeline(6, 2, padding))
    drawn = np.random.RandomState(3).rand(9, 60, 7) > 0.5
    filled = 6 if padding == "random" else 2
    expected = np.zeros((60, 9, 8), dtype=np.uint8)
    expected[:, :filled, :7] = drawn[:filled].transpose(1, 0, 2)
    expected[:, 6, 7] = 1

    assert samples.inputs.numpy().tolist() == expected.tolist()
    assert torch.equal(samples.targets, samples.inputs[:, :2, :7])


def test_padding_after_the_stop_flag_is_zeros_to_recall_before_the_pattern() -> None:
    samples = _small(Timeline(6, 2, "after-stop"))

    assert samples.inputs.shape == (60, 9, 8)
    assert samples.window == slice(3, 9)
    assert torch.equal(samples.inputs[:, 2, 7], torch.ones(60, dtype=torch.uint8))
    assert int(samples.inputs[:, 2:].sum()) == 60
    assert int(samples.targets[:, :4].sum()) == 0
    assert torch.equal(samples.targets[:, 4:], samples.inputs[:, :2, :7])


def test_lengths_are_drawn_after_the_bits_one_sample_after_the_other() -> None:
    samples = _small(*(Timeline(i, i) for i in (3, 4, 5)), seed=9)
    random = np.random.RandomState(9)
    random.rand(11, 60, 7)
    one_by_one = [int(random.randint(3, 6)) for _ in range(60)]

    assert samples.inputs[:, :, 7].argmax(1).tolist() == one_by_one
    assert set(one_by_one) == {3, 4, 5}


def test_lengths_are_drawn_before_the_bits_of_the_next_split() -> None:
    timelines = [Timeline(i, i) for i in (3, 4, 5)]
    random, reference = np.random.RandomState(9), np.random.RandomState(9)
    draw_inputs(random, 20, 7, timelines)
    reference.rand(11, 20, 7)
    reference.randint(3, 6, size=20)

    assert random.rand() == reference.rand()


def test_plain_samples_of_different_lengths_each_have_their_own_window() -> None:
    samples = _small(*(Timeline(i, i) for i in (3, 4, 5)))
    drawn = torch.from_numpy(np.random.RandomState(3).rand(11, 60, 7) > 0.5).transpose(0, 1)
    lengths = samples.inputs[:, :, 7].argmax(1).tolist()

    assert samples.window == slice(4, 11)
    assert samples.mask is not None
    for row, i in enumerate(lengths):
        x = torch.zeros(11, 8, dtype=torch.uint8)
        x[:i, :7] = drawn[row, :i]
        x[i, 7] = 1
        y = torch.zeros(11, 7, dtype=torch.uint8)
        y[i + 1 : 2 * i + 1] = drawn[row, :i]
        scored = torch.zeros(11, dtype=torch.uint8)
        scored[i + 1 : 2 * i + 1] = 1
        assert torch.equal(samples.inputs[row], x)
        assert torch.equal(samples.targets[row], y[4:])
        assert torch.equal(samples.mask[row], scored[4:])


@pytest.mark.parametrize(
    ("padding", "window", "scored"),
    [
        ("zeros", slice(5, 9), {4: [1, 1, 0, 0], 5: [0, 1, 1, 0], 6: [0, 0, 1, 1]}),
        ("random", slice(5, 9), {4: [1, 1, 0, 0], 5: [0, 1, 1, 0], 6: [0, 0, 1, 1]}),
        (
            "after-stop",
            slice(3, 9),
            {4: [1, 1, 1, 1, 0, 0], 5: [1, 1, 1, 1, 1, 0], 6: [1, 1, 1, 1, 1, 1]},
        ),
    ],
)
def test_padded_samples_of_different_lengths_each_have_their_own_window(
    padding: Padding, window: slice, scored: dict[int, list[int]]
) -> None:
    samples = _small(*(Timeline(i, 2, padding) for i in (4, 5, 6)), seed=8)
    random = np.random.RandomState(8)
    random.rand(9, 60, 7)
    lengths = random.randint(4, 7, size=60).tolist()

    assert samples.window == window
    assert samples.mask is not None
    for row, i in enumerate(lengths):
        recall = slice(i + 1 - window.start, i + 3 - window.start)  # the last two of i + 3 steps
        stop = 2 if padding == "after-stop" else i
        assert samples.mask[row].tolist() == scored[i]
        assert samples.inputs[row, stop].tolist() == [0] * 7 + [1]
        assert torch.equal(samples.targets[row, recall], samples.inputs[row, :2, :7])
        assert samples.targets[row].sum() == samples.inputs[row, :2].sum()
        assert int(samples.inputs[row, stop + 1 :].sum()) == 0


def test_batches_of_different_lengths_carry_a_mask_in_the_form_of_the_targets() -> None:
    samples = _small(*(Timeline(i, i) for i in (3, 4, 5)))
    assert samples.mask is not None

    batch = samples.batch(torch.tensor([5, 0]))

    assert batch.mask is not None
    assert batch.mask.dtype == torch.float32
    assert batch.mask.T.tolist() == samples.mask[[5, 0]].tolist()


def test_evaluation_gives_every_sample_once_in_order() -> None:
    samples = _small(Timeline(2, 2), count=2500)

    batches = list(samples.batches())

    assert [b.inputs.shape[1] for b in batches] == [1000, 1000, 500]
    together = torch.cat([b.inputs for b in batches], dim=1)
    assert torch.equal(together.transpose(0, 1), samples.inputs.float())


def test_a_task_streams_its_training_samples_and_evaluates_the_others() -> None:
    train, test, validation = (_small(Timeline(5, 5), count=n) for n in (30, 20, 10))
    task = CopyTask(train, test, validation)

    sweep = task.train_stream(torch.Generator().manual_seed(0)).next(30)
    (tested,) = task.test_batches()

    def rows(inputs: Tensor) -> list[list[float]]:
        return sorted(inputs.flatten(1).tolist())

    assert task.train_size == 30
    assert rows(sweep.inputs.transpose(0, 1)) == rows(train.inputs.float())
    assert torch.equal(tested.inputs.transpose(0, 1), test.inputs.float())
