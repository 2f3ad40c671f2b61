"""What memories keep, and what they give back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from clbench.protocols import Batch
from clbench.testing import equal, snapshot

from clbench_agem.memory import Memory, Reservoir, Ring, one, together


def _numbers(first: int, last: int, task_id: int | None = 0) -> Batch:
    """Samples whose only input is their number."""
    inputs = torch.arange(first, last).float().unsqueeze(1)
    return Batch(inputs=inputs, targets=-inputs, task_id=task_id)


def _stored(memory: Memory) -> list[int]:
    return [int(sample.inputs) for sample in memory.samples]


def test_a_ring_keeps_the_newest_samples_of_each_task() -> None:
    ring = Ring(3, torch.Generator())

    ring.add(_numbers(0, 2, task_id=0))
    ring.add(_numbers(2, 4, task_id=0))
    ring.add(_numbers(10, 20, task_id=1))

    assert _stored(ring) == [1, 2, 3, 17, 18, 19]
    assert [sample.task_id for sample in ring.samples] == [0, 0, 0, 1, 1, 1]


def test_a_reservoir_keeps_everything_while_it_has_room() -> None:
    reservoir = Reservoir(5, torch.Generator())

    reservoir.add(_numbers(0, 3))
    reservoir.add(_numbers(3, 5))

    assert _stored(reservoir) == [0, 1, 2, 3, 4]


def test_a_reservoir_keeps_every_sample_with_the_same_probability() -> None:
    """Each of 40 samples is kept with p = 1/4, so by 2000 reservoirs 500 times, with a standard
    deviation of 19.4; five of them are allowed."""
    kept = torch.zeros(40)
    generator = torch.Generator().manual_seed(0)
    for _ in range(2000):
        reservoir = Reservoir(10, generator)
        for first in range(0, 40, 8):
            reservoir.add(_numbers(first, first + 8))
        kept[_stored(reservoir)] += 1

    assert kept.sum() == 2000 * 10
    assert (kept - 500).abs().max() < 5 * 19.4


@pytest.mark.parametrize("memory", [Ring, Reservoir])
def test_samples_are_drawn_without_replacement_and_at_most_those_there_are(memory: type) -> None:
    filled = memory(50, torch.Generator().manual_seed(0))
    filled.add(_numbers(0, 50))

    (some,), (all_of_them,) = filled.draw(20), filled.draw(80)

    assert len(set(some.inputs.flatten().tolist())) == 20
    assert sorted(all_of_them.inputs.flatten().tolist()) == list(range(50))
    assert torch.equal(all_of_them.targets, -all_of_them.inputs)


@pytest.mark.parametrize("memory", [Ring, Reservoir])
def test_a_restored_memory_keeps_and_draws_as_the_saved_one(memory: type) -> None:
    saved, restored = (memory(4, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    saved.add(_numbers(0, 9))
    restored.add(_numbers(50, 53))

    restored.restore(snapshot(saved.state()))
    for one_of_both in (saved, restored):
        one_of_both.add(_numbers(9, 30))

    assert equal(saved.state(), restored.state())
    assert equal(saved.draw(3)[0].inputs, restored.draw(3)[0].inputs)


def test_samples_of_other_tasks_lengths_and_windows_stay_apart() -> None:
    sequence = Batch(
        inputs=torch.arange(24.0).view(4, 3, 2),
        targets=torch.arange(6.0).view(2, 3, 1),
        mask=torch.ones(2, 3),
        task_id=torch.tensor([0, 1, 0]),
        window=slice(2, 4),
    )
    longer = replace(one(sequence, 2), inputs=torch.zeros(5, 1, 2), window=slice(3, 5))

    first, second, third = together([*(one(sequence, i) for i in range(3)), longer])

    assert (first.task_id, second.task_id, third.task_id) == (0, 1, 0)
    assert torch.equal(first.inputs, sequence.inputs[:, [0, 2]])
    assert torch.equal(first.targets, sequence.targets[:, [0, 2]])
    assert first.mask is not None
    assert first.mask.shape == (2, 2)
    assert third.window == slice(3, 5)


def test_a_stored_sample_does_not_change_with_the_batch_it_came_from() -> None:
    batch = _numbers(0, 3)
    stored = one(batch, 1)

    batch.inputs.zero_()

    assert stored.inputs.item() == 1.0
