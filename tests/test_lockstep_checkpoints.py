"""Cells in lockstep that are cut off go on with as many as before, and end bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from cuts import CutOff, EveryFifth, until
from lockstep_cells import alone, group_of, results, silent, streams

from clbench.checkpoints import Checkpoints
from clbench.executor import Progress
from clbench.matrix import Cell
from clbench.protocols import Batch, Observation, TaskData
from clbench.records import Record
from clbench.registry import Registry
from clbench.runner import run, run_cell, run_group

PROGRAM = {"clbench": "0"}
pytestmark = pytest.mark.usefixtures("widths", "report_at_every_step")


def _checkpoints(cells: Sequence[Cell], folder: Path) -> list[Checkpoints]:
    return [EveryFifth(cell.config.id, PROGRAM, folder=folder) for cell in cells]


@pytest.mark.usefixtures("tiny_pictures")
@pytest.mark.parametrize("task", ["mlp", "cnn"])
def test_streams_that_are_cut_off_go_on_in_lockstep_bit_for_bit(task: str, tmp_path: Path) -> None:
    cells, registry = streams(task, tmp_path), Registry.discover()
    whole = run_group(cells, registry, silent)

    for done in (7, 66, 66, 179):
        with pytest.raises(CutOff):
            run_group(cells, registry, until(done), _checkpoints(cells, tmp_path))
    records = run_group(cells, registry, silent, _checkpoints(cells, tmp_path))

    assert [record.provenance and record.provenance.lockstep for record in records] == [3] * 3
    assert results(records) == results(whole)


def _lockstep(records: Sequence[Record]) -> list[int | None]:
    return [record.provenance and record.provenance.lockstep for record in records]


@pytest.mark.usefixtures("tiny_pictures")
def test_a_checkpoint_made_in_lockstep_does_not_serve_a_cell_alone(tmp_path: Path) -> None:
    cells, registry = streams("cnn", tmp_path), Registry.discover()
    with pytest.raises(CutOff):
        run_group(cells, registry, until(70), _checkpoints(cells, tmp_path))
    (kept,) = _checkpoints(cells[:1], tmp_path)

    record = run_cell(cells[0], registry, silent, kept)

    assert record.result == run(cells[0].config, registry, silent)[0]
    assert record.provenance is not None
    assert record.provenance.lockstep == 1
    assert record.provenance.notes == (
        "begun anew: its checkpoint serves only 3 cells in lockstep",
    )


def test_cells_that_were_cut_off_alone_go_on_alone(tmp_path: Path, widths: list[int]) -> None:
    group = group_of(1, 2)
    for cell, kept in zip(group, _checkpoints(group, tmp_path), strict=True):
        with pytest.raises(CutOff):
            run_cell(cell, toys.registry(), until(33), kept)

    reports: list[Progress] = []
    records = run_group(group, toys.registry(), reports.append, _checkpoints(group, tmp_path))

    assert widths == []
    assert {report.resumed_at for report in reports} == {30}  # not from the older one, at 25
    assert _lockstep(records) == [1, 1]


def test_cut_off_between_their_checkpoints_they_go_on_from_the_last_that_all_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widths: list[int]
) -> None:
    group, really, saves = group_of(1, 2, 3), Checkpoints.save, 0

    def save(self: Checkpoints, state: Any) -> None:
        nonlocal saves
        saves += 1
        if saves == 8:  # the second cell at the third time
            raise CutOff
        really(self, state)

    monkeypatch.setattr(Checkpoints, "save", save)
    with pytest.raises(CutOff):
        run_group(group, toys.registry(), silent, _checkpoints(group, tmp_path))
    widths.clear()

    reports: list[Progress] = []
    records = run_group(group, toys.registry(), reports.append, _checkpoints(group, tmp_path))

    assert set(widths) == {3}
    assert {report.resumed_at for report in reports} == {10}
    assert results(records) == [alone(cell).result for cell in group]


def test_cells_that_have_learnt_all_need_nobody_to_end(tmp_path: Path, widths: list[int]) -> None:
    group = group_of(1, 2, 3)
    whole = run_group(group, toys.registry(), silent, _checkpoints(group, tmp_path))
    widths.clear()

    records = run_group(group[1:], toys.registry(), silent, _checkpoints(group[1:], tmp_path))

    assert widths == []
    assert results(records) == results(whole[1:])
    assert _lockstep(records) == [3, 3]


def test_where_one_has_diverged_the_others_go_on_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widths: list[int]
) -> None:
    really = toys.Plain.observe

    def observe(self: toys.Plain, batch: Batch) -> Observation:
        found = really(self, batch)
        is_lost = self.context.model_seed == 2 and batch.task_id == 1
        return Observation(found.loss * torch.nan, found.outputs) if is_lost else found

    monkeypatch.setattr(toys.Plain, "observe", observe)
    group = group_of(1, 2, 3)
    with pytest.raises(CutOff):
        run_group(group, toys.registry(), until(33), _checkpoints(group, tmp_path))
    widths.clear()

    records = run_group(group, toys.registry(), silent, _checkpoints(group, tmp_path))

    assert set(widths) == {2}
    assert [record.status for record in records] == ["ok", "failed", "ok"]
    assert _lockstep(records) == [3, 1, 3]


def test_after_an_error_in_lockstep_cells_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really, done = toys.Plain.end_task, []

    def end_task(self: toys.Plain, task_id: int, data: TaskData) -> None:
        if task_id == 1 and not done:
            done.append(task_id)
            raise OSError("once")
        really(self, task_id, data)

    monkeypatch.setattr(toys.Plain, "end_task", end_task)
    group, reports = group_of(1, 2), []

    records = run_group(group, toys.registry(), reports.append, _checkpoints(group, tmp_path))

    assert {report.resumed_at for report in reports} == {0}
    assert _lockstep(records) == [1, 1]
    assert all(record.status == "ok" for record in records)


def test_what_is_noted_again_when_cells_begin_anew_stands_in_the_record_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end_task(self: toys.Plain, task_id: int, data: TaskData) -> None:
        raise OSError("always")

    monkeypatch.setattr(toys.Plain, "end_task", end_task)
    group = group_of(1, 2)
    for cell in group:
        (tmp_path / cell.config.id).mkdir()
        (tmp_path / cell.config.id / "0.pt").write_bytes(b"")
    kept = [Checkpoints(cell.config.id, PROGRAM, folder=tmp_path) for cell in group]  # none is due

    records = run_group(group, toys.registry(), silent, kept)

    assert [record.provenance and record.provenance.notes for record in records] == [
        (
            "checkpoint 0.pt cannot be read (EOFError)",
            "run alone after lockstep failed (OSError: always)",
        )
    ] * 2


def test_only_cells_that_are_equally_far_run_in_lockstep(tmp_path: Path, widths: list[int]) -> None:
    group = group_of(1, 2, 3)
    with pytest.raises(CutOff):
        run_cell(group[1], toys.registry(), until(33), _checkpoints(group, tmp_path)[1])

    records = run_group(group, toys.registry(), silent, _checkpoints(group, tmp_path))

    assert set(widths) == {2}
    assert [record.provenance and record.provenance.lockstep for record in records] == [2, 1, 2]
    assert results(records) == [alone(cell).result for cell in group]
