"""In lockstep every rule for streams ends where it would end alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import toys
from torch import Tensor

from clbench.config import Training
from clbench.protocols import (
    Batch,
    HasLockstepWeights,
    LearnerContext,
    Query,
    RunsInLockstep,
    SequenceSpec,
)
from clbench.randomness import generator
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import equal
from clbench_streaming.adamw import StreamAdamW, StreamAdamWParams
from clbench_streaming.perturbed_sgd import PerturbedSgd, PerturbedSgdParams
from clbench_streaming.stream_learner import StreamLearner
from clbench_streaming.upgd import Upgd, UpgdParams
from clbench_vision.classification import Classification
from clbench_vision.cnn import Cnn, CnnParams
from clbench_vision.mlp import Mlp, MlpParams

SPEC = SequenceSpec(kind="classification", input_shape=(2, 12, 12), outputs_per_task=3, num_tasks=1)
LAYOUT = OutputLayout(Scenario.TASK_FREE, "shared", 1, 3)
SEEDS = (3, 4, 5)


class _PreciseMlp(Mlp):
    """With 64 bits, in which rounding stays far below any difference of method."""

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {name: tensor.double() for name, tensor in super().initial(generator).items()}


class _PreciseCnn(Cnn):
    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {name: tensor.double() for name, tensor in super().initial(generator).items()}


class _Differentiated(_PreciseCnn):
    """In lockstep it offers no gradients."""

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Cnn]) -> Any:
        together = super().in_lockstep(replicas)
        return lambda params, query, context: together(params, query, context)


MLP = MlpParams(hidden_sizes=(8, 6), activation="tanh")
CNN = CnnParams(channels=(3, 4), kernel_size=3, hidden_sizes=(6, 5))
BASE: dict[str, tuple[type[StreamLearner[Any]], Any]] = {
    "sgd": (PerturbedSgd, PerturbedSgdParams()),
    "shrink-and-perturb": (PerturbedSgd, PerturbedSgdParams(noise_std=0.1, weight_decay=0.1)),
    "adamw": (StreamAdamW, StreamAdamWParams(weight_decay=0.1)),
    "upgd": (Upgd, UpgdParams(noise_std=0.1, weight_decay=0.1)),
}
OPTIONS: list[dict[str, Any]] = [
    {"noise_std": 0.0},
    {"max_over": "corrected"},
    {"scaling": "local"},
    {"gate": "noise"},
    {"gate": "gradient", "noise_scale": "ratio-norm"},
    {"noise_scale": "weight-norm"},
    {"noise_scale": "grad-norm"},
    {"kernel_average": "entire", "step_factor": 2.0},
    {"kernel_average": "column"},
    {"kernel_average": "convex", "scaling": "local"},
]


def _learner(
    rule: type[StreamLearner[Any]],
    params: Any,
    net: Any,
    seed: int,
    layout: OutputLayout = LAYOUT,
) -> Any:
    context: LearnerContext = toys.context(
        spec=SPEC,
        net=net,
        layout=layout,
        objective=Classification(),
        training=Training(iterations=1, batch_size=1, learning_rate=0.02),
        generator=lambda purpose: generator(seed, purpose),
    )
    return rule(params, context)


def _batches(seed: int, steps: int, size: int, dtype: torch.dtype) -> list[Batch]:
    drawing = generator(seed, "batches")
    return [
        Batch(
            inputs=torch.rand(size, *SPEC.input_shape, generator=drawing, dtype=dtype) - 0.5,
            targets=torch.randint(3, (size,), generator=drawing),
            task_id=None,
        )
        for _ in range(steps)
    ]


def _learn(
    rule: type[StreamLearner[Any]],
    params: Any,
    nets: Sequence[Any],
    steps: int,
    size: int = 1,
    dtype: torch.dtype = torch.float64,
) -> tuple[list[Any], list[Any]]:
    """Learners of three seeds after `steps` steps alone, and after as many in lockstep."""
    streams = [_batches(seed, steps, size, dtype) for seed in SEEDS]
    alone = [_learner(rule, params, net, seed) for net, seed in zip(nets[:3], SEEDS, strict=True)]
    together = [
        _learner(rule, params, net, seed) for net, seed in zip(nets[3:], SEEDS, strict=True)
    ]
    program = rule.in_lockstep(together)
    for t in range(steps):
        batches = [stream[t] for stream in streams]
        seen = program.observe(batches)
        for learner, batch, observation in zip(alone, batches, seen, strict=True):
            expected = learner.observe(batch)
            if dtype == torch.float64:
                torch.testing.assert_close(observation.loss, expected.loss)
                torch.testing.assert_close(observation.outputs, expected.outputs)
    return alone, together


def _check(alone: Sequence[Any], together: Sequence[Any], tolerance: float) -> None:
    for one, other in zip(alone, together, strict=True):
        expected, found = one.state(), other.state()
        assert found["t"] == expected["t"]
        assert equal(found["noise"], expected["noise"])
        assert equal(found["net"], expected["net"])
        for part in ("parameters", "traces"):
            torch.testing.assert_close(found[part], expected[part], rtol=0, atol=tolerance)
        torch.testing.assert_close(
            dict(other.gradients()), dict(one.gradients()), rtol=0, atol=tolerance
        )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("name", BASE)
def test_every_rule_ends_where_it_would_alone_with_the_mlp(name: str, dropout: float) -> None:
    rule, params = BASE[name]
    made = MLP.model_copy(update={"dropout": dropout})

    alone, together = _learn(
        rule, params, [_PreciseMlp(made, SPEC, LAYOUT) for _ in range(6)], steps=300
    )

    _check(alone, together, 1e-9)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_every_option_of_upgd_ends_where_it_would_alone_with_the_cnn(
    options: dict[str, Any],
) -> None:
    params = UpgdParams.model_validate({"noise_std": 0.1} | options)

    alone, together = _learn(
        Upgd, params, [_PreciseCnn(CNN, SPEC, LAYOUT) for _ in range(6)], steps=80
    )

    _check(alone, together, 1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dropout": 0.3, "padding": 1, "conv_activation": "relu"},
        {"pooling": 1, "hidden_sizes": ()},
    ],
    ids=str,
)
def test_batches_of_several_samples_are_learnt_by_cnns_of_all_kinds(
    changes: dict[str, Any],
) -> None:
    nets = [_PreciseCnn(CNN.model_copy(update=changes), SPEC, LAYOUT) for _ in range(6)]

    alone, together = _learn(*BASE["upgd"], nets, steps=40, size=4)

    _check(alone, together, 1e-9)


@pytest.mark.parametrize(
    "net", [Mlp(MLP, SPEC, LAYOUT), Cnn(CNN, SPEC, LAYOUT)], ids=["mlp", "cnn"]
)
def test_with_32_bits_the_difference_is_rounding(net: Any) -> None:
    nets = [type(net)(net._params, SPEC, LAYOUT) for _ in range(6)]

    alone, together = _learn(*BASE["upgd"], nets, steps=200, dtype=torch.float32)

    _check(alone, together, 1e-4)


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.3, "padding": 1, "activation": "tanh"}])
def test_nets_without_gradients_of_their_own_are_differentiated(
    changes: dict[str, Any],
) -> None:
    nets = [_Differentiated(CNN.model_copy(update=changes), SPEC, LAYOUT) for _ in range(6)]

    alone, together = _learn(*BASE["upgd"], nets, steps=20, size=2)

    _check(alone, together, 1e-9)


def test_of_equal_numbers_the_first_gets_the_gradient_of_pooling() -> None:
    nets = [_PreciseCnn(CNN, SPEC, LAYOUT) for _ in range(6)]
    learners = [_learner(*BASE["sgd"], net, 3) for net in nets]
    flat = Batch(
        inputs=torch.ones(1, *SPEC.input_shape, dtype=torch.float64).tril_(),
        targets=torch.tensor([1]),
        task_id=None,
    )

    PerturbedSgd.in_lockstep(learners[3:]).observe([flat] * 3)
    learners[0].observe(flat)

    _check(learners[:1] * 3, learners[3:], 1e-12)


def test_replicas_stay_usable_by_themselves() -> None:
    nets = [_PreciseMlp(MLP, SPEC, LAYOUT) for _ in range(6)]
    params = UpgdParams(noise_std=0.1, noise_scale="ratio-norm")
    alone, together = _learn(Upgd, params, nets, steps=5)

    first, *rest = together
    more = _batches(9, 5, 1, torch.float64)
    first.restore(first.state())
    for batch in more:
        first.observe(batch)
        Upgd.in_lockstep(rest).observe([batch, batch])
        for learner in alone:
            learner.observe(batch)

    _check(alone, together, 1e-9)
    query = Query(inputs=more[0].inputs, task_id=None)
    torch.testing.assert_close(first.predict(query), alone[0].predict(query))


def test_weights_of_all_replicas_are_shown_with_a_leading_axis() -> None:
    nets = [_PreciseMlp(MLP, SPEC, LAYOUT) for _ in SEEDS]
    learners = [_learner(*BASE["sgd"], net, seed) for net, seed in zip(nets, SEEDS, strict=True)]

    program = PerturbedSgd.in_lockstep(learners)

    assert isinstance(PerturbedSgd, RunsInLockstep)
    assert isinstance(program, HasLockstepWeights)
    for r, learner in enumerate(learners):
        for name, tensor in program.weights(None).items():
            assert torch.equal(tensor[r], learner.weights(None)[name])


def test_a_loss_that_is_no_number_stays_in_its_replica() -> None:
    nets = [_PreciseCnn(CNN, SPEC, LAYOUT) for _ in SEEDS]
    learners = [_learner(*BASE["upgd"], net, seed) for net, seed in zip(nets, SEEDS, strict=True)]
    learners[1]._p.fill_(torch.nan)
    program = Upgd.in_lockstep(learners)

    for t in range(3):
        losses = [
            one.loss
            for one in program.observe([_batches(s, 3, 1, torch.float64)[t] for s in SEEDS])
        ]

    assert [bool(loss.isfinite()) for loss in losses] == [True, False, True]
    assert [bool(one._p.isfinite().all()) for one in learners] == [True, False, True]


@pytest.mark.parametrize("name", BASE)
def test_batches_of_several_tasks_are_learnt_on_the_outputs_of_these_tasks(name: str) -> None:
    rule, params = BASE[name]
    spec = replace(SPEC, num_tasks=3)
    layout = OutputLayout(Scenario.CLASS_IL, "per-task", 3, 3)
    alone, together = (
        [_learner(rule, params, _PreciseMlp(MLP, spec, layout), seed, layout) for seed in SEEDS]
        for _ in range(2)
    )
    mixed = [
        replace(batch, task_id=torch.tensor([0, 1, 1, 0]), num_tasks=2)
        for batch in (_batches(seed, 1, 4, torch.float64)[0] for seed in SEEDS)
    ]

    seen = rule.in_lockstep(together).observe(mixed)

    for learner, batch, observation in zip(alone, mixed, seen, strict=True):
        assert observation.outputs.shape == (4, 6)
        torch.testing.assert_close(observation.outputs, learner.observe(batch).outputs)
    _check(alone, together, 1e-12)
