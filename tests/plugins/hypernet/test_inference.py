"""Hypernetworks that are not told the task at test time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytest
import torch
import toys
from torch import Tensor

from clbench.config import Adam, Training
from clbench.errors import UnavailableError
from clbench.protocols import Batch, Context, Query
from clbench.scenario import OutputLayout, Scenario
from clbench_hypernet.learner import ChunkedHypernetwork, ChunkedHypernetworkParams
from clbench_regularization.online_ewc import OnlineEwc, OnlineEwcParams
from clbench_vision.classification import Classification

FAMILY = toys.Pictures(toys.TwoParams())
K, N = 3, 2


def _learner(scenario: Scenario, **context: Any) -> ChunkedHypernetwork:
    layout = OutputLayout(scenario, scenario.heads[0], K, N)
    params = ChunkedHypernetworkParams(
        chunk_size=20,
        hidden_sizes=(8,),
        task_embedding_size=3,
        chunk_embedding_size=2,
        beta=1.0,
    )
    training = Training(iterations=1, learning_rate=0.05, optimizer=Adam())
    return ChunkedHypernetwork(params, toys.pictures_context(layout, training=training, **context))


def _batch(task_id: int, offset: int) -> Batch:
    task = FAMILY.tasks(0, Scenario.TASK_IL)[task_id]
    batch = task.train_stream(torch.Generator().manual_seed(task_id)).next(16)
    return replace(batch, targets=batch.targets + offset, task_id=task_id)


def _learn(scenario: Scenario) -> ChunkedHypernetwork:
    learner = _learner(scenario)
    for task_id in range(2):
        learner.begin_task(task_id)
        for _ in range(20):
            learner.observe(_batch(task_id, N * task_id if scenario is Scenario.CLASS_IL else 0))
    return learner


def _by_hand(learner: ChunkedHypernetwork, inputs: Tensor) -> list[tuple[int, Tensor]]:
    """Of each sample, the task of least entropy among the two learnt, and its outputs."""
    found = []
    for sample in inputs:
        candidates = []
        for task_id in range(2):
            weights = learner.weights(task_id)
            query = Query(inputs=sample[None], task_id=None)
            outputs = learner._net(weights, query, Context())[0]
            outputs = outputs[learner._layout.own_rows(task_id)]
            p = outputs.softmax(0)
            candidates.append((float(-(p * p.log()).sum()), task_id, outputs))
        _, task_id, outputs = min(candidates, key=lambda candidate: candidate[0])
        found.append((task_id, outputs))
    return found


def test_in_domain_il_the_surest_task_answers() -> None:
    learner = _learn(Scenario.DOMAIN_IL)
    inputs = torch.cat([_batch(0, 0).inputs, _batch(1, 0).inputs])

    found = learner.predict(Query(inputs=inputs, task_id=None))

    expected = _by_hand(learner, inputs)
    torch.testing.assert_close(found, torch.stack([outputs for _, outputs in expected]))
    assert {task_id for task_id, _ in expected} == {0, 1}  # or the test says little


def test_in_class_il_only_the_outputs_of_the_surest_task_compete() -> None:
    learner = _learn(Scenario.CLASS_IL)
    inputs = torch.cat([_batch(0, 0).inputs, _batch(1, 0).inputs])

    found = learner.predict(Query(inputs=inputs, task_id=None))

    assert found.shape == (32, K * N)
    for row, (task_id, outputs) in zip(found, _by_hand(learner, inputs), strict=True):
        own = slice(task_id * N, task_id * N + N)
        torch.testing.assert_close(row[own], outputs)
        others = torch.cat([row[: own.start], row[own.stop :]])
        assert others.tolist() == [-torch.inf] * (K * N - N)


def test_a_learner_of_one_task_alone_answers_with_the_outputs_of_that_task() -> None:
    learner = _learner(Scenario.CLASS_IL)
    learner.begin_task(1)  # as in training from scratch
    query = Query(inputs=_batch(1, 0).inputs, task_id=None)

    found = learner.predict(query)

    outputs = learner._net(learner.weights(1), query, Context())
    assert torch.equal(found[:, N : 2 * N], outputs[:, N : 2 * N])
    assert (found == -torch.inf).all(0).tolist() == [True, True, False, False, True, True]


def test_tasks_that_have_not_begun_do_not_compete() -> None:
    learner = _learner(Scenario.CLASS_IL)
    learner.begin_task(0)

    found = learner.predict(Query(inputs=_batch(0, 0).inputs, task_id=None))

    assert bool((found[:, N:] == -torch.inf).all())


def test_in_class_il_a_task_is_trained_on_its_own_outputs_and_told_as_global_labels() -> None:
    batch = _batch(1, N)
    learners = [_learner(scenario) for scenario in (Scenario.TASK_IL, Scenario.CLASS_IL)]
    for learner in learners:
        learner.begin_task(1)

    told = learners[0].observe(replace(batch, targets=batch.targets - N))
    inferred = learners[1].observe(batch)

    assert torch.equal(told.loss, inferred.loss)
    assert inferred.outputs.shape == (16, 2 * N)
    assert torch.equal(inferred.outputs[:, N:], told.outputs)
    assert bool((inferred.outputs[:, :N] == -torch.inf).all())
    a, b = (learner.weights(1) for learner in learners)
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("fisher", ["empirical", "predicted"])
def test_in_class_il_a_task_is_consolidated_on_the_loss_that_it_was_trained_by(
    fisher: Literal["empirical", "predicted"],
) -> None:
    @dataclass
    class Data:
        batch: Batch
        num_samples: int = 16

        def batches(self, num_samples: int) -> Iterator[Batch]:
            yield self.batch

    found = []
    for scenario, offset in ((Scenario.TASK_IL, 0), (Scenario.CLASS_IL, N)):
        params = OnlineEwcParams(ewc_lambda=1, fisher=fisher)
        regularizer = OnlineEwc(params, _learner(scenario)._net)
        learner = _learner(scenario, regularizers=(regularizer,), objective=Classification())
        learner.begin_task(1)
        learner.end_task(1, Data(_batch(1, offset)))
        found.append(regularizer.state()["fisher"])

    local, inferred = found
    assert local["b"].count_nonzero() == N  # only the task's outputs matter
    assert all(torch.equal(local[name], inferred[name]) for name in local)


def test_only_classifications_have_an_entropy() -> None:
    spec = replace(FAMILY.spec, kind="regression")

    with pytest.raises(UnavailableError) as caught:
        _learner(Scenario.DOMAIN_IL, spec=spec)

    assert str(caught.value) == (
        "a hypernetwork infers the task by the entropy of a classification, and these tasks are of "
        "kind regression"
    )
