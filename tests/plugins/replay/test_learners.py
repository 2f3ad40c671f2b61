"""Coresets and generative replay, step by step against literal versions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import toys
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from clbench.config import Adam, Sgd, Training
from clbench.protocols import Batch, Context, Learner, LearnerContext, MainNet, Query, SequenceSpec
from clbench.scenario import Heads, OutputLayout, Scenario
from clbench.testing import LearnerContract, equal, snapshot
from clbench_copytask.elman import Elman
from clbench_copytask.permuted_copy import PermutedCopy, PermutedCopyParams
from clbench_copytask.recurrent import RecurrentParams
from clbench_copytask.scoring import Bitwise
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_regularization.orthogonal import Orthogonal, OrthogonalParams
from clbench_replay import coresets
from clbench_replay.coresets import Coresets, CoresetsParams
from clbench_replay.distillation import Lesson, copied, teach
from clbench_replay.generative import GenerativeReplay, GenerativeReplayParams
from clbench_sparse.k_winners import KWinnersParams
from clbench_vision.classification import Classification
from clbench_vision.mlp import Mlp, MlpParams

FAMILY = PermutedCopy(
    PermutedCopyParams(
        num_tasks=4, input_length=2, pattern_width=3, num_train=50, num_test=5, num_validation=5
    )
)
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 4, 3)
TASKS = FAMILY.tasks(0, Scenario.TASK_IL)
RATE = 0.01


def _net(spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]) -> MainNet:
    return Elman(RecurrentParams.model_validate({"hidden_size": 6} | dict(changes)), spec, layout)


def _orthogonal(net: MainNet) -> tuple[Orthogonal]:
    return (Orthogonal(OrthogonalParams(strength=0.3), net),)


def _context(optimizer: Adam | Sgd | None = None) -> LearnerContext:
    net = _net(FAMILY.spec, LAYOUT, {})
    return toys.context(
        spec=FAMILY.spec,
        net=net,
        layout=LAYOUT,
        objective=FAMILY.objective,
        training=Training(iterations=1, learning_rate=RATE, optimizer=optimizer or Sgd()),
        regularizers=_orthogonal(net),
        build_net=_net,
        build_regularizers=_orthogonal,
    )


def _batches(task_id: int, count: int) -> list[Batch]:
    return toys.batches(FAMILY, task_id, count)


class _Data:
    num_samples = 50

    def __init__(self, task_id: int) -> None:
        self._task_id = task_id

    def batches(self, num_samples: int) -> Iterator[Batch]:
        stream = TASKS[self._task_id].train_stream(torch.Generator().manual_seed(9 + self._task_id))
        yield replace(stream.next(num_samples), task_id=self._task_id)


def _learn(learner: Learner, num_tasks: int) -> None:
    for task_id in range(num_tasks):
        learner.begin_task(task_id)
        for batch in _batches(task_id, 3):
            learner.observe(batch)
        learner.end_task(task_id, _Data(task_id))
    learner.begin_task(num_tasks)


def _excess(W: Tensor) -> Tensor:
    return 0.3 * (W @ W.T - torch.eye(len(W))).square().sum()


def _moved_away(learner: Any) -> dict[str, Tensor]:
    """The former net with other weights than now, as its lesson has no gradient at its own."""
    drawing = torch.Generator().manual_seed(5)
    assert equal(learner._former, copied(learner.parameters.detached))  # when the task begins
    learner._former = {
        name: tensor + torch.randn(tensor.shape, generator=drawing)
        for name, tensor in learner._former.items()
    }
    return copied(learner._former)


def _check_step(learner: Any, batch: Batch, loss: Callable[[dict[str, Tensor]], Tensor]) -> None:
    """One step must be the plain gradient step on `loss`."""
    leaves = {n: t.detach().clone().requires_grad_() for n, t in learner.parameters.named.items()}
    gradients = torch.autograd.grad(loss(leaves), list(leaves.values()))

    learner.observe(batch)

    for (name, before), gradient in zip(leaves.items(), gradients, strict=True):
        moved = learner.parameters.named[name].detach() - before.detach()
        torch.testing.assert_close(moved, -RATE * gradient, rtol=1e-3, atol=1e-6)


def _distilled(
    net: MainNet, weights: Any, former: Any, inputs: Tensor, ids: Tensor, temperature: float
) -> Tensor:
    """Sum over tasks of means, from the definition."""
    query = Query(inputs=inputs, task_id=ids, window=slice(3, 5))
    outputs, taught = net(weights, query, Context()), net(former, query, Context())
    total = torch.tensor(0.0)
    for j in ids.unique().tolist():
        head, mine = slice(3 * j, 3 * j + 3), ids == j
        soft = (taught[:, mine, head] / temperature).sigmoid().detach()
        losses = bce(outputs[:, mine, head] / temperature, soft, reduction="sum")
        total = total + temperature**2 * losses / mine.sum()
    return total


@pytest.mark.parametrize("temperature", [2.0, 0.5])
def test_a_step_with_coresets_follows_the_gradient_of_the_stated_loss(temperature: float) -> None:
    params = CoresetsParams(
        coreset_size=7, distillation_strength=2.0, replay_batch_size=10, temperature=temperature
    )
    learner = Coresets(params, _context())
    _learn(learner, 3)
    (batch,) = _batches(3, 1)
    former = _moved_away(learner)
    twin = torch.Generator()
    twin.set_state(learner._drawing.get_state())
    order = torch.randperm(3, generator=twin).tolist()
    shares = [4 if j == order[0] else 3 for j in range(3)]
    picked = [
        learner._stored[j][:, torch.randint(7, (shares[j],), generator=twin)] for j in range(3)
    ]
    ids = torch.tensor([j for j in range(3) for _ in range(shares[j])])

    def loss(weights: dict[str, Tensor]) -> Tensor:
        outputs = LAYOUT.select(learner.net(weights, batch, Context()), 3)
        task = bce(outputs, batch.targets, reduction="sum") / 8
        inputs = torch.cat(picked, 1)
        rehearsed = _distilled(learner.net, weights, former, inputs, ids, temperature)
        return task + 2.0 * rehearsed + _excess(weights["W_hh"])

    _check_step(learner, batch, loss)


def test_the_former_net_teaches_with_the_boosting_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    layout = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)
    family = toys.Pictures(toys.TwoParams())
    winners = KWinnersParams(percent_on=0.25, boost_strength=5.0, duty_cycle_period=8)
    params = MlpParams(hidden_sizes=(16,), activation="linear", winners=winners)

    def build(spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]) -> Mlp:
        return Mlp(params, spec, layout)

    context = toys.pictures_context(
        layout,
        net=build(family.spec, layout, {}),
        objective=Classification(),
        training=Training(iterations=1, learning_rate=0.5, optimizer=Sgd()),
        build_net=build,
    )
    learner = Coresets(CoresetsParams(replay_batch_size=6), context)
    first, *batches = toys.batches(family, 0, 4)
    learner.begin_task(0)
    learner.observe(first)
    learner._stored.append(first.inputs)
    former, weights = build(family.spec, layout, {}), copied(learner.parameters.detached)
    former.restore(snapshot(learner.net.state()))
    lessons: list[Lesson] = []

    def watched(*args: Any) -> Lesson:
        lessons.append(teach(*args))
        return lessons[-1]

    monkeypatch.setattr(coresets, "teach", watched)

    learner.begin_task(1)
    for batch in batches:
        learner.observe(replace(batch, task_id=1))

    query = lessons[-1].query
    taught = layout.select(former(weights, query, Context()), query.task_id)
    assert torch.equal(lessons[-1].taught, taught)
    boosted_anew = layout.select(learner.net(weights, query, Context()), query.task_id)
    assert not torch.equal(boosted_anew, taught)


def test_coresets_store_training_inputs_of_each_task() -> None:
    learner = Coresets(CoresetsParams(coreset_size=7), _context())

    _learn(learner, 2)

    of_tasks = [next(_Data(task_id).batches(7)).inputs for task_id in range(2)]
    assert not torch.equal(*of_tasks)
    assert len(learner._stored) == 2
    for stored, inputs in zip(learner._stored, of_tasks, strict=True):
        assert torch.equal(stored, inputs)


class _InParts:
    """Training data that come in two batches of two inputs, each filled with its number."""

    num_samples = 4

    def __init__(self, like: Batch, axis: int) -> None:
        inputs = like.inputs.narrow(axis, 0, 4)
        shape = [4 if dim == axis else 1 for dim in range(inputs.dim())]
        self._axis = axis
        self.inputs = torch.arange(1.0, 5.0).view(shape).expand_as(inputs)
        self._targets = like.targets.narrow(axis, 0, 4)
        self._like = like

    def batches(self, num_samples: int) -> Iterator[Batch]:
        for first in (0, 2):
            inputs, targets = (
                tensor.narrow(self._axis, first, 2) for tensor in (self.inputs, self._targets)
            )
            yield replace(self._like, inputs=inputs, targets=targets)


@pytest.mark.parametrize("kind", ["pictures", "sequences"])
def test_whole_samples_are_stored_and_each_of_them_is_rehearsed(kind: str) -> None:
    if kind == "pictures":
        axis, family = 0, toys.Pictures(toys.TwoParams())
        context = toys.pictures_context(
            OutputLayout(Scenario.TASK_IL, "per-task", 3, 2),
            objective=Classification(),
            training=Training(iterations=1),
            build_net=lambda spec, layout, changes: toys.Linear(toys.NoParams(), spec, layout),
        )
        (like,) = toys.batches(family, 0, 1)
    else:
        axis, context = 1, _context()
        (like,) = _batches(0, 1)
    learner = Coresets(CoresetsParams(coreset_size=4, replay_batch_size=100), context)
    data = _InParts(like, axis)

    learner.end_task(0, data)
    inputs, shares = learner._rehearsed()

    assert torch.equal(learner._stored[0], data.inputs)
    assert shares.tolist() == [100]
    samples = inputs.movedim(axis, 0).flatten(1)
    assert len(samples) == 100
    assert torch.equal(samples, samples[:, :1].expand_as(samples))
    counts = [int((samples[:, 0] == number).sum()) for number in (1, 2, 3, 4)]
    assert sum(counts) == 100
    assert min(counts) > 10  # 25 expected, standard deviation 4


def test_shorter_sequences_are_filled_up_at_their_ends() -> None:
    learner = Coresets(CoresetsParams(replay_batch_size=4), _context())
    learner._stored = [torch.full((2, 3, 1), 7.0), torch.full((5, 3, 1), 8.0)]

    inputs, shares = learner._rehearsed()

    assert shares.tolist() == [2, 2]
    assert inputs.shape == (5, 4, 1)
    assert inputs[:, :2, 0].T.tolist() == 2 * [[7.0, 7.0, 0.0, 0.0, 0.0]]
    assert inputs[:, 2:, 0].T.tolist() == 2 * [[8.0, 8.0, 8.0, 8.0, 8.0]]


@pytest.mark.parametrize("heads", ["per-task", "shared"])
def test_generative_replay_consolidates_the_main_net_alone_at_the_end_of_a_task(
    heads: Heads,
) -> None:
    def build(net: MainNet) -> tuple[OnlineEwc]:
        return (OnlineEwc(OnlineEwcParams(ewc_lambda=1.0, fisher_samples=8), net),)

    layout = replace(LAYOUT, heads=heads)
    context = replace(_context(), layout=layout, build_regularizers=build)
    learner = GenerativeReplay(SMALL, context)

    learner.end_task(1, _Data(1))

    ((main,), (decoder,)) = learner._regularizers, learner._decoder_regularizers
    saved = main.state()
    rows = [bool(row.any()) for row in saved["fisher"]["W_out"]]
    others = 3 * [False] if heads == "per-task" else []  # rows of each other head
    assert rows == others + 3 * [True] + 2 * others + 4 * [False]  # those of the latents last
    assert saved["anchor"].keys() == learner._net.shapes.keys()
    for name, anchor in saved["anchor"].items():
        assert torch.equal(anchor, learner.parameters.named[f"main.{name}"])
    assert decoder.state() == {"fisher": {}, "anchor": {}}


def test_a_step_of_generative_replay_follows_the_gradient_of_the_stated_loss() -> None:
    params = GenerativeReplayParams(
        latent_size=2,
        latent_std=1.5,
        reconstruction_strength=3.0,
        prior_strength=0.5,
        distillation_strength=2.0,
        temperature=0.5,
        replay_batch_size=10,
        decoder_hidden_size=5,
    )
    learner = GenerativeReplay(params, _context())
    _learn(learner, 2)
    (batch,) = _batches(2, 1)
    former = _moved_away(learner)
    drawing, noise = torch.Generator(), torch.Generator()
    drawing.set_state(learner._drawing[0].get_state())
    noise.set_state(learner._noise[0].get_state())
    torch.randperm(2, generator=drawing)
    ids = torch.tensor([0] * 5 + [1] * 5)
    z = torch.empty(5, 10, 2).normal_(0.0, 1.5, generator=drawing)
    eps = torch.empty(5, 18, 2).normal_(generator=noise)

    def part(weights: Mapping[str, Tensor], net: str) -> dict[str, Tensor]:
        return {n[len(net) + 1 :]: t for n, t in weights.items() if n.startswith(net + ".")}

    def decode(weights: Mapping[str, Tensor], latent: Tensor, task_ids: Tensor) -> Tensor:
        query = Query(inputs=latent, task_id=task_ids, window=slice(0, 5))
        return learner._decoder(part(weights, "decoder"), query, Context())

    made_up = decode(former, z, ids).sigmoid()
    everything = torch.cat([batch.inputs, made_up], dim=1)

    def loss(weights: dict[str, Tensor]) -> Tensor:
        main = part(weights, "main")
        outputs = LAYOUT.select(learner._net(main, batch, Context())[..., :12], 2)
        total = bce(outputs, batch.targets, reduction="sum") / 8
        query = Query(inputs=everything, task_id=None, window=slice(0, 5))
        latent = learner._net(main, query, Context())[..., 12:]
        mean, log_variance = latent[..., :2], latent[..., 2:]
        sampled = mean + log_variance.exp().sqrt() * eps
        decoded = decode(weights, sampled, torch.cat([torch.full((8,), 2), ids]))
        rec = bce(decoded, everything, reduction="sum") / 18
        variances = (log_variance.exp() + mean**2) / 1.5**2
        kl = 0.5 * (variances - 1 + math.log(1.5**2) - log_variance).sum() / 18
        window, mask = Bitwise().replay_window(made_up)
        replayed = Query(inputs=made_up, task_id=ids, window=window)
        y = LAYOUT.select(learner._net(main, replayed, Context())[..., :12], ids)
        taught = LAYOUT.select(
            learner._net(part(former, "main"), replayed, Context())[..., :12], ids
        )
        losses = Bitwise().distillation_losses(y, taught, 0.5, mask)
        distilled = losses[:5].mean() + losses[5:].mean()
        orthogonal = _excess(main["W_hh"]) + _excess(weights["decoder.W_hh"])
        return total + 3.0 * rec + 0.5 * kl + 2.0 * distilled + orthogonal

    _check_step(learner, batch, loss)


SMALL = GenerativeReplayParams(latent_size=2, replay_batch_size=6, decoder_hidden_size=5)


def test_the_decoder_has_a_size_of_its_own() -> None:
    learner = GenerativeReplay(SMALL, _context())

    assert learner.parameters.named["main.W_hh"].shape == (6, 6)
    assert learner.parameters.named["decoder.W_hh"].shape == (5, 5)


def test_generative_replay_clips_the_gradient_of_both_nets_as_one() -> None:
    context = _context()
    training = context.training.model_copy(update={"clip_grad_norm": 0.01})
    learner = GenerativeReplay(SMALL, replace(context, training=training))
    before = learner.parameters.values.clone()

    learner.observe(_batches(0, 1)[0])

    moved = (learner.parameters.values - before).norm()
    assert moved == pytest.approx(RATE * 0.01, rel=1e-3)


@pytest.mark.parametrize("optimizer_state", ["reset", "kept"])
def test_generative_replay_keeps_its_momentum_where_that_is_asked(optimizer_state: str) -> None:
    context = _context(Sgd(momentum=0.9))
    training = context.training.model_copy(update={"optimizer_state": optimizer_state})
    learner = GenerativeReplay(SMALL, replace(context, training=training))
    learner.begin_task(0)
    learner.observe(_batches(0, 1)[0])
    momentum = learner._optimiser.state()

    learner.begin_task(1)

    assert equal(learner._optimiser.state(), momentum) is (optimizer_state == "kept")


def test_generative_replay_takes_back_what_its_regularizers_keep() -> None:
    def build(net: MainNet) -> tuple[OnlineEwc]:
        return (OnlineEwc(OnlineEwcParams(ewc_lambda=1.0, fisher_samples=8), net),)

    context = replace(_context(), build_regularizers=build)
    saved, restored = GenerativeReplay(SMALL, context), GenerativeReplay(SMALL, context)
    saved.end_task(0, _Data(0))

    restored.restore(snapshot(saved.state()))

    assert saved.state()["regularizers"][0]["fisher"]
    assert equal(restored.state(), saved.state())


def test_parameter_counts_are_those_of_the_source() -> None:
    """Multi-head with a latent of 8: 146,995; decoder from 13 inputs to 8 logits: 137,224."""
    spec = SequenceSpec(kind="sequence", input_shape=(8,), outputs_per_task=7, num_tasks=5)
    layout = OutputLayout(Scenario.TASK_IL, "per-task", 5, 7)

    def build(spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]) -> MainNet:
        return Elman(RecurrentParams.model_validate(dict(changes)), spec, layout)

    context = replace(_context(), spec=spec, layout=layout, build_net=build)
    learner = GenerativeReplay(GenerativeReplayParams(latent_size=8), context)

    sizes = {n: t.numel() for n, t in learner.parameters.named.items()}
    assert sum(size for name, size in sizes.items() if name.startswith("main.")) == 146_995
    assert sum(size for name, size in sizes.items() if name.startswith("decoder.")) == 137_224
    bound = 1 / 16
    for name in ("W_ih", "b_ih", "W_hh", "W_ho", "W_out"):
        largest = learner.parameters.named[f"decoder.{name}"].abs().max()
        assert 0.9 * bound < largest <= bound


class TestCoresetsContract(LearnerContract):
    def build(self) -> Learner:
        return Coresets(CoresetsParams(coreset_size=5, replay_batch_size=6), _context(Adam()))

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        return _batches(task_id, count)


class TestGenerativeReplayContract(LearnerContract):
    def build(self) -> Learner:
        return GenerativeReplay(SMALL, _context(Adam()))

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        return _batches(task_id, count)
