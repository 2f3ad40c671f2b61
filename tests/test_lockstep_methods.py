"""In lockstep the methods of the suites end where each cell would end alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import tiny
import torch
from cuts import CutOff, EveryFifth, until
from torch import Tensor

from clbench import lessons
from clbench.batching import SweptStream
from clbench.cell_run import CellRun
from clbench.checkpoints import Checkpoints
from clbench.config import Choice, Sgd
from clbench.curves import DivergedError
from clbench.errors import ClbenchError
from clbench.executor import Progress
from clbench.groups import form
from clbench.matrix import Cell
from clbench.protocols import Batch, BatchStream, Context, Learner
from clbench.registry import Registry
from clbench.runner import Outcome, Start, run, run_group, run_together
from clbench.testing import equal
from clbench.tracking import Tracking
from clbench_copytask.elman import Elman
from clbench_regularization.fine_tuning import FineTuning
from clbench_regularization.online_ewc import OnlineEwc
from clbench_replay.coresets import Coresets
from clbench_streaming.upgd import Upgd

SEEDS = (3, 4, 5)
TOLERANCE = 1e-9
"""Of 64 bits, in which rounding stays far below any difference of method."""

COPIES, SMOKE, PICTURES = (tiny.rows(name, SEEDS) for name in ("copy_task", "smoke", "split_mnist"))
ALONE: set[str] = set()
"""Rows of the copy tasks that cannot run in lockstep: none."""


def _silent(progress: Progress) -> None:
    pass


def _checkpoints(cells: Sequence[Cell], folder: Path) -> list[Checkpoints]:
    return [EveryFifth(cell.config.id, {"clbench": "0"}, folder=folder) for cell in cells]


@pytest.fixture
def _precise(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Everything in 64 bits."""

    def gather(stored: Tensor, index: Tensor) -> Tensor:
        return stored.index_select(0, index).double().transpose(0, 1).contiguous()

    def doubled(pictures: Tensor, pixels: str) -> Tensor:
        return pictures.double().div_(255.0)

    monkeypatch.setattr("clbench_copytask.sequences._gather", gather)
    monkeypatch.setattr("clbench_vision.pictures.scaled", doubled)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def learners(monkeypatch: pytest.MonkeyPatch) -> dict[int, list[Learner]]:
    """The learners that are made, by the seed of their cell."""
    made: dict[int, list[Learner]] = {}
    really = CellRun.learner

    def learner(self: CellRun, *purpose: str | int) -> Learner:
        one = really(self, *purpose)
        made.setdefault(self.config.seed, []).append(one)
        return one

    monkeypatch.setattr(CellRun, "learner", learner)
    return made


def _changed(cells: Sequence[Cell], **changes: Any) -> list[Cell]:
    return [Cell(c.suite, c.row, c.config.model_copy(update=changes)) for c in cells]


def _with_training(cells: Sequence[Cell], **changes: Any) -> list[Cell]:
    return _changed(cells, training=cells[0].config.training.model_copy(update=changes))


def _with_params(cells: Sequence[Cell], part: str, name: str, **changes: Any) -> list[Cell]:
    """With other parameters of a part, which may be another one."""
    choice = getattr(cells[0].config, part)
    params = {**choice.params, **changes}
    return _changed(cells, **{part: choice.model_copy(update={"name": name, "params": params})})


def _with_regularizer(cells: Sequence[Cell], name: str, **params: Any) -> list[Cell]:
    return _changed(cells, regularizers=(Choice(name=name, version=1, params=params),))


def _assert_close(found: Any, expected: Any) -> None:
    """Numbers to rounding; whole ones, as those of generators and counters, exactly."""
    if isinstance(expected, Tensor):
        assert found.dtype == expected.dtype
        if expected.is_floating_point():
            torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)
        else:
            assert torch.equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for name, value in expected.items():
            _assert_close(found[name], value)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            _assert_close(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=TOLERANCE, abs=TOLERANCE)
    else:
        assert found == expected


def _together(cells: Sequence[Cell]) -> list[Outcome]:
    """How they end in lockstep; unlike `run_group` it falls back on nothing."""
    starts = [Start(cell.config, None, None, Tracking()) for cell in cells]
    return run_together(starts, Registry.discover(), _silent)


def _alone(cell: Cell) -> Outcome:
    try:
        return run(cell.config, Registry.discover(), _silent)
    except DivergedError as error:
        return error


