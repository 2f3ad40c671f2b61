"""Fixed random masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
import torch
import toys

from clbench.config import Sgd, Training
from clbench.errors import UnavailableError
from clbench.protocols import (
    Batch,
    Context,
    Learner,
    LearnerContext,
    MainNet,
    Query,
    Regularizer,
    SequenceSpec,
)
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import LearnerContract
from clbench_copytask.elman import Elman
from clbench_copytask.lstm import Lstm
from clbench_copytask.recurrent import RecurrentParams
from clbench_masking.random_masks import RandomMasks, RandomMasksParams, draw_masks
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams

SPEC = SequenceSpec(kind="sequence", input_shape=(1,), outputs_per_task=1, num_tasks=3)
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 3, 1)


def test_masks_of_seed_42_are_those_of_the_source() -> None:
    masks = draw_masks(256, 0.8, 5, np.random.RandomState(42))

    kept = [mask.nonzero().flatten().tolist() for mask in masks]

    assert [units[:5] for units in kept] == [
        [1, 14, 20, 21, 37],
        [1, 6, 8, 10, 36],
        [1, 3, 7, 11, 15],
        [0, 2, 3, 11, 22],
        [0, 4, 8, 10, 12],
    ]
    assert [sum(units) for units in kept] == [7141, 7292, 6260, 6735, 5570]
    assert {len(units) for units in kept} == {52}
    assert len(set().union(*kept)) == 176
    overlaps = [len(set(a) & set(b)) for i, a in enumerate(kept) for b in kept[:i]]
    assert (min(overlaps), max(overlaps)) == (5, 16)
    assert sum(overlaps) / len(overlaps) == pytest.approx(10.1)


def _context(
    net: MainNet, *regularizers: Regularizer, training: Training | None = None
) -> LearnerContext:
    return toys.context(
        net=net,
        layout=LAYOUT,
        objective=cast(Any, toys.Squares()),
        training=training or Training(iterations=1, learning_rate=0.1, optimizer=Sgd()),
        regularizers=regularizers,
    )


def _elman(hidden_size: int = 10) -> Elman:
    return Elman(RecurrentParams(hidden_size=hidden_size), SPEC, LAYOUT)


def _batches(task_id: int, count: int) -> list[Batch]:
    return toys.batches(toys.Echoes(toys.TwoParams()), task_id, count)


def test_masked_units_are_silent_and_their_weights_do_not_move() -> None:
    net = _elman()
    learner = RandomMasks(RandomMasksParams(mask_fraction=0.5), _context(net))
    mask = learner.forward_context(1, training=True).gains["h"]
    off = mask == 0
    before = {n: t.detach().clone() for n, t in learner.parameters.named.items()}

    for batch in _batches(1, 3):
        learner.observe(batch)

    assert off.sum() == 5
    for name in ("W_ih", "b_ih", "W_hh", "b_hh", "W_ho", "b_ho"):
        moved = learner.parameters.named[name].detach() != before[name]
        assert not moved[off].any()
        assert moved[~off].any()
    assert not (learner.parameters.named["W_hh"].detach() != before["W_hh"])[:, off].any()
    outputs = net(
        {n: t.detach() for n, t in learner.parameters.named.items()},
        _batches(1, 1)[0],
        Context(gains={"h": mask, "y": mask}),
    )
    query = Query(inputs=_batches(1, 1)[0].inputs, task_id=1, window=slice(2, 3))
    assert torch.equal(learner.predict(query), LAYOUT.select(outputs, 1))


def test_each_sample_of_a_mixed_batch_has_the_mask_of_its_task() -> None:
    learner = RandomMasks(RandomMasksParams(), _context(_elman()))
    ids = torch.tensor([0, 2, 1])

    mixed = learner.forward_context(ids, training=True).gains["y"]

    for b, task_id in enumerate(ids.tolist()):
        assert torch.equal(mixed[b], learner.forward_context(task_id, training=True).gains["y"])


@pytest.mark.parametrize("seed", [0, 7])
def test_masks_are_drawn_from_the_model_seed(seed: int) -> None:
    context = replace(_context(_elman(256)), model_seed=seed)

    learner = RandomMasks(RandomMasksParams(mask_fraction=0.8), context)

    gains = [learner.forward_context(task_id, training=False).gains for task_id in range(3)]
    expected = draw_masks(256, 0.8, 3, np.random.RandomState(seed))
    assert torch.equal(torch.stack([gain["h"] for gain in gains]), expected)
    assert torch.equal(torch.stack([gain["y"] for gain in gains]), expected)


@pytest.mark.parametrize(("fraction", "masked"), [(0.8, 204), (0.25, 64), (0.0, 0)])
def test_as_many_units_are_masked_as_the_fraction_says(fraction: float, masked: int) -> None:
    learner = RandomMasks(RandomMasksParams(mask_fraction=fraction), _context(_elman(256)))

    for task_id in range(3):
        gains = learner.forward_context(task_id, training=True).gains
        assert [int((gain == 0).sum()) for gain in gains.values()] == [masked, masked]


@dataclass
class _Data:
    batch: Batch
    num_samples: int = 8

    def batches(self, num_samples: int) -> Iterator[Batch]:
        yield self.batch


def test_an_ended_task_is_consolidated_under_its_own_mask() -> None:
    net = _elman()
    ewc = OnlineEwc(OnlineEwcParams(ewc_lambda=1.0), net)
    learner = RandomMasks(RandomMasksParams(mask_fraction=0.5), _context(net, ewc))
    (batch,) = _batches(2, 1)

    learner.end_task(2, _Data(batch))

    importance = ewc.state()["fisher"]["b_ho"]
    mask = learner.forward_context(2, training=False).gains["y"]
    assert torch.equal(importance > 0, mask == 1)
    assert not torch.equal(mask, learner.forward_context(0, training=False).gains["y"])


def test_a_net_without_gains_cannot_be_masked() -> None:
    net = Lstm(RecurrentParams(hidden_size=4), SPEC, LAYOUT)

    with pytest.raises(UnavailableError, match=r"^Lstm has no units that can be masked$"):
        RandomMasks(RandomMasksParams(), _context(net))


class TestContractWithSi(LearnerContract):
    def build(self) -> Learner:
        net = _elman()
        si = SynapticIntelligence(SynapticIntelligenceParams(), net)
        training = Training(iterations=1, learning_rate=0.01, clip_grad_norm=100.0)
        return RandomMasks(
            RandomMasksParams(mask_fraction=0.3), _context(net, si, training=training)
        )

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        return _batches(task_id, count)
