"""What all rules for streams share, and what they promise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import toys

import clbench_streaming
from clbench.config import Training
from clbench.errors import UnavailableError
from clbench.mixing import concatenate
from clbench.protocols import Batch, HasWeights, Learner, LearnerContext, Query
from clbench.registry import Registry
from clbench.scenario import ALL_SCENARIOS, OutputLayout, Scenario
from clbench.testing import LearnerContract, equal, snapshot
from clbench_regularization.si import SynapticIntelligence, SynapticIntelligenceParams
from clbench_sparse.k_winners import KWinnersParams
from clbench_streaming.adamw import StreamAdamW, StreamAdamWParams
from clbench_streaming.perturbed_sgd import PerturbedSgd, PerturbedSgdParams
from clbench_streaming.stream_learner import StreamLearner
from clbench_streaming.upgd import Upgd, UpgdParams
from clbench_vision.mlp import Mlp, MlpParams

RULES: list[tuple[Any, Any]] = [
    (PerturbedSgd, PerturbedSgdParams(noise_std=0.1, weight_decay=0.1)),
    (StreamAdamW, StreamAdamWParams(weight_decay=0.1)),
    (Upgd, UpgdParams(noise_std=0.1)),
]
each_rule = pytest.mark.parametrize(("rule", "params"), RULES, ids=["sgd", "adamw", "upgd"])


def _context(
    *regularizers: Any, scenario: Scenario = Scenario.TASK_IL, **training: Any
) -> LearnerContext:
    values = {"iterations": 1, "learning_rate": 0.05} | training
    return toys.pictures_context(
        OutputLayout(scenario, scenario.heads[0], 3, 2),
        training=Training.model_validate(values),
        regularizers=regularizers,
    )


def _batches(task_id: int, count: int) -> list[Batch]:
    return toys.batches(toys.Pictures(toys.TwoParams()), task_id, count)


class _OnPictures(LearnerContract):
    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        return _batches(task_id, count)


class TestContractOfPerturbedSgd(_OnPictures):
    def build(self) -> Learner:
        return PerturbedSgd(PerturbedSgdParams(noise_std=0.1, weight_decay=0.1), _context())


class TestContractOfStreamAdamW(_OnPictures):
    def build(self) -> Learner:
        return StreamAdamW(StreamAdamWParams(weight_decay=0.1), _context())


class TestContractOfUpgd(_OnPictures):
    def build(self) -> Learner:
        return Upgd(UpgdParams(noise_std=0.1, noise_scale="ratio-norm"), _context())


@each_rule
def test_a_stream_without_ids_is_learnt(rule: type[StreamLearner[Any]], params: Any) -> None:
    learner = rule(params, _context(scenario=Scenario.TASK_FREE))
    before = snapshot(learner.state())

    for batch in _batches(0, 3):
        sample = replace(batch, inputs=batch.inputs[:1], targets=batch.targets[:1], task_id=None)
        observation = learner.observe(sample)

    assert observation.outputs.shape == (1, 2)
    assert learner.state()["t"] == 3
    assert not equal(learner.state()["parameters"], before["parameters"])


@each_rule
def test_a_rule_serves_all_scenarios_and_shows_its_weights(
    rule: type[StreamLearner[Any]], params: Any
) -> None:
    learner = rule(params, _context())

    assert rule.scenarios == ALL_SCENARIOS
    assert rule.Params is type(params)
    assert isinstance(learner, HasWeights)
    assert (
        learner.num_parameters
        == 6 * 16 + 6
        == sum(tensor.numel() for tensor in learner.weights(None).values())
    )


@each_rule
def test_predictions_leave_duty_cycles_and_the_draws_of_dropout_alone(
    rule: type[StreamLearner[Any]], params: Any
) -> None:
    context = _context()
    sparse = MlpParams(hidden_sizes=(8,), dropout=0.5, winners=KWinnersParams(percent_on=0.25))
    learner = rule(params, replace(context, net=Mlp(sparse, context.spec, context.layout)))
    (batch,) = _batches(0, 1)
    before = snapshot(learner.state())

    learner.predict(batch)

    assert equal(learner.state()["net"], before["net"])
    learner.observe(batch)
    assert not equal(learner.state()["net"], before["net"])


@each_rule
def test_in_class_il_the_outputs_of_tasks_that_are_to_come_do_not_compete_in_mixed_batches(
    rule: type[StreamLearner[Any]], params: Any
) -> None:
    parts = [_batches(task_id, 1)[0] for task_id in (0, 1)]
    ids = torch.arange(2).repeat_interleave(len(parts[0].inputs))
    mixed = replace(concatenate(parts), task_id=ids, num_tasks=2)  # of three
    learner = rule(params, _context(scenario=Scenario.CLASS_IL))

    found = learner.observe(mixed)

    assert found.outputs.shape == (len(ids), 4)
    gradient = learner.gradients()["b"]
    assert gradient.nonzero().flatten().tolist() == [0, 1, 2, 3]


@each_rule
def test_the_boundaries_of_tasks_change_nothing(
    rule: type[StreamLearner[Any]], params: Any
) -> None:
    told, untold = rule(params, _context()), rule(params, _context())
    nothing: Any = None

    for task_id in (0, 1):
        told.begin_task(task_id)
        for batch in _batches(task_id, 2):
            told.observe(batch)
            untold.observe(batch)
        told.end_task(task_id, nothing)

    assert equal(told.state(), untold.state())


def test_the_gradients_of_the_last_step_are_those_of_the_loss_alone() -> None:
    learner = Upgd(UpgdParams(noise_std=1.0, weight_decay=0.5), _context())
    (batch,) = _batches(1, 1)
    leaves = {n: t.clone().requires_grad_() for n, t in learner.weights(None).items()}
    context = _context()
    outputs = context.layout.select(context.net(leaves, batch, None), 1)  # type: ignore[arg-type]
    loss = context.objective.losses(outputs, batch).mean()
    expected = torch.autograd.grad(loss, list(leaves.values()))

    learner.observe(batch)

    for actual, gradient in zip(learner.gradients().values(), expected, strict=True):
        torch.testing.assert_close(actual, gradient)


def test_rules_without_noise_draw_nothing() -> None:
    for learner in (
        PerturbedSgd(PerturbedSgdParams(), _context()),
        Upgd(UpgdParams(noise_std=0.0), _context()),
    ):
        before = learner.state()["noise"]

        learner.observe(_batches(0, 1)[0])

        assert torch.equal(learner.state()["noise"], before)


@pytest.mark.parametrize(
    ("training", "message"),
    [
        (
            {"weight_decay": 0.1},
            "Upgd decays weights by a parameter of its own, and training.weight_decay is 0.1",
        ),
        (
            {"clip_grad_norm": 2.0},
            "Upgd clips no gradients, and training.clip_grad_norm is 2.0",
        ),
    ],
)
def test_settings_that_have_no_place_are_refused(training: dict[str, Any], message: str) -> None:
    with pytest.raises(UnavailableError) as caught:
        Upgd(UpgdParams(), _context(**training))

    assert str(caught.value) == message


@each_rule
def test_regularizers_are_refused(rule: type[StreamLearner[Any]], params: Any) -> None:
    net: Any = None
    si = SynapticIntelligence(SynapticIntelligenceParams(), net)

    with pytest.raises(UnavailableError) as caught:
        rule(params, _context(si))

    assert str(caught.value) == (
        f"{rule.__name__} is a rule for streams and takes no penalties: SynapticIntelligence"
    )


def test_clipping_that_is_off_is_no_clipping() -> None:
    learner = Upgd(UpgdParams(), _context(clip_grad_norm=-1))

    assert learner.predict(Query(inputs=torch.ones(2, 1, 4, 4), task_id=0)).shape == (2, 2)


def test_the_plugin_offers_the_three_rules() -> None:
    registry = Registry()

    registry.register(clbench_streaming, "streaming", "clbench", "0.1")

    assert registry.plugins[0].errors == ()
    offered = {name: entry.load() for name, entry in registry.table("learner").items()}
    assert offered == {"perturbed-sgd": PerturbedSgd, "stream-adamw": StreamAdamW, "upgd": Upgd}
