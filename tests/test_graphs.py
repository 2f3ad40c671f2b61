"""Recorded training steps do what steps do that are taken one operation at a time.

There is no GPU here, so a tape of PyTorch's operations stands for a CUDA graph (`tape`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor

from clbench import graphs
from clbench.cell_run import CellRun
from clbench.graphs import FIRST_STEPS, AlikeSteps, alike, obstacle
from clbench.groups import form
from clbench.matrix import Cell
from clbench.protocols import Learner, Observation
from clbench.registry import Registry
from clbench.tape import Tape
from clbench_regularization.fine_tuning import FineTuning
from clbench_regularization.orthogonal import Orthogonal

REGISTRY = Registry.discover()
ROWS = {key: cells for key, cells in tiny.rows("copy_task", (3, 4)).items()}
STEPS = 7
UNLIKE = {
    "coresets": "the inherited graph_obstacle of Coresets",
    "replay": "GenerativeReplay, which does not say that its steps are alike",
}
"""Methods that draw at each step, and what keeps their steps from being recorded."""


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """Records on the CPU."""
    made = Tape()
    monkeypatch.setattr(graphs, "recorder_on", lambda device: made)
    return made


def _runs(cells: Sequence[Cell]) -> list[CellRun]:
    runs: list[CellRun] = []
    for cell in cells:
        sibling = runs[0] if runs else None
        runs.append(CellRun(cell.config, REGISTRY, lambda progress: None, sibling=sibling))
        runs[-1].prepare()
    return runs


def _learnt(runs: Sequence[CellRun], recorded: bool) -> tuple[list[Learner], list[list[Tensor]]]:
    """Learners after some steps on two tasks, and what each observed."""
    learners = [run.learner() for run in runs]
    observed: list[list[Tensor]] = [[] for _ in runs]
    for task_id in range(2):
        for learner in learners:
            learner.begin_task(task_id)
        streams = [run.stream(task_id, "order") for run in runs]
        observe: Any
        if len(learners) == 1:
            steps = AlikeSteps(learners[0]) if recorded else learners[0]
            observe = lambda batches, steps=steps: [steps.observe(batches[0])]  # noqa: E731
        else:
            program = type(learners[0]).in_lockstep(learners)  # type: ignore[attr-defined]
            observe = (alike(program) if recorded else program).observe
        for _ in range(STEPS):
            seen = observe([stream.next(5) for stream in streams])
            for own, one in zip(observed, seen, strict=True):
                own += [one.loss, one.outputs.clone()]
        if task_id == 0:
            for run, learner in zip(runs, learners, strict=True):
                run.consolidate(learner, 0)
    return learners, observed


def _assert_equal(a: Any, b: Any) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("row", ROWS)
def test_recorded_steps_of_a_row_are_its_steps(row: str, seeds: int, tape: Tape) -> None:
    cells = ROWS[row][:seeds]
    if seeds > 1 and form(cells, REGISTRY, 2, None).alone:
        pytest.skip("runs alone")
    expected, seen = _learnt(_runs(cells), recorded=False)

    found, observed = _learnt(_runs(cells), recorded=True)

    _assert_equal([learner.state() for learner in found], [one.state() for one in expected])
    _assert_equal(observed, seen)
    is_alike = row.split("/")[1] not in UNLIKE
    assert tape.played == is_alike * 2 * (STEPS - FIRST_STEPS)
    assert tape.recordings == is_alike * 2


@pytest.mark.parametrize("method", UNLIKE)
def test_steps_that_draw_are_not_recorded(method: str) -> None:
    (run,) = _runs(ROWS[f"permuted/{method}"][:1])

    assert obstacle(run.learner()) == UNLIKE[method]


def test_a_hypernetwork_that_draws_tasks_is_recorded_until_it_does(tape: Tape) -> None:
    (run,) = _runs(ROWS["permuted/hnet-rb1"][:1])
    learner, found = run.learner(), []

    for task_id in range(3):
        learner.begin_task(task_id)
        found.append(obstacle(learner))

    assert found == [None, None, "regularized_tasks of ChunkedHypernetwork"]


def test_a_learner_says_what_of_its_parts_is_unlike() -> None:
    class Wavering(Orthogonal):
        def graph_obstacle(self) -> str | None:
            return "waves"

    class Inheriting(Orthogonal):
        pass

    (run,) = _runs(ROWS["permuted/multitask"][:1])
    learner = run.learner()
    assert isinstance(learner, FineTuning)
    assert obstacle(learner) is None

    found = []
    for kind in (Wavering, Inheriting):
        learner._regularizers = (kind(Orthogonal.Params(strength=1), run.net),)
        found.append(obstacle(learner))

    assert found == [
        "waves of Wavering of FineTuning",
        "the inherited graph_obstacle of Inheriting of FineTuning",
    ]


def _counts_in_python(self: Any) -> None:
    self.count = getattr(self, "count", 0) + 1
    self.parameters.gradients.mul_(1 / self.count)
    self.optimiser.step()


def _replaces_memory(self: Any) -> None:
    before = getattr(self, "before", torch.zeros_like(self.parameters.gradients))
    self.before = self.parameters.gradients.clone()
    self.parameters.gradients.add_(before)
    self.optimiser.step()


def _draws(self: Any) -> None:
    self.drawing = getattr(self, "drawing", None) or torch.Generator().manual_seed(0)
    self.parameters.gradients.add_(torch.randn(1, generator=self.drawing).item())
    self.optimiser.step()


@pytest.mark.parametrize("step", [_counts_in_python, _replaces_memory, _draws])
def test_these_tests_notice_steps_that_are_unlike(
    step: Any, tape: Tape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FineTuning, "step", step)
    cells = ROWS["permuted/fine-tuning"][:1]
    (expected,), _ = _learnt(_runs(cells), recorded=False)

    (found,), _ = _learnt(_runs(cells), recorded=True)

    with pytest.raises(AssertionError):
        _assert_equal(found.state(), expected.state())


def test_a_batch_of_another_form_takes_its_step_unrecorded(tape: Tape) -> None:
    (run,) = _runs(ROWS["permuted/online-ewc"][:1])
    sizes = [5] * (FIRST_STEPS + 2) + [4, 5, 3, 5]

    def learnt(recorded: bool) -> Learner:
        learner, stream = run.learner(), run.stream(0, "order")
        steps = AlikeSteps(learner) if recorded else learner
        learner.begin_task(0)
        for size in sizes:
            steps.observe(stream.next(size))
        return learner

    _assert_equal(learnt(recorded=True).state(), learnt(recorded=False).state())
    assert (tape.taken, tape.played, tape.recordings) == (FIRST_STEPS + 2, 4, 1)


def test_losses_outlive_the_next_step(tape: Tape) -> None:
    (run,) = _runs(ROWS["permuted/hnet"][:1])
    learner, stream = run.learner(), run.stream(0, "order")
    learner.begin_task(0)
    steps = AlikeSteps(learner)
    losses = [steps.observe(stream.next(5)).loss for _ in range(FIRST_STEPS + 3)]

    assert len({float(loss) for loss in losses}) == len(losses)


def test_a_step_that_cannot_be_recorded_is_taken_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Failing(Tape):
        def record(self, step: Any) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(graphs, "recorder_on", lambda device: Failing())
    cells = ROWS["permuted/si"][:1]
    (expected,), _ = _learnt(_runs(cells), recorded=False)

    with pytest.warns(UserWarning, match="steps of FineTuning") as warned:
        (found,), _ = _learnt(_runs(cells), recorded=True)

    _assert_equal(found.state(), expected.state())
    assert [str(one.message) for one in warned] == [
        "steps of FineTuning are not recorded: operation not permitted when stream is capturing"
    ] * 2


def test_nothing_is_recorded_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Observation:
        raise AssertionError("a recording")

    monkeypatch.setattr(graphs.CudaRecorder, "__init__", never)
    (run,) = _runs(ROWS["permuted/hnet"][:1])
    learner, stream = run.learner(), run.stream(0, "order")
    learner.begin_task(0)
    steps = AlikeSteps(learner)

    for _ in range(FIRST_STEPS + 2):
        assert isinstance(steps.observe(stream.next(5)), Observation)
