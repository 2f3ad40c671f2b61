"""Every method learns on another device than the CPU, and reads nothing back in a training step.

There is no GPU here, so the device is one whose tensors have no data (`elsewhere`): what is tested
is where tensors are and what would be waited for, not what comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from elsewhere import ELSEWHERE, NothingMoves, OneDevice
from torch import Tensor

from clbench.cell_run import CellRun
from clbench.checkpoints import Checkpoints
from clbench.curves import CurveKeeper
from clbench.graphs import obstacle
from clbench.groups import form
from clbench.images import Split
from clbench.matrix import Cell
from clbench.protocols import CPU, Batch, BatchStream, Learner, Observation
from clbench.registry import Registry
from clbench.scenario import Scenario
from clbench_copytask.recurrent import RecurrentNet
from clbench_regularization.fine_tuning import FineTuning

REGISTRY = Registry.discover()
SUITES = ("copy_task", "split_mnist", "permuted_mnist", "sparse_permuted_mnist", "streaming")
SUITES += ("toy_regression", "smoke")
ROWS = {
    f"{suite} {key}": cells
    for suite in SUITES
    for key, cells in tiny.rows(suite, (3, 4)).items()
    if suite != "smoke" or key.startswith("growing")  # the others of it are copy_task's
}
TOGETHER = [name for name, cells in ROWS.items() if not form(cells, REGISTRY, 2, None).alone]


def _parts(cell: Cell) -> tuple[Any, ...]:
    config = cell.config
    choices = (config.model, config.learner, *config.regularizers)
    return config.training.optimizer_state, *(choice.name for choice in choices)


UNLIKE = list({_parts(cells[0]): name for name, cells in ROWS.items()}.values())
"""A row of all that are made of equal parts."""
STEPS = 3


@pytest.fixture(autouse=True)
def _pictures(tiny_pictures: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """CIFAR-10 is as tiny as MNIST."""
    drawing = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (40, 3, 32, 32), dtype=torch.uint8, generator=drawing)
    for name in ("CifarDataset", "JpegCifar10"):
        monkeypatch.setattr(
            f"clbench_vision.datasets.{name}.load",
            lambda self, split: Split(pictures, torch.arange(40) % 10),
        )


@pytest.fixture(autouse=True)
def _optimisers_that_are_not_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch has fused steps for GPUs, and for the CPU, but none for tensors without data.

    Those that are not fused count steps on the CPU.
    """

    def count_on_the_cpu(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        for moments in optimiser.state.values():
            if "step" in moments:
                moments["step"] = torch.zeros(())

    def unfused(kind: Callable[..., torch.optim.Optimizer]) -> Callable[..., Any]:
        def build(flat: Any, *, fused: bool, **settings: Any) -> torch.optim.Optimizer:
            optimiser = kind(flat, **settings)
            optimiser.register_step_pre_hook(count_on_the_cpu)
            return optimiser

        return build

    for name in ("Adam", "SGD"):
        monkeypatch.setattr(torch.optim, name, unfused(getattr(torch.optim, name)))


def _silent(progress: Any) -> None:
    pass


def _runs(cells: Sequence[Cell], device: torch.device = ELSEWHERE) -> list[CellRun]:
    runs: list[CellRun] = []
    for cell in cells:
        sibling = runs[0] if runs else None
        runs.append(CellRun(cell.config, REGISTRY, _silent, sibling=sibling, device=device))
        runs[-1].prepare()
    return runs


def _stream(run: CellRun, task_id: int) -> BatchStream:
    regime = run.config.regime
    if regime in ("joint", "cumulative"):
        return run.mixed_stream(len(run.tasks) if regime == "joint" else task_id + 1)
    return run.stream(task_id, "order")


def _learn(runs: Sequence[CellRun], learners: Sequence[Learner], task_id: int) -> None:
    """Some training steps on a task, in lockstep where there are several learners."""
    for run, learner in zip(runs, learners, strict=True):
        if run.config.scenario is not Scenario.TASK_FREE:
            learner.begin_task(task_id)
    streams = [_stream(run, task_id) for run in runs]
    curves = [CurveKeeper(task_id, 1000, 2, run.family.objective) for run in runs]
    observe = _observe(learners)
    for step in range(1, STEPS + 1):
        batches = [stream.next(5) for stream in streams]
        seen = observe(batches)
        for curve, observation, batch in zip(curves, seen, batches, strict=True):
            assert {observation.loss.device, observation.outputs.device} == {runs[0].device}
            curve.add(step, observation, batch)


def _observe(learners: Sequence[Any]) -> Callable[[Sequence[Batch]], Sequence[Observation]]:
    if len(learners) == 1:
        return lambda batches: [learners[0].observe(batches[0])]
    return type(learners[0]).in_lockstep(learners).observe  # type: ignore[no-any-return]


def _learn_and_predict(runs: Sequence[CellRun]) -> None:
    """Two tasks, the end of one between them, and predictions."""
    learners = [run.learner() for run in runs]
    _learn(runs, learners, 0)
    for run, learner in zip(runs, learners, strict=True):
        if run.config.scenario is not Scenario.TASK_FREE:
            run.consolidate(learner, 0)
    _learn(runs, learners, 1)
    for run, learner in zip(runs, learners, strict=True):
        for task_id in range(2):
            for query in run.queries(task_id):
                assert learner.predict(query).device == run.device


@pytest.mark.parametrize("row", ROWS)
def test_a_row_learns_on_another_device(row: str) -> None:
    with OneDevice():
        _learn_and_predict(_runs(ROWS[row][:1]))


@pytest.mark.parametrize("row", TOGETHER)
def test_two_seeds_learn_in_lockstep_on_another_device(row: str) -> None:
    with OneDevice():
        _learn_and_predict(_runs(ROWS[row]))


@pytest.mark.parametrize("row", UNLIKE)
def test_what_was_learnt_on_the_cpu_goes_on_on_another_device(row: str) -> None:
    (here,), (there,) = _runs(ROWS[row][:1], CPU), _runs(ROWS[row][:1])
    saved, restored = here.learner(), there.learner()
    _learn([here], [saved], 0)
    if here.config.scenario is not Scenario.TASK_FREE:
        here.consolidate(saved, 0)
    _learn([here], [saved], 1)

    with OneDevice():
        restored.restore(saved.state())

        _learn([there], [restored], 1)


def _steps_that_can_be_recorded(row: str) -> None:
    """Steps on two tasks of a cell alone, and of two in lockstep where that is possible."""
    for cells in (ROWS[row][:1], ROWS[row]) if row in TOGETHER else (ROWS[row][:1],):
        runs = _runs(cells)
        learners = [run.learner() for run in runs]
        for task_id in range(2):
            for learner in learners:
                learner.begin_task(task_id)
            streams = [_stream(run, task_id) for run in runs]
            observe = _observe(learners)
            assert obstacle(learners[0]) is None
            for _ in range(STEPS):
                batches = [stream.next(5) for stream in streams]
                with NothingMoves():
                    observe(batches)
            if task_id == 0:
                for run, learner in zip(runs, learners, strict=True):
                    run.consolidate(learner, 0)


ALIKE = [
    name
    for name in ROWS
    if name.startswith("copy_task") and name.split("/")[1] not in ("replay", "coresets")
]
"""Rows whose steps are recorded on a GPU (`test_graphs`)."""


@pytest.mark.parametrize("row", ALIKE)
def test_steps_that_are_recorded_get_nothing_from_the_cpu(row: str) -> None:
    _steps_that_can_be_recorded(row)


def _puts_a_tensor_on_the_cpu(self: Any, query: Any) -> Tensor:
    return query.inputs * torch.ones(query.inputs.shape[-1])


def _reads_the_loss(self: Any, batch: Batch) -> Observation:
    losses, outputs = self.losses(batch, batch.task_id)
    return Observation(torch.tensor(float(losses.mean())), outputs)


def _looks_for_places(self: Any, batch: Batch) -> Observation:
    losses, outputs = self.losses(batch, batch.task_id)
    return Observation(losses[losses > 0].mean(), outputs)


@pytest.mark.parametrize(
    ("owner", "name", "breakage", "error"),
    [
        (RecurrentNet, "inputs", _puts_a_tensor_on_the_cpu, AssertionError),
        (FineTuning, "gradient", _reads_the_loss, RuntimeError),
        (FineTuning, "gradient", _looks_for_places, NotImplementedError),
    ],
)
def test_these_tests_notice_what_they_are_for(
    owner: type, name: str, breakage: Any, error: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, breakage)

    with pytest.raises(error), OneDevice():
        _learn_and_predict(_runs(ROWS["copy_task permuted/fine-tuning"][:1]))


def test_an_index_on_the_cpu_and_a_draw_there_are_noticed() -> None:
    rows = torch.zeros(3, 2, device=ELSEWHERE)

    with OneDevice():
        with pytest.raises(AssertionError, match="index"):
            rows[torch.tensor([0, 1])]
        with pytest.raises(AssertionError, match="uniform"):
            rows.uniform_(generator=torch.Generator())


def test_checkpoints_hold_tensors_of_the_cpu(tmp_path: Path) -> None:
    checkpoints = Checkpoints("a" * 8, {"clbench": "0"}, folder=tmp_path)

    checkpoints.save({"parts": [{"weights": torch.zeros(2, device=ELSEWHERE)}]})

    (note,) = checkpoints.notes  # the copy was tried, and there is no data to copy
    assert "Cannot copy out of meta tensor" in note
