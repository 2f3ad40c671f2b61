"""Learning with a chunked hypernetwork: the penalty's gradient against a literal version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pytest
import torch
import toys
from torch import Tensor

from clbench import randomness
from clbench.config import Adam, Sgd, Training
from clbench.errors import UnavailableError
from clbench.protocols import Batch, Consolidation, Context, Learner, Regularizer, SequenceSpec
from clbench.scenario import Heads, OutputLayout, Scenario
from clbench.testing import LearnerContract, equal, snapshot
from clbench_copytask.elman import Elman
from clbench_copytask.recurrent import RecurrentParams
from clbench_hypernet.learner import ChunkedHypernetwork, ChunkedHypernetworkParams
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_regularization.orthogonal import Orthogonal, OrthogonalParams
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams
from clbench_vision.mlp import Mlp, MlpParams

SPEC = SequenceSpec(kind="sequence", input_shape=(1,), outputs_per_task=1, num_tasks=4)


def _net(heads: Heads = "per-task") -> tuple[Elman, OutputLayout]:
    layout = OutputLayout(Scenario.TASK_IL, heads, 4, 1)
    return Elman(RecurrentParams(hidden_size=4), SPEC, layout), layout


def _params(**changes: Any) -> ChunkedHypernetworkParams:
    values = {
        "chunk_size": 7,
        "hidden_sizes": (5,),
        "task_embedding_size": 3,
        "chunk_embedding_size": 2,
        "beta": 3.0,
    }
    return ChunkedHypernetworkParams.model_validate(values | changes)


def _learner(
    params: ChunkedHypernetworkParams,
    regularizers: tuple[Regularizer, ...] = (),
    heads: Heads = "per-task",
    **training: Any,
) -> ChunkedHypernetwork:
    net, layout = _net(heads)
    values = {"iterations": 1, "learning_rate": 0.1, "optimizer": Sgd()} | training
    context = toys.context(
        net=net,
        layout=layout,
        objective=cast(Any, toys.Squares()),
        training=Training.model_validate(values),
        regularizers=regularizers,
    )
    return ChunkedHypernetwork(params, context)


def _batches(task_id: int, count: int) -> list[Batch]:
    return toys.batches(toys.Echoes(toys.TwoParams(num_tasks=4)), task_id, count)


def _learn(learner: ChunkedHypernetwork, task_id: int, steps: int) -> None:
    learner.begin_task(task_id)
    for batch in _batches(task_id, steps):
        learner.observe(batch)


def _literal_step(
    learner: ChunkedHypernetwork,
    batch: Batch,
    task_id: int,
    subset: Sequence[int],
    targets: Tensor,
    strength: float = 0.0,
) -> dict[str, Tensor]:
    """Gradients of the loss of the module's text, by automatic differentiation alone."""
    params, hypernetwork = learner._params, learner._hypernetwork
    theta = {n: t.detach().clone().requires_grad_() for n, t in learner._parameters.named.items()}
    weights = hypernetwork(theta, theta["tasks"][[task_id]])[0]
    named = learner._named(weights)
    outputs = learner._layout.select(learner._net(named, batch, Context()), task_id)
    task_loss = toys.Squares().losses(outputs, batch).mean()
    if strength:
        excess = named["W_hh"] @ named["W_hh"].T - torch.eye(4)
        task_loss = task_loss + strength * excess.square().sum()
    task_gradients = torch.autograd.grad(task_loss, list(theta.values()), retain_graph=True)
    total = dict(zip(theta, task_gradients, strict=True))
    for j in subset:
        ahead = dict(theta)
        if params.look_ahead:
            rate = learner._context.training.learning_rate
            moves = zip(theta.items(), task_gradients, strict=True)
            ahead = {n: t - rate * gradient for (n, t), gradient in moves}
            ahead["tasks"] = theta["tasks"]
        embedding = theta["tasks"][[j]]
        if params.old_embeddings == "frozen":
            embedding = embedding.detach()
        difference = learner._named((hypernetwork(ahead, embedding) - targets[j])[0])
        if params.regularized_heads == "own":
            own = learner._layout.own_rows(j)
            difference = {
                n: d[own] if n in ("W_out", "b_out") else d for n, d in difference.items()
            }
        norm = torch.stack([d.square().sum() for d in difference.values()]).sum()
        penalty = params.beta / len(subset) * norm
        more = torch.autograd.grad(
            penalty, list(theta.values()), retain_graph=True, allow_unused=True
        )
        for name, gradient in zip(theta, more, strict=True):
            if gradient is not None:
                total[name] = total[name] + gradient
    return total


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"look_ahead": True},
        {"regularized_heads": "all"},
        {"old_embeddings": "frozen"},
        {"look_ahead": True, "old_embeddings": "frozen", "activation": "sigmoid"},
        {"regularized_tasks": 1},
        {"regularized_tasks": 1, "look_ahead": True},
        {"regularized_tasks": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("heads", ["per-task", "shared"])
def test_a_step_follows_the_gradient_of_the_stated_loss(
    changes: dict[str, Any], heads: Heads
) -> None:
    orthogonal = Orthogonal(OrthogonalParams(strength=0.2), _net(heads)[0])
    learner = _learner(_params(**changes), (orthogonal,), heads, learning_rate=0.002)
    for task_id in range(3):
        _learn(learner, task_id, 3)
    learner.begin_task(3)
    targets = learner._generate(range(3))[:, None]
    twin = torch.Generator()
    twin.set_state(learner._subsets[0].get_state())
    regularized = changes.get("regularized_tasks", 3)
    for batch in _batches(3, 4):
        subset = torch.randperm(3, generator=twin)[:regularized].tolist()
        expected = _literal_step(learner, batch, 3, subset, targets, strength=0.2)
        before = {n: t.detach().clone() for n, t in learner._parameters.named.items()}

        learner.observe(batch)

        for name, gradient in expected.items():
            step = learner._parameters.named[name].detach() - before[name]
            torch.testing.assert_close(step, -0.002 * gradient, rtol=1e-3, atol=1e-6)


def test_the_penalty_without_look_ahead_has_no_gradient_at_the_first_step_of_a_task() -> None:
    strong, none = _learner(_params(beta=100.0)), _learner(_params(beta=0.0))
    for learner in (strong, none):
        learner.begin_task(0)
        learner.begin_task(1)
        learner.observe(_batches(1, 1)[0])

    for name, tensor in strong._parameters.named.items():
        torch.testing.assert_close(tensor, none._parameters.named[name])


def test_embeddings_of_later_tasks_do_not_move_and_earlier_ones_do_only_if_trained() -> None:
    for old, moves in (("trained", True), ("frozen", False)):
        learner = _learner(_params(old_embeddings=old), optimizer=Adam())
        _learn(learner, 0, 2)
        before = learner._parameters.named["tasks"].detach().clone()

        _learn(learner, 1, 4)

        after = learner._parameters.named["tasks"].detach()
        assert torch.equal(after[2:], before[2:])
        assert not torch.equal(after[1], before[1])
        assert torch.equal(after[0], before[0]) is not moves


def test_a_random_subset_of_earlier_tasks_is_drawn_afresh_at_each_step() -> None:
    learner = _learner(_params(regularized_tasks=1))
    for task_id in range(3):
        _learn(learner, task_id, 1)
    learner.begin_task(3)

    drawn = [tuple(learner._subset().tolist()) for _ in range(300)]

    assert {len(subset) for subset in drawn} == {1}
    for j in range(3):
        assert 70 < drawn.count((j,)) < 130  # 100 expected, standard deviation 8


@pytest.mark.parametrize("regularized", ["all", 1])
def test_tasks_that_have_not_been_learnt_are_not_regularized(regularized: Any) -> None:
    """As with training from scratch, where each task has a learner of its own."""
    strong, none = (
        _learner(_params(beta=beta, regularized_tasks=regularized), optimizer=Adam())
        for beta in (1000.0, 0.0)
    )
    for learner in (strong, none):
        _learn(learner, 2, 4)

    assert equal(strong._parameters.state(), none._parameters.state())


def test_a_strong_penalty_keeps_the_weights_of_earlier_tasks() -> None:
    drift = {}
    for beta in (0.0, 10.0):
        learner = _learner(_params(beta=beta), optimizer=Adam(), learning_rate=0.01)
        _learn(learner, 0, 50)
        before = learner._generate(range(1))
        _learn(learner, 1, 50)
        drift[beta] = (learner._generate(range(1)) - before).norm().item()

    assert drift[10.0] < 0.1 * drift[0.0]


def test_task_embeddings_are_shown_as_they_have_been_learnt() -> None:
    learner = _learner(_params(beta=0.0))
    before = learner.artefacts()["task_embeddings"].clone()
    _learn(learner, 1, 3)

    after = learner.artefacts()["task_embeddings"]

    assert after.shape == (4, 3)
    assert [bool((after[t] != before[t]).any()) for t in range(4)] == [False, True, False, False]
    assert not after.requires_grad


def test_more_regularized_tasks_than_there_are_earlier_ones_are_all_of_them() -> None:
    every, more = (_learner(_params(regularized_tasks=number)) for number in ("all", 5))
    for learner in (every, more):
        for task_id in range(3):
            _learn(learner, task_id, 2)

    assert equal(more._parameters.state(), every._parameters.state())


@pytest.mark.parametrize("optimizer", [Sgd(momentum=0.9), Adam()], ids=["sgd", "adam"])
def test_moments_are_forgotten_at_each_task_unless_they_are_kept(optimizer: Sgd | Adam) -> None:
    kept, reset = (
        _learner(_params(), optimizer=optimizer, optimizer_state=state)
        for state in ("kept", "reset")
    )
    fresh = snapshot(kept.state()["optimiser"])
    for learner in (kept, reset):
        _learn(learner, 0, 3)
    moments = snapshot(kept.state()["optimiser"])

    for learner in (kept, reset):
        learner.begin_task(1)

    assert not equal(moments, fresh)
    assert equal(kept.state()["optimiser"], moments)
    assert equal(reset.state()["optimiser"], fresh)


@pytest.mark.parametrize("look_ahead", [False, True])
def test_the_gradient_of_loss_and_penalty_is_clipped_as_one(look_ahead: bool) -> None:
    """The first task has the gradient of its loss alone; in the second one the penalty adds its."""
    learner = _learner(_params(beta=1000.0, look_ahead=look_ahead), clip_grad_norm=0.02)
    lengths = []

    for task_id in range(2):
        learner.begin_task(task_id)
        for batch in _batches(task_id, 3):
            before = learner._parameters.values.clone()
            learner.observe(batch)
            lengths.append(float((learner._parameters.values - before).norm()))

    assert lengths == pytest.approx(6 * [0.1 * 0.02], rel=1e-3)


def test_weights_of_no_task_in_particular_are_those_of_the_current_one() -> None:
    learner = _learner(_params())

    for task_id in range(3):
        _learn(learner, task_id, 1)

        assert equal(learner.weights(None), learner.weights(task_id))
    assert not equal(learner.weights(None), learner.weights(0))


def test_an_ended_task_is_consolidated_on_its_own_weights_without_dropout() -> None:
    @dataclass
    class Data:
        num_samples: int = 8

        def batches(self, num_samples: int) -> Iterator[Batch]:
            yield batch

    class Watcher(OnlineEwc):
        def consolidate(self, consolidation: Consolidation) -> None:
            seen.append((consolidation.params, consolidation.outputs(consolidation.params, batch)))

    seen: list[tuple[Any, Tensor]] = []
    layout = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)
    family = toys.Pictures(toys.TwoParams())
    net = Mlp(MlpParams(hidden_sizes=(8,), dropout=0.5), family.spec, layout)
    watcher = Watcher(OnlineEwcParams(ewc_lambda=1.0), net)
    training = Training(iterations=1)
    context = toys.pictures_context(layout, net=net, training=training, regularizers=(watcher,))
    learner = ChunkedHypernetwork(_params(), context)
    (batch,) = toys.batches(family, 1, 1)
    learner.begin_task(0)
    learner.begin_task(1)

    learner.end_task(1, Data())

    ((weights, outputs),) = seen
    assert equal(weights, learner.weights(1))
    assert not equal(weights, learner.weights(0))
    assert torch.equal(outputs, layout.select(net(weights, batch, Context()), 1))


