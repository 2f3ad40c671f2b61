"""A-GEM and experience replay: the contract of learners, and steps worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from clbench.config import Sgd, Training
from clbench.errors import SuiteError, UnavailableError
from clbench.metrics import MSE
from clbench.protocols import (
    Batch,
    Context,
    Learner,
    LearnerContext,
    NamedTensors,
    Query,
    SequenceSpec,
    Tally,
)
from clbench.registry import Registry
from clbench.scenario import OutputLayout, Scenario
from clbench.suite import load
from clbench.testing import LearnerContract, first_run
from torch import Tensor

from clbench_agem.a_gem import AGem, projected
from clbench_agem.er import ExperienceReplay
from clbench_agem.rehearsal import Rehearsal, RehearsalParams

torch.set_num_threads(1)

SUITE = Path(__file__).parent.parent / "suites" / "permuted_copy.yaml"
RUNS = {row: first_run(SUITE, row) for row in ("a-gem", "er", "er-reservoir")}


class _Contract(LearnerContract):
    row: str

    def build(self) -> Learner:
        return RUNS[self.row].learner()

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        stream = RUNS[self.row].stream(task_id, "order")
        return [stream.next(8) for _ in range(count)]


class TestAGem(_Contract):
    row = "a-gem"


class TestExperienceReplay(_Contract):
    row = "er"


class TestExperienceReplayWithAReservoir(_Contract):
    row = "er-reservoir"


# steps by hand, of y = w . x with two weights and half the squared error


class _TwoWeights:
    """``y = w . x``."""

    shapes: Mapping[str, tuple[int, ...]] = {"w": (2,)}
    output_names: tuple[str, ...] = ()

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {"w": torch.tensor([1.0, 1.0])}

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        return (query.inputs @ params["w"]).unsqueeze(1)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


class _Twice(_TwoWeights):
    """The same output for each of two tasks."""

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        return super().__call__(params, query, context).repeat(1, 2)


class _HalfSquares:
    metric = MSE

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return (outputs - batch.targets).square().sum(-1) / 2

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        return Tally(float(self.losses(outputs, batch).sum()), len(outputs))

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs


def _context(scenario: Scenario = Scenario.DOMAIN_IL, **values: Any) -> LearnerContext:
    fill: dict[str, Any] = {
        "spec": SequenceSpec(kind="regression", input_shape=(2,), outputs_per_task=1, num_tasks=2),
        "net": _TwoWeights(),
        "layout": OutputLayout(scenario, "shared", 2, 1),
        "objective": _HalfSquares(),
        "training": Training(iterations=1, learning_rate=0.1, optimizer=Sgd()),
        "regularizers": (),
        "generator": lambda purpose: torch.Generator().manual_seed(0),
        "model_seed": 0,
        "build_net": None,
        "build_regularizers": None,
    }
    return LearnerContext(**(fill | values))


def _batch(x: list[float], y: float, task_id: int) -> Batch:
    return Batch(inputs=torch.tensor([x]), targets=torch.tensor([[y]]), task_id=task_id)


class _Data:
    num_samples = 1

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def batches(self, num_samples: int) -> Iterator[Batch]:
        yield self._batch


def _weights(learner: Rehearsal) -> list[float]:
    return learner.weights(None)["w"].tolist()


def test_a_gradient_that_would_raise_the_loss_on_the_memory_is_projected() -> None:
    """g . r = -2 and r . r = 4, so half of r is added: (1, 1) + 0.5 (-2, 0) = (0, 1)."""
    gradient, reference = torch.tensor([1.0, 1.0]), torch.tensor([-2.0, 0.0])

    found = projected(gradient, reference)

    assert found.tolist() == [0.0, 1.0]
    assert torch.dot(found, reference) == 0.0


@pytest.mark.parametrize("reference", [[2.0, 0.0], [1.0, -1.0], [0.0, 0.0]])
def test_any_other_gradient_stays_as_it_is(reference: list[float]) -> None:
    gradient = torch.tensor([1.0, 1.0])

    assert projected(gradient, torch.tensor(reference)).tolist() == [1.0, 1.0]


def test_a_step_of_a_gem_does_not_raise_the_loss_on_the_memory() -> None:
    """Stored: x = (1, 0), y = 2, so at w = (1, 1) the error is -1 and r = (-1, 0).

    New: x = (1, 1), y = 0, so the error is 2 and g = (2, 2). g . r = -2, r . r = 1, and the
    projection is (2, 2) + 2 (-1, 0) = (0, 2): only the second weight moves, by -0.1 * 2.
    """
    learner = AGem(RehearsalParams(memory_size=2), _context())
    learner.end_task(0, _Data(_batch([1.0, 0.0], 2.0, task_id=0)))
    learner.begin_task(1)

    learner.observe(_batch([1.0, 1.0], 0.0, task_id=1))

    assert _weights(learner) == pytest.approx([1.0, 0.8])


def test_the_first_task_of_a_gem_is_plain_training() -> None:
    learner = AGem(RehearsalParams(memory_size=2), _context())
    learner.begin_task(0)

    learner.observe(_batch([1.0, 1.0], 0.0, task_id=0))

    assert _weights(learner) == pytest.approx([0.8, 0.8])


def test_a_step_of_replay_is_the_mean_over_new_and_stored_samples() -> None:
    """First step as above, to (0.8, 0.8), and the sample is stored.

    Then x = (1, 0), y = 0: its gradient is (0.8, 0), that of the stored one (1.6, 1.6), their
    mean (1.2, 0.8).
    """
    learner = ExperienceReplay(RehearsalParams(memory_size=2), _context())
    learner.begin_task(0)
    learner.observe(_batch([1.0, 1.0], 0.0, task_id=0))
    learner.begin_task(1)

    observation = learner.observe(_batch([1.0, 0.0], 0.0, task_id=1))

    assert _weights(learner) == pytest.approx([0.8 - 0.12, 0.8 - 0.08])
    assert observation.loss.item() == pytest.approx(0.8**2 / 2)  # of the new sample alone


def test_the_total_gradient_is_clipped() -> None:
    training = Training(iterations=1, learning_rate=0.1, optimizer=Sgd(), clip_grad_norm=2**0.5)
    learner = ExperienceReplay(RehearsalParams(memory_size=2), _context(training=training))
    learner.begin_task(0)

    learner.observe(_batch([1.0, 1.0], 0.0, task_id=0))

    assert _weights(learner) == pytest.approx([0.9, 0.9])


@pytest.mark.parametrize(
    ("params", "context", "message"),
    [
        ({}, _context(regularizers=("any",)), "ExperienceReplay takes no regularizers: str"),
        (
            {},
            _context(Scenario.TASK_FREE),
            "a ring of each task's samples needs ids of tasks; use a reservoir",
        ),
        ({"memory_size": 1}, _context(), "a memory of 1 samples is too small for 2 tasks"),
    ],
)
def test_what_does_not_fit_is_refused(
    params: dict[str, Any], context: LearnerContext, message: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        ExperienceReplay(RehearsalParams(**params), context)

    assert str(caught.value) == message


@pytest.mark.parametrize("regime", ["joint", "independent"])
@pytest.mark.parametrize("name", ["a-gem", "er"])
def test_a_regime_without_earlier_tasks_is_refused(name: str, regime: str, tmp_path: Path) -> None:
    learner = f"    learner: {{name: {name}, memory_size: 100}}\n"
    head, tail = SUITE.read_text().split(learner)
    (tmp_path / "suite.yaml").write_text(f"{head}{learner}    regime: {regime}\n{tail}")

    with pytest.raises(SuiteError) as caught:
        load(tmp_path / "suite.yaml", Registry.discover())

    _, mistake = str(caught.value).split(f"methods.{name}.regime: ")
    assert mistake == (
        f"learner '{name}' cannot serve the regime '{regime}', only 'cumulative' or 'sequential'"
    )


def test_replay_with_a_reservoir_serves_streams_without_ids() -> None:
    learner = ExperienceReplay(RehearsalParams(memory="reservoir"), _context(Scenario.TASK_FREE))

    for _ in range(3):
        learner.observe(replace(_batch([1.0, 1.0], 0.0, task_id=0), task_id=None))

    assert _weights(learner) == pytest.approx([0.512, 0.512])  # errors shrink to 0.8 of the last


def test_stored_samples_compete_with_all_classes_so_far_in_class_il(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layout = OutputLayout(Scenario.CLASS_IL, "per-task", 2, 1)
    context = _context(layout=layout, net=_Twice())
    learner = ExperienceReplay(RehearsalParams(memory_size=2), context)
    seen = []
    right = Rehearsal.losses

    def losses(self: Rehearsal, batch: Batch, competing: Any) -> Any:
        seen.append((batch.task_id, competing))
        return right(self, batch, None)

    monkeypatch.setattr(Rehearsal, "losses", losses)
    for task_id in (0, 1):
        learner.begin_task(task_id)
        learner.observe(_batch([1.0, 1.0], 0.0, task_id=task_id))

    assert seen == [(0, 0), (0, 1), (1, 1)]  # new; stored, then new