def _check(cells: Sequence[Cell], learners: dict[int, list[Learner]]) -> list[Outcome]:
    """Run cells in lockstep and alone, and compare all that they leave."""
    outcomes = _together(cells)
    together = {seed: [one.state() for one in made] for seed, made in learners.items()}
    learners.clear()

    for cell, found in zip(cells, outcomes, strict=True):
        expected = _alone(cell)
        if isinstance(expected, BaseException):
            assert (type(found), str(found)) == (type(expected), str(expected))
            continue
        assert isinstance(found, tuple)
        _assert_close(found[0].model_dump(), expected[0].model_dump())
        alone = [one.state() for one in learners[cell.config.seed]]
        _assert_close(together[cell.config.seed], alone)
    return outcomes


def test_the_rows_that_run_alone_are_those_that_are_listed() -> None:
    cells = [cell for row in COPIES.values() for cell in row]

    found = form(cells, Registry.discover(), 3, None)

    assert set(found.alone) == ALONE
    assert {len(group) for group in found.groups if group[0].row not in ALONE} == {3}


@pytest.mark.usefixtures("_precise")
@pytest.mark.parametrize("row", sorted(set(COPIES) - ALONE))
def test_every_row_of_the_copy_tasks_ends_where_it_would_alone(
    row: str, learners: dict[int, list[Learner]]
) -> None:
    _check(COPIES[row], learners)


@pytest.mark.usefixtures("_precise")
@pytest.mark.parametrize("row", sorted(row for row in SMOKE if row.startswith("growing/")))
def test_tasks_of_different_lengths_end_where_they_would_alone(
    row: str, learners: dict[int, list[Learner]]
) -> None:
    # a smaller rate: at 0.01 Adam lets rounding grow past the tolerance on some processors
    _check(_with_training(SMOKE[row], learning_rate=1e-3), learners)


@pytest.mark.usefixtures("_precise", "tiny_pictures")
@pytest.mark.parametrize("row", sorted(PICTURES))
def test_pictures_end_where_they_would_alone(row: str, learners: dict[int, list[Learner]]) -> None:
    _check(PICTURES[row], learners)


@pytest.mark.usefixtures("_precise")
@pytest.mark.parametrize("row", ["fine-tuning", "multitask", "online-ewc", "hnet", "replay"])
def test_the_lstm_ends_where_it_would_alone(row: str, learners: dict[int, list[Learner]]) -> None:
    cells = COPIES[f"permuted/{row}"]

    _check(_with_params(cells, "model", "lstm"), learners)


OPTIONS: dict[str, Sequence[Cell]] = {
    "momentum": _with_training(
        COPIES["permuted/si"], optimizer=Sgd(momentum=0.9, nesterov=True), weight_decay=0.1
    ),
    "plain descent": _with_training(COPIES["permuted/si"], optimizer=Sgd()),
    "kept moments": _with_training(COPIES["permuted/si"], optimizer_state="kept"),
    "clipped to little": _with_training(COPIES["permuted/online-ewc"], clip_grad_norm=1e-3),
    "not clipped": _with_training(COPIES["permuted/online-ewc"], clip_grad_norm=-1),
    "path of total steps": _with_regularizer(COPIES["permuted/si"], "si", path="total-step"),
    "look-ahead": _with_params(
        COPIES["permuted/hnet"], "learner", "chunked-hypernetwork", look_ahead=True
    ),
    "look-ahead of some": _with_params(
        *(COPIES["permuted/hnet-rb1"], "learner", "chunked-hypernetwork"),
        **{"look_ahead": True, "old_embeddings": "frozen"},
    ),
    "frozen embeddings": _with_params(
        COPIES["permuted/hnet"], "learner", "chunked-hypernetwork", old_embeddings="frozen"
    ),
    "masks of mixed tasks": _changed(COPIES["permuted/masking"], regime="joint"),
    "data of their own": [
        Cell(cell.suite, cell.row, cell.config.model_copy(update={"data_seed": seed}))
        for seed, cell in enumerate(COPIES["permuted/coresets"])
    ],
}


@pytest.mark.usefixtures("_precise")
@pytest.mark.parametrize("option", OPTIONS)
def test_options_end_where_they_would_alone(
    option: str, learners: dict[int, list[Learner]]
) -> None:
    _check(OPTIONS[option], learners)


