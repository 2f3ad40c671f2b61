"""What is recorded besides scores: streams sample by sample, and the activity of nets."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, cast

import pytest
import torch
import toys
from torch import Tensor

from clbench.config import Training
from clbench.observing import ActivityKeeper, StreamKeeper, StreamKeepers
from clbench.protocols import (
    Batch,
    Context,
    LearnerContext,
    Observation,
    Query,
    SequenceSpec,
    Tally,
)
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import equal, snapshot
from clbench.weight_learner import WeightLearner
from clbench_sparse.k_winners import KWinnersParams
from clbench_streaming.perturbed_sgd import PerturbedSgd, PerturbedSgdParams
from clbench_vision.mlp import Mlp, MlpParams

LAYOUT = OutputLayout(Scenario.TASK_FREE, "shared", 2, 2)


SPEC = SequenceSpec(kind="classification", input_shape=(2,), outputs_per_task=2, num_tasks=2)


def _context(net: Mlp) -> LearnerContext:
    return toys.context(
        spec=SPEC,
        net=net,
        layout=LAYOUT,
        objective=toys.CrossEntropy(),
        training=Training(iterations=1, batch_size=1, learning_rate=0.1),
    )


class _Net:
    """Shows the activity that a test dictates; its outputs are its inputs."""

    def __init__(self, **activity: Tensor) -> None:
        self.activity = activity

    def with_activity(
        self, params: Any, query: Query, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        shift = int(params["W"][0, 0]) - 1  # other weights, other units
        return query.inputs, {name: layer.roll(shift, 1) for name, layer in self.activity.items()}

    def statistics(self) -> dict[str, float]:
        return {"entropy": 0.5}

    @classmethod
    def in_lockstep(cls, replicas: Sequence[_Net]) -> _Nets:
        return _Nets(replicas)


class _Nets:
    """Shows what each of them shows."""

    def __init__(self, nets: Sequence[_Net]) -> None:
        self._nets = nets

    def with_activity(
        self, params: Any, query: Query, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        shown = [net.with_activity(params, query, context)[1] for net in self._nets]
        return query.inputs, {name: torch.stack([one[name] for one in shown]) for name in shown[0]}


class _Learner:
    def weights(self, task_id: int | None) -> dict[str, Tensor]:
        value = 1.0 if task_id is None else 1.0 + task_id
        return {"W": torch.tensor([[value, -2.0]]), "b": torch.tensor([100.0])}

    def gradients(self) -> dict[str, Tensor]:
        return {"W": torch.tensor([[0.0, 3.0]]), "b": torch.tensor([100.0])}


class _Objective:
    """The loss after an update is the first input; every other answer is right."""

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return outputs[:, 0]

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        return Tally(100.0 * float(batch.targets[0]), 1)


def _keeper(net: Any) -> StreamKeeper:
    return StreamKeeper(cast(Any, _Learner()), net, LAYOUT, cast(Any, _Objective()))


def _update(before: float, after: float, is_right: int) -> tuple[Observation, Batch]:
    batch = Batch(
        inputs=torch.tensor([[after, 0.0]]), targets=torch.tensor([is_right]), task_id=None
    )
    return Observation(torch.tensor(before), torch.zeros(1, 2)), batch


def _add(keeper: StreamKeeper, before: float, after: float, is_right: int) -> None:
    keeper.add(*_update(before, after, is_right))


def test_a_stream_is_summed_up_task_by_task() -> None:
    keeper = _keeper(_Net(h1=torch.tensor([[0.0, 1.0, 2.0]]), h2=torch.tensor([[0.0]])))

    for task in (((2.0, 1.0, 0), (1.0, 4.0, 1)), ((4.0, 0.0, 1), (0.0, 0.0, 1))):
        for before, after, is_right in task:
            _add(keeper, before, after, is_right)
        keeper.end_task()

    online = keeper.online()
    assert online.loss == (1.5, 2.0)
    assert online.score == (50.0, 100.0)
    # 1 - 1/2 and 1 - 4/1 clamped at 0; 1 - 0/4 and 1 - 0/1e-8
    assert online.plasticity == (0.25, 1.0)
    assert online.first_loss == (2.0, 4.0)
    assert online.first_score == (0.0, 100.0)
    found = keeper.statistics()
    assert found["inactive_units"] == (0.5, 0.5)  # two of four
    assert found["entropy"] == (0.5, 0.5)  # what the net tells of itself


def test_units_of_convolutions_are_not_counted_as_inactive() -> None:
    keeper = _keeper(_Net(c1=torch.zeros(1, 2, 3, 3), h1=torch.tensor([[0.0, 1.0, 2.0, 3.0]])))
    only_maps = _keeper(_Net(c1=torch.zeros(1, 2, 3, 3)))

    for one in (keeper, only_maps):
        _add(one, 1.0, 1.0, 1)
        one.end_task()

    assert keeper.statistics()["inactive_units"] == (0.25,)
    assert "inactive_units" not in only_maps.statistics()


def test_in_lockstep_units_of_convolutions_are_not_counted_as_inactive() -> None:
    first = _Net(c1=torch.zeros(1, 2, 3, 3), h1=torch.tensor([[0.0, 1.0, 2.0, 3.0]]))
    second = _Net(c1=torch.ones(1, 2, 3, 3), h1=torch.tensor([[0.0, 0.0, 0.0, 3.0]]))
    keepers = [_keeper(net) for net in (first, second)]
    observation, batch = _update(1.0, 1.0, 1)

    StreamKeepers(keepers, cast(Any, _Learner())).add([observation] * 2, [batch] * 2)

    for keeper, inactive in zip(keepers, (0.25, 0.75), strict=True):
        keeper.end_task()
        assert keeper.statistics()["inactive_units"] == (inactive,)


def test_of_a_small_loss_the_plasticity_is_that_of_a_large_one() -> None:
    keeper = _keeper(_Net())
    _add(keeper, 1e-6, 0.25e-6, 1)
    keeper.end_task()

    assert keeper.online().plasticity == (pytest.approx(0.75),)


def test_norms_are_taken_at_every_hundredth_step_of_a_stream() -> None:
    keeper = _keeper(_Net())
    for steps in (100, 1):  # the second task begins with step 100, counted from 0
        for _ in range(steps):
            _add(keeper, 1.0, 1.0, 1)
        keeper.end_task()

    assert keeper.statistics()["weight_l1"] == (3.0, 3.0)


def test_norms_leave_biases_out_and_are_taken_now_and_then() -> None:
    keeper = _keeper(_Net())
    _add(keeper, 1.0, 1.0, 1)
    keeper.end_task()

    found = keeper.statistics()

    assert found["weight_l1"] == (3.0,)
    assert found["weight_l2"] == (pytest.approx(5**0.5),)
    assert found["gradient_l1"] == found["gradient_l2"] == (3.0,)
    assert found["gradient_l0"] == (0.5,)
    _add(keeper, 1.0, 1.0, 1)  # the second step is not among those that are looked at
    keeper.end_task()
    assert "weight_l1" not in keeper.statistics()


@pytest.mark.parametrize("ids", [(0, 1, 2), (None, None, None)], ids=["given", "withheld"])
def test_the_activity_after_each_task_and_the_overlap_of_tasks_at_the_end(
    ids: tuple[int | None, ...],
) -> None:
    layer = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 4.0, 0.0, 0.0]])
    keeper = ActivityKeeper(cast(Any, _Net(h1=layer)), cast(Any, _Learner()))
    queries = [[Query(inputs=torch.zeros(2, 2), task_id=task)] for task in ids]

    for task in queries:
        keeper.end_task(task)
    keeper.end(queries)

    found = keeper.statistics()
    assert found["active_h1"] == (3 / 8, 3 / 8, 3 / 8)
    assert found["dead_h1"] == (0.5, 0.5, 0.5)
    assert found["entropy"] == (0.5, 0.5, 0.5)
    # the means are (1, 2, 0, 0) and, each one unit further, (0, 1, 2, 0) and (0, 0, 1, 2); the
    # cosines are 2/5 of neighbours and 0 of the first and the last; each has another top unit
    assert found["cosine_h1"] == (pytest.approx(4 / 15),) * 3
    assert found["jaccard_h1"] == (0.0, 0.0, 0.0)


def test_the_activity_on_a_task_is_that_with_the_weights_of_the_task() -> None:
    class Learner(_Learner):
        def weights(self, task_id: int | None) -> dict[str, Tensor]:
            asked.append(task_id)
            return super().weights(task_id)

    asked: list[int | None] = []
    keeper = ActivityKeeper(cast(Any, _Net(h1=torch.ones(1, 4))), cast(Any, Learner()))
    going_on = ActivityKeeper(cast(Any, _Net(h1=torch.ones(1, 4))), cast(Any, Learner()))
    queries = [Query(inputs=torch.zeros(1, 2), task_id=None)]

    keeper.end_task(queries)
    keeper.end_task(queries)
    going_on.restore(keeper.state())
    going_on.end_task(queries)
    going_on.end([queries] * 3)

    assert asked == [0, 1, 2, 0, 1, 2]


def test_units_that_the_learner_masks_on_a_task_are_dead_on_it() -> None:
    class Masked(WeightLearner):
        def forward_context(self, task_id: Any, training: bool) -> Context:
            assert not training
            return Context(gains={"h1": (torch.arange(8) >= 2 + task_id).float()})

    net = Mlp(MlpParams(hidden_sizes=(8,), activation="linear"), SPEC, LAYOUT)
    keeper = ActivityKeeper(net, Masked(_context(net)))
    queries = [Query(inputs=torch.ones(3, 2), task_id=None)]

    keeper.end_task(queries)
    keeper.end_task(queries)

    found = keeper.statistics()
    assert found["dead_h1"] == (2 / 8, 3 / 8)
    assert found["active_h1"] == (6 / 8, 5 / 8)


def test_no_more_than_the_activity_of_one_batch_is_held() -> None:
    held: list[weakref.ref[Tensor]] = []
    most = 0

    class Net(_Net):
        def with_activity(
            self, params: Any, query: Query, context: Context
        ) -> tuple[Tensor, dict[str, Tensor]]:
            nonlocal most
            activity = query.inputs.clone()
            held.append(weakref.ref(activity))
            most = max(most, sum(one() is not None for one in held))
            return query.inputs, {"h1": activity}

    keeper = ActivityKeeper(cast(Any, Net()), cast(Any, _Learner()))
    queries = [Query(inputs=torch.rand(2, 3), task_id=0) for _ in range(5)]

    keeper.end_task(queries)
    keeper.end([queries, queries])

    assert len(held) == 15
    assert most <= 2  # the last one may be freed when the next is there


def test_batches_of_different_sizes_and_maps_of_channels_are_summed_up_sample_by_sample() -> None:
    first, second = torch.zeros(3, 2, 2, 2), torch.zeros(1, 2, 2, 2)
    first[0, 0, 1, 1], second[0, 0] = 2.0, -1.0

    class Net(_Net):
        def with_activity(
            self, params: Any, query: Query, context: Context
        ) -> tuple[Tensor, dict[str, Tensor]]:
            return query.inputs, {"c1": query.inputs}

    keeper = ActivityKeeper(cast(Any, Net()), cast(Any, _Learner()))
    tasks = [
        [Query(inputs=one, task_id=None) for one in task] for task in ((first, second), (-second,))
    ]

    for task in tasks:
        keeper.end_task(task)
    keeper.end(tasks)

    found = keeper.statistics()
    assert found["active_c1"] == (5 / 32, 4 / 8)
    assert found["dead_c1"] == (0.5, 0.5)
    # the mean of channel 0 is (2 - 4) / 16 on the first task and 1 on the second
    assert found["cosine_c1"] == (-1.0, -1.0)


def test_of_a_net_that_shows_nothing_nothing_is_recorded() -> None:
    keeper = ActivityKeeper(cast(Any, object()), cast(Any, _Learner()))
    keeper.end_task([Query(inputs=torch.zeros(2, 2), task_id=0)])
    keeper.end([[Query(inputs=torch.zeros(2, 2), task_id=0)]] * 2)

    assert keeper.statistics() == {}


def _sparse(learner: str) -> tuple[Any, Mlp]:
    """A learner, and its net: training passes count winners and draw dropout."""
    winners = KWinnersParams(percent_on=0.25)
    net = Mlp(MlpParams(hidden_sizes=(8,), dropout=0.5, winners=winners), SPEC, LAYOUT)
    if learner == "stream":
        return PerturbedSgd(PerturbedSgdParams(), _context(net)), net
    return WeightLearner(_context(net)), net


@pytest.mark.parametrize("name", ["stream", "weights"])
def test_measuring_and_predicting_leave_winners_and_the_draws_of_dropout_alone(name: str) -> None:
    learner, net = _sparse(name)
    of_stream = StreamKeeper(learner, net, LAYOUT, cast(Any, toys.CrossEntropy()))
    of_activity = ActivityKeeper(net, learner)
    queries = [Query(inputs=torch.ones(3, 2), task_id=None)]
    before = snapshot(net.state())

    _add(of_stream, 1.0, 1.0, 1)
    of_activity.end_task(queries)
    of_activity.end([queries, queries])
    learner.predict(queries[0])

    assert equal(net.state(), before)
    net(learner.weights(None), queries[0], Context(training=True))
    assert not equal(net.state(), before)


def test_measuring_in_lockstep_leaves_the_draws_of_dropout_alone() -> None:
    learners, nets = zip(*(_sparse("weights") for _ in range(2)), strict=True)
    keepers = [
        StreamKeeper(learner, net, LAYOUT, cast(Any, toys.CrossEntropy()))
        for learner, net in zip(learners, nets, strict=True)
    ]
    together = StreamKeepers(keepers, WeightLearner.in_lockstep(learners))
    observation, batch = _update(1.0, 1.0, 1)
    before = [snapshot(net.state()) for net in nets]

    together.add([observation] * 2, [batch] * 2)

    assert equal([net.state() for net in nets], before)
