"""Batches and objectives of replicas, and what each of them gets back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clbench.protocols import Batch
from clbench.replicas import LockstepObjective, drawn, joint_tensors, observations, stacked
from clbench_copytask.scoring import Bitwise


def _sequences(steps: int, window: slice, task_ids: list[int] | int) -> Batch:
    """Two samples of one bit."""
    drawing = torch.Generator().manual_seed(steps)
    return Batch(
        inputs=torch.rand(steps, 2, 3, generator=drawing),
        targets=torch.rand(window.stop - window.start, 2, 1, generator=drawing).round(),
        task_id=task_ids if isinstance(task_ids, int) else torch.tensor(task_ids),
        window=window,
    )


def test_batches_get_a_leading_axis() -> None:
    batches = [_sequences(5, slice(3, 5), 1), _sequences(5, slice(3, 5), 1)]

    batch = stacked(batches)

    assert torch.equal(batch.inputs, torch.stack([one.inputs for one in batches]))
    assert torch.equal(batch.targets, torch.stack([one.targets for one in batches]))
    assert (batch.task_id, batch.window, batch.mask) == (1, slice(3, 5), None)


def test_batches_that_mix_tasks_stay_of_as_many() -> None:
    mixed = replace(_sequences(5, slice(3, 5), [0, 1]), num_tasks=2)

    assert stacked([mixed, mixed]).num_tasks == 2


def test_sequences_of_different_lengths_lose_nothing_and_gain_nothing() -> None:
    batches = [_sequences(5, slice(3, 5), [0, 1]), _sequences(7, slice(4, 7), [1, 1])]
    outputs = torch.randn(2, 4, 2, 1, generator=torch.Generator().manual_seed(0))

    batch = stacked(batches)
    losses = LockstepObjective(Bitwise()).losses(outputs, batch)
    seen = observations(losses.mean(1), outputs, batch, batches)

    assert batch.inputs.shape == (2, 7, 2, 3)
    assert batch.window == slice(3, 7)
    assert isinstance(batch.task_id, Tensor)
    assert batch.task_id.tolist() == [[0, 1], [1, 1]]
    for one, own, mine in zip(seen, batches, (outputs[0, :2], outputs[1, 1:]), strict=True):
        assert torch.equal(one.outputs, mine)
        torch.testing.assert_close(one.loss, Bitwise().losses(mine, own).mean())


def test_stop_flags_of_all_replicas_share_a_window_and_keep_their_own_steps() -> None:
    inputs = torch.zeros(2, 9, 1, 3)
    inputs[0, 2, 0, -1] = inputs[1, 4, 0, -1] = 1.0

    window, mask = LockstepObjective(Bitwise()).replay_window(inputs)

    assert window == slice(3, 9)
    assert mask is not None
    assert mask[:, :, 0].tolist() == [[1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 1]]


@pytest.mark.parametrize("count", [1, 3])
def test_every_replica_draws_from_its_own_generator(count: int) -> None:
    def generators() -> list[torch.Generator]:
        return [torch.Generator().manual_seed(seed) for seed in range(count)]

    found = drawn(generators(), lambda generator: torch.rand(4, generator=generator))

    expected = [torch.rand(4, generator=generator) for generator in generators()]
    assert torch.equal(found, expected[0] if count == 1 else torch.stack(expected))


def test_named_tensors_are_copied_side_by_side() -> None:
    replicas = [{"a": torch.zeros(2), "b": torch.ones(1)}, {"a": torch.ones(2), "b": torch.ones(1)}]

    together = joint_tensors(replicas)
    together["a"].fill_(5.0)

    assert {name: tuple(tensor.shape) for name, tensor in together.items()} == {
        "a": (2, 2),
        "b": (2, 1),
    }
    assert replicas[1]["a"].tolist() == [1.0, 1.0]
