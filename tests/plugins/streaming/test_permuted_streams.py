"""The streams: what changes at each task, and what does not."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from small_pictures import SmallPictures
from torch import Tensor

from clbench.protocols import Batch
from clbench.scenario import Scenario
from clbench_streaming.permuted_streams import (
    InputPermutedStream,
    LabelPermutedStream,
    PermutedStreamParams,
    StreamTask,
)

STREAMS = [InputPermutedStream, LabelPermutedStream]
each_stream = pytest.mark.parametrize("family", STREAMS, ids=["inputs", "labels"])


def _tasks(family: type, data_seed: int = 0, **params: object) -> Sequence[StreamTask]:
    values = PermutedStreamParams.model_validate({"num_tasks": 3} | params)
    found: Sequence[StreamTask] = family(values, SmallPictures()).tasks(
        data_seed, Scenario.TASK_FREE
    )
    return found


def _sweep(task: StreamTask, seed: int = 0) -> Batch:
    """Every sample once."""
    return task.train_stream(torch.Generator().manual_seed(seed)).next(task.train_size)


def _originals(task: StreamTask) -> tuple[Tensor, Tensor]:
    """The samples of `_sweep`, as they are stored: pixels from -1 to 1 ``(N, P)``, and labels."""
    order = torch.randperm(task.train_size, generator=torch.Generator().manual_seed(0))
    pixels = task.train.pictures[order].flatten(1).float() / 255 * 2 - 1
    return pixels, task.train.labels[order]


def test_each_task_has_an_order_of_pixels_of_its_own_the_first_one_too() -> None:
    tasks = _tasks(InputPermutedStream)
    pixels, labels = _originals(tasks[0])
    num_pixels = pixels.shape[1]

    orders = []
    for task in tasks:
        assert task.order is not None
        assert sorted(task.order.tolist()) == list(range(num_pixels))
        batch = _sweep(task)
        torch.testing.assert_close(batch.inputs.flatten(1), pixels[:, task.order])
        assert torch.equal(batch.targets, labels)
        orders.append(task.order.tolist())

    assert list(range(num_pixels)) not in orders
    assert len(set(map(tuple, orders))) == 3


def test_each_task_has_labels_of_its_own_the_first_one_too() -> None:
    tasks = _tasks(LabelPermutedStream, num_tasks=20)
    pixels, labels = _originals(tasks[0])
    classes = labels.unique().tolist()

    renamings = []
    for task in tasks:
        batch = _sweep(task)
        torch.testing.assert_close(batch.inputs.flatten(1), pixels)
        found = [batch.targets[labels == c].unique().tolist() for c in classes]
        assert all(len(names) == 1 for names in found)  # all samples of a class alike
        assert len({name for (name,) in found}) == len(classes)  # and no two classes
        renamings.append(tuple(name for (name,) in found))

    assert len(set(renamings)) > 1
    assert renamings.count(tuple(classes)) < 20


@each_stream
def test_numbers_are_on_the_scale_that_is_asked_for(family: type) -> None:
    unit, signed = (
        _sweep(_tasks(family, pixels=pixels)[1]).inputs for pixels in ("unit", "signed")
    )

    assert torch.equal((unit * 255).frac(), torch.zeros_like(unit))
    assert 0 <= float(unit.min()) < float(unit.max()) <= 1
    torch.testing.assert_close(signed, 2 * unit - 1)


@each_stream
def test_permutations_come_from_the_data_seed_and_the_task_alone(family: type) -> None:
    def permutations(tasks: Sequence[StreamTask]) -> list[list[int]]:
        both = [(task.order, task.labels) for task in tasks]
        return [one.tolist() for pair in both for one in pair if one is not None]

    first, longer = _tasks(family, num_tasks=8), _tasks(family, num_tasks=12)

    assert permutations(first) == permutations(longer)[:8]
    assert permutations(first) != permutations(_tasks(family, 1, num_tasks=8))


@each_stream
def test_a_task_gives_no_sample_twice_and_does_not_say_which_it_is(family: type) -> None:
    task = _tasks(family)[1]
    stream = task.train_stream(torch.Generator().manual_seed(3))

    batches = [stream.next(1) for _ in range(task.train_size)]

    together = torch.cat([batch.inputs for batch in batches]).flatten(1)
    everything = _sweep(task).inputs.flatten(1)
    assert sorted(together.tolist()) == sorted(everything.tolist())
    assert {batch.task_id for batch in batches} == {None}
    assert list(task.test_batches()) == []
