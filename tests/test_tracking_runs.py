"""Whole runs with trackers: nothing of their records changes, whatever engine runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import suite_files
from command import CLBENCH

from clbench.engines import trackers
from clbench.errors import ClbenchError
from clbench.registry import Registry
from clbench.store import Store

SUITE = suite_files.of_copies("""\
seeds: [0, 1]
methods:
  si: {learner: fine-tuning, regularizers: {si: {si_lambda: 0.1}}}
""")


def _clbench(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLBENCH, *arguments], cwd=cwd, capture_output=True, text=True, timeout=300
    )


def _records(folder: Path) -> dict[str, tuple[Any, Any]]:
    records, errors = Store(folder).scan()
    assert errors == ()
    return {
        record.id: (record.result, record.provenance and record.provenance.notes)
        for record in records
    }


def test_tracking_changes_nothing_of_the_records_and_a_failure_of_it_is_noticed(
    tmp_path: Path,
) -> None:
    (tmp_path / "tiny.yaml").write_text(SUITE)
    (tmp_path / "broken-runs").mkdir()
    (tmp_path / "broken-runs" / "tiny").write_text("")  # where the folder of the suite would be
    run, one, two = ("run", "tiny.yaml"), ("--jobs", "1"), ("--jobs", "2")
    track = ("--track", "tensorboard")
    alone = _clbench(tmp_path, *run, *one, "--results", "alone")
    tracked = _clbench(tmp_path, *run, *two, "--results", "tracked", *track)
    again = _clbench(tmp_path, *run, *one, "--results", "alone", *track)
    broken = _clbench(
        tmp_path, *run, *one, "--results", "broken", "--track", "tensorboard:folder=broken-runs"
    )

    assert [done.returncode for done in (alone, tracked, again, broken)] == [0, 0, 0, 0]
    assert "2 of 2 cells have a record already" in again.stderr  # it is no other question
    expected = _records(tmp_path / "alone")
    assert _records(tmp_path / "tracked") == expected
    assert len(list((tmp_path / "runs").rglob("events.out.*"))) == 2
    note = "tracker 'tensorboard' failed in 'started' and was told no more ("
    assert f"note: {note}" in broken.stderr
    for name, (result, notes) in _records(tmp_path / "broken").items():
        assert result == expected[name][0]
        assert notes[0].startswith(note)


@pytest.mark.slow
@pytest.mark.parametrize("engine", [("slurm", "-x", "cluster=local"), ("ray",)])
def test_trackers_work_with_every_executor(engine: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(SUITE)

    done = _clbench(tmp_path, "run", "tiny.yaml", "--track", "tensorboard", "--executor", *engine)

    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "runs").rglob("events.out.*"))) == 2
    assert [notes for _, notes in _records(tmp_path / "results").values()] == [(), ()]


def test_what_is_not_installed_is_told_with_its_command_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)

    with pytest.raises(ClbenchError) as caught:
        trackers(Registry.discover(), ["tensorboard"])

    assert str(caught.value) == (
        "tracker 'tensorboard' needs tensorboard: pip install 'clbench[tensorboard]'"
    )


def test_a_command_that_tracks_nothing_imports_no_tracker() -> None:
    code = (
        "import sys; import clbench_tensorboard, clbench_tensorboard.tracker;"
        "sys.exit(bool({'torch', 'tensorboard'} & set(sys.modules)))"
    )

    subprocess.run([sys.executable, "-c", code], check=True)