# what may happen on the way


@pytest.mark.usefixtures("_precise")
@pytest.mark.parametrize("lost", [{4}, {3, 5}])
@pytest.mark.parametrize("row", ["masking-si", "online-ewc", "hnet", "coresets", "replay"])
def test_replicas_that_diverge_leave_the_others_as_they_are(
    row: str, lost: set[int], learners: dict[int, list[Learner]], monkeypatch: pytest.MonkeyPatch
) -> None:
    really = SweptStream.next
    by_seed: dict[int, list[SweptStream]] = {}

    def stream(self: CellRun, task_id: int, purpose: str) -> BatchStream:
        made = really_stream(self, task_id, purpose)
        by_seed.setdefault(self.config.seed, []).append(cast(Any, made).inner)
        return made

    def following(self: SweptStream, size: int) -> Batch:
        batch = really(self, size)
        spoilt = [made for seed in lost for made in by_seed.get(seed, ())[2:3]]  # of task 1
        if not any(self is one for one in spoilt):
            return batch
        return replace(batch, inputs=batch.inputs * torch.nan)

    really_stream = CellRun.stream
    monkeypatch.setattr(CellRun, "stream", stream)
    monkeypatch.setattr(SweptStream, "next", following)
    outcomes = _together(COPIES[f"permuted/{row}"])

    assert [isinstance(outcome, DivergedError) for outcome in outcomes] == [
        seed in lost for seed in SEEDS
    ]
    found = {seed: learners[seed][0].state() for seed in SEEDS}
    for cell, outcome in zip(COPIES[f"permuted/{row}"], outcomes, strict=True):
        if isinstance(outcome, tuple):
            expected = _alone(cell)
            assert isinstance(expected, tuple)
            _assert_close(outcome[0].model_dump(), expected[0].model_dump())
            state = learners[cell.config.seed][1].state()
            _assert_close(found[cell.config.seed], state)


@pytest.mark.usefixtures("_precise")
@pytest.mark.parametrize(
    "row",
    ["multitask", "from-scratch", "si", "online-ewc", "masking-si", "coresets", "replay", "hnet"],
)
def test_cells_that_are_cut_off_go_on_bit_for_bit_in_lockstep(
    row: str, learners: dict[int, list[Learner]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "REPORT_SECONDS", 0.0)
    cells, registry = COPIES[f"permuted/{row}"], Registry.discover()
    whole = _together(cells)
    expected = {seed: made[-1].state() for seed, made in learners.items()}

    for done in (4, 12):
        with pytest.raises(CutOff):
            run_group(cells, registry, until(done), _checkpoints(cells, tmp_path))
    records = run_group(cells, registry, _silent, _checkpoints(cells, tmp_path))
    found = {seed: made[-1].state() for seed, made in learners.items()}

    assert [record.provenance and record.provenance.lockstep for record in records] == [3] * 3
    results = [outcome[0] for outcome in whole if isinstance(outcome, tuple)]
    assert [record.result for record in records] == results
    assert all(equal(found[seed], expected[seed]) for seed in SEEDS)


# what may not run in lockstep


class _OtherLoss(FineTuning):
    """It does something of its own, and knows nothing of lockstep."""

    def forward_context(self, task_id: int | Tensor | None, training: bool) -> Context:
        return Context(gains={"h": torch.zeros(8)}, training=training)


class _OtherCode(Coresets):
    pass


class _OtherNet(Elman):
    pass


class _OtherPenalty(OnlineEwc):
    pass


class _OtherRule(Upgd):
    pass


@pytest.mark.parametrize("kind", [_OtherLoss, _OtherCode, _OtherNet, _OtherPenalty, _OtherRule])
def test_a_class_that_says_nothing_of_lockstep_does_not_inherit_it(kind: Any) -> None:
    obstacle = kind.lockstep_obstacle(None)

    what = "join" if issubclass(kind, FineTuning) else "in_lockstep"
    assert obstacle == f"the inherited {what}"
    assert kind.__base__.lockstep_obstacle(None) is None


def test_a_learner_that_inherits_its_program_is_not_put_together() -> None:
    with pytest.raises(
        ClbenchError, match=r"^_OtherLoss cannot run in lockstep: the inherited join$"
    ):
        _OtherLoss.in_lockstep([])