def test_zeros_and_dropout_of_the_main_net_are_drawn_from_the_seed() -> None:
    def learnt(seed: int, **changes: Any) -> tuple[Mlp, dict[str, Tensor]]:
        layout = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)
        family = toys.Pictures(toys.TwoParams())
        net = Mlp(MlpParams.model_validate({"hidden_sizes": (8,)} | changes), family.spec, layout)
        context = toys.pictures_context(
            layout,
            net=net,
            training=Training(iterations=1),
            generator=lambda purpose: randomness.generator(seed, purpose),
        )
        learner = ChunkedHypernetwork(_params(), context)
        learner.begin_task(0)
        for batch in toys.batches(family, 0, 2):
            learner.observe(batch)
        return net, dict(learner.weights(0))

    sparse, _ = learnt(0, weight_density=0.25)
    assert sparse.statistics() == {"density_W1": 0.25}
    drops = [learnt(seed, dropout=0.5)[0].state()["drawings"] for seed in (0, 0, 1)]
    assert torch.equal(drops[0], drops[1])
    assert not torch.equal(drops[0], drops[2])


def test_regularizers_that_watch_steps_cannot_serve_generated_weights() -> None:
    si = SynapticIntelligence(SynapticIntelligenceParams(), _net()[0])

    with pytest.raises(UnavailableError) as caught:
        _learner(_params(), (si,))

    assert str(caught.value) == (
        "SynapticIntelligence watches the steps of weights, and a hypernetwork generates them"
    )


class TestContract(LearnerContract):
    def build(self) -> Learner:
        net, _ = _net()
        regularizers: tuple[Regularizer, ...] = (
            Orthogonal(OrthogonalParams(strength=0.1), net),
            OnlineEwc(OnlineEwcParams(ewc_lambda=1.0, fisher_samples=16), net),
        )
        return _learner(
            _params(regularized_tasks=1), regularizers, optimizer=Adam(), clip_grad_norm=1.0
        )

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        return _batches(task_id, count)


class TestContractWithLookAhead(TestContract):
    def build(self) -> Learner:
        return _learner(_params(look_ahead=True), optimizer=Adam())
