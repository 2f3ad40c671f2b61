"""Sweeps: every sample once per sweep, nothing dropped, positions kept exactly."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from clbench.batching import Sweep, SweptStream
from clbench.errors import ClbenchError
from clbench.protocols import Batch


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _taken(sweep: Sweep, sizes: list[int]) -> list[int]:
    return torch.cat([sweep.next(size) for size in sizes]).tolist()


def test_each_index_comes_once_per_sweep_whatever_the_batches() -> None:
    indices = _taken(Sweep(10, _generator()), [4, 4, 4, 1, 7, 10])

    for start in (0, 10, 20):
        assert sorted(indices[start : start + 10]) == list(range(10))


def test_each_sweep_has_an_order_of_its_own() -> None:
    sweep = Sweep(50, _generator())

    first, second = sweep.next(50), sweep.next(50)

    assert first.tolist() != second.tolist()


def test_the_sizes_of_the_batches_do_not_change_the_order() -> None:
    in_small_batches = _taken(Sweep(7, _generator()), [3] * 10)
    in_one = _taken(Sweep(7, _generator()), [30])

    assert in_small_batches == in_one


def test_a_batch_may_be_larger_than_the_set() -> None:
    batch = Sweep(3, _generator()).next(8)

    assert batch.dtype == torch.int64
    assert torch.bincount(batch[:6]).tolist() == [2, 2, 2]
    assert batch.shape == (8,)


def test_equal_generators_give_equal_orders_and_others_do_not() -> None:
    order = _taken(Sweep(20, _generator(1)), [20])

    assert _taken(Sweep(20, _generator(1)), [20]) == order
    assert _taken(Sweep(20, _generator(2)), [20]) != order


@pytest.mark.parametrize("before", [0, 4, 10, 13])
def test_a_restored_sweep_goes_on_exactly(before: int) -> None:
    sweep = Sweep(10, _generator())
    sweep.next(before)
    state = sweep.state()
    expected = _taken(sweep, [3, 9, 25])

    sweep.restore(state)
    other = Sweep(10, _generator(99))
    other.restore(state)

    assert _taken(sweep, [3, 9, 25]) == expected
    assert _taken(other, [3, 9, 25]) == expected


def test_a_sweep_over_nothing_is_refused() -> None:
    text = "a sweep needs at least 1 sample, found 0"

    with pytest.raises(ClbenchError, match=f"^{re.escape(text)}$"):
        Sweep(0, _generator())


def test_a_stream_gathers_what_its_sweep_says_and_restores_it() -> None:
    def gather(index: Tensor) -> Batch:
        return Batch(inputs=10 * index, targets=index, task_id=None)

    stream = SweptStream(6, gather, _generator())
    sweep = Sweep(6, _generator())
    first = stream.next(4)
    state = stream.state()
    second = stream.next(4)
    stream.restore(state)

    assert first.targets.tolist() == sweep.next(4).tolist()
    assert first.inputs.tolist() == (10 * first.targets).tolist()
    assert second.targets.tolist() == sweep.next(4).tolist()
    assert stream.next(4).targets.tolist() == second.targets.tolist()
