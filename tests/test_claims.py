"""Two runs on one results folder, and what happens when a record cannot be kept."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import records
from command import CLBENCH
from engine_runs import SUITE
from rich.console import Console

from clbench import checkpoints, session
from clbench.cache import cache_folder
from clbench.claims import claim
from clbench.errors import ClbenchError
from clbench.executor import Listener
from clbench.matrix import Group
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import load


def test_cells_are_claimed_once_and_free_again_afterwards(tmp_path: Path) -> None:
    with (
        claim(tmp_path, ["a", "b"]) as first,
        claim(tmp_path, ["b", "c"]) as second,
        claim(tmp_path / "\udcff", ["a"]) as elsewhere,  # a name that is no UTF-8
    ):
        pass
    with claim(tmp_path, ["a", "b", "c"]) as third:
        pass

    assert first == {"a", "b"}
    assert second == {"c"}
    assert elsewhere == {"a"}  # other results, other records
    assert third == {"a", "b", "c"}


def test_what_others_had_claimed_is_not_claimed_with_the_rest(tmp_path: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(claim(tmp_path, ["a"]))
        assert second.enter_context(claim(tmp_path, ["a", "b"])) == {"b"}
        first.close()
        with claim(tmp_path, ["a", "b"]) as third:
            pass

    assert third == {"a"}  # nobody runs it now


def test_one_folder_is_the_same_however_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    monkeypatch.chdir(tmp_path)

    with claim(tmp_path, ["a"]):
        for folder in (Path(), tmp_path / "link", tmp_path / "link" / ".." / tmp_path.name):
            with claim(folder, ["a", "b"]) as found:
                assert found == {"b"}


def test_the_claims_of_a_killed_process_are_void(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from clbench.claims import claim\n"
        "with claim(Path(sys.argv[1]), ['a']): print('claimed', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "claimed\n"
    with claim(tmp_path, ["a"]) as meanwhile:
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()

    with claim(tmp_path, ["a"]) as afterwards:
        pass

    assert meanwhile == set()
    assert afterwards == {"a"}
    left = [path.name for path in (cache_folder() / "claims").glob("*/*")]
    assert set(left) <= {"all.lock"}  # also of the one that was killed


def test_without_a_place_for_claims_everything_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocker = tmp_path / "cache"
    blocker.write_text("a file, not a folder")
    monkeypatch.setenv("CLBENCH_CACHE", str(blocker))

    with claim(tmp_path, ["a"]) as first, claim(tmp_path, ["a"]) as second:
        pass

    assert first == second == {"a"}


def test_a_second_run_leaves_alone_what_the_first_is_running(tmp_path: Path) -> None:
    suite = tmp_path / "tiny.yaml"
    suite.write_text(SUITE.replace("iterations: 10", "iterations: 20"))
    environment = os.environ | {"CLBENCH_CACHE": str(tmp_path / "cache")}

    def begin(*arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [CLBENCH, "run", str(suite), "--jobs", "1", *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first = begin("--seeds", "0,1")
    while not list((tmp_path / "cache").glob("claims/*/*.json")):
        assert first.poll() is None
        time.sleep(0.05)
    first.send_signal(signal.SIGSTOP)  # so that it cannot be done before the second looks
    try:
        second = begin()
        _, two = second.communicate(timeout=120)
    finally:
        first.send_signal(signal.SIGCONT)
    _, one = first.communicate(timeout=120)

    assert (first.returncode, second.returncode) == (0, 0), one + two
    assert "2 cells are being run by another process and left to it" in two
    assert (one.count(": ok in"), two.count(": ok in")) == (2, 1)
    found, damaged = Store(tmp_path / "results").scan()
    assert [record.status for record in found] == ["ok"] * 3
    assert damaged == ()


class Instant:
    """An engine whose cells end at once."""

    def execute(
        self, groups: Sequence[Group], listener: Listener, should_stop: Callable[[], bool]
    ) -> None:
        for (cell,) in groups:
            listener.started(cell)
            listener.finished(cell, records.good(cell.config))


def _run(folder: Path) -> tuple[session.Plan, Callable[[], bool]]:
    suite = folder / "tiny.yaml"
    suite.write_text(SUITE)
    registry = Registry.discover()
    plan = session.plan(load(suite, registry), ("*",), (0,), 1.0, folder / "results", False)
    engine: Any = Instant()
    console = Console(file=io.StringIO())
    return plan, lambda: session.execute(plan, engine, console, False, registry)


def test_on_a_full_disk_the_run_ends_and_the_checkpoint_of_the_cell_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, run = _run(tmp_path)
    cell_id = plan.todo[0].config.id
    kept = checkpoints.Checkpoints(cell_id, {})
    kept.save({"as": "left by the worker"})

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ClbenchError) as caught:
        run()
    monkeypatch.undo()

    folder = tmp_path / "results" / "records"
    assert str(caught.value) == (
        f"cannot write {folder / cell_id}.json: No space left on device\n"
        "    permuted/si seed 0 has ended and its record cannot be kept;\n"
        "    its last checkpoint is: the same command goes on from there"
    )
    assert kept.load() == [{"as": "left by the worker"}]
    assert list(folder.iterdir()) == []
    assert run() is True  # when there is room again


def test_a_folder_that_cannot_be_written_to_is_told_before_anything_runs(tmp_path: Path) -> None:
    _, run = _run(tmp_path)
    (tmp_path / "results").write_text("a file, not a folder")

    with pytest.raises(ClbenchError) as caught:
        run()

    assert str(caught.value) == f"cannot write {tmp_path}/results/records: Not a directory"


def test_what_another_run_has_finished_since_is_not_run_again(tmp_path: Path) -> None:
    plan, run = _run(tmp_path)
    (cell,) = plan.todo
    plan.store.put(records.good(cell.config, last=12.0))

    assert run() is True

    found = plan.store.find(cell.config)
    assert found == records.good(cell.config, last=12.0)
    assert json.loads(plan.store.path(cell.config.id).read_text())["status"] == "ok"
