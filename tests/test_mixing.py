"""Batches that mix tasks."""

from __future__ import annotations

import torch
import toys

from clbench.mixing import MixedStream, concatenate
from clbench.protocols import Batch
from clbench.scenario import Scenario


def _sequence(S: int, B: int, window: slice, value: float) -> Batch:
    W = window.stop - window.start
    return Batch(
        inputs=torch.full((S, B, 2), value),
        targets=torch.full((W, B, 1), value),
        task_id=None,
        window=window,
    )


def test_sequences_of_one_length_are_set_side_by_side() -> None:
    a, b = _sequence(3, 2, slice(1, 3), 1.0), _sequence(3, 1, slice(1, 3), 2.0)

    both = concatenate([a, b])

    assert both.inputs[0, :, 0].tolist() == [1.0, 1.0, 2.0]
    assert both.targets[:, :, 0].tolist() == [[1.0, 1.0, 2.0]] * 2
    assert both.window == slice(1, 3)
    assert both.mask is None


def test_sequences_of_different_lengths_are_filled_up_and_masked() -> None:
    a, b = _sequence(3, 2, slice(2, 3), 1.0), _sequence(5, 1, slice(3, 5), 2.0)

    both = concatenate([a, b])

    assert both.inputs[:, :, 0].tolist() == [[1.0, 1.0, 2.0]] * 3 + [[0.0, 0.0, 2.0]] * 2
    assert both.window == slice(2, 5)
    assert both.targets[:, :, 0].tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 2.0]]
    assert both.mask is not None
    assert both.mask.tolist() == [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]


def test_pictures_are_set_one_after_another() -> None:
    parts = [
        Batch(inputs=torch.zeros(n, 1, 2, 2), targets=torch.full((n,), n), task_id=None)
        for n in (1, 2)
    ]

    both = concatenate(parts)

    assert both.inputs.shape == (3, 1, 2, 2)
    assert both.targets.tolist() == [1, 2, 2]


def _stream(seed: int = 0, gives_task_id: bool = True) -> MixedStream:
    tasks = toys.Pictures(toys.TwoParams(num_train=64)).tasks(0, Scenario.CLASS_IL)
    streams = [t.train_stream(torch.Generator().manual_seed(i)) for i, t in enumerate(tasks)]
    return MixedStream(streams, torch.Generator().manual_seed(seed), gives_task_id)


def test_ids_say_which_task_each_sample_is_from() -> None:
    batch = _stream().next(100)

    assert isinstance(batch.task_id, torch.Tensor)
    assert torch.equal(batch.targets // 2, batch.task_id)  # class-il labels tell the task
    assert torch.bincount(batch.task_id, minlength=3).min() > 15


def test_ids_can_be_withheld() -> None:
    assert _stream(gives_task_id=False).next(10).task_id is None


def test_a_restored_stream_goes_on_as_the_saved_one() -> None:
    saved, restored = _stream(), _stream(seed=5)
    saved.next(50)

    restored.restore(saved.state())

    for _ in range(3):
        assert torch.equal(saved.next(33).inputs, restored.next(33).inputs)
