"""The local executor: what a cell does to its worker stays there."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import toys

from clbench.executor import Progress
from clbench.local_pool import run_pool, usable_cores
from clbench.matrix import Cell, Group
from clbench.records import Record


class Listener:
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.records: dict[str, Record] = {}
        self.reports: list[Progress] = []

    def started(self, cell: Cell) -> None:
        self.begun.append(cell.row)

    def progressed(self, progress: Progress) -> None:
        self.reports.append(progress)

    def finished(self, cell: Cell, record: Record) -> None:
        self.records[cell.row] = record


def misbehave(group: Group, report: Callable[[Progress], None]) -> list[Record]:
    """What a worker does with a group: whatever the row of its first cell says."""
    import records

    cell = group[0]
    row = cell.row
    if row == "raises":
        raise ValueError("on purpose")
    if row == "raises-what-cannot-be-sent":
        raise type("Odd", (Exception,), {"__reduce__": lambda self: 1 / 0})("odd \udcff")
    if row == "interrupts":
        raise KeyboardInterrupt
    if row == "exits":
        sys.exit(3)
    if row == "dies":
        print("last words", flush=True)
        os._exit(7)
    if row == "is-killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if row == "hangs":
        time.sleep(60)
    if row == "prints":
        print("\x1b[2J garbage", file=sys.stderr, flush=True)
    if row == "is-interrupted":
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, set())
        raise ValueError(f"interrupts held: {signal.SIGINT in blocked}")
    if row.startswith("meets"):
        return _tell_the_gpu(row)
    if row == "reports":
        report(Progress(cell.config.id, 1, 3, 5, 10, 0.5, 90.0))
        time.sleep(1.0)
    return [records.good(cell.config) for cell in group]


def _tell_the_gpu(row: str) -> list[Record]:
    """Wait until as many workers are here as the row says, then raise with the own GPU."""
    folder, count = Path(os.environ["MEETING"]), int(row.split()[1])
    (folder / str(os.getpid())).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    raise ValueError(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))


def _run(rows: list[str], tmp_path: Path, **options: object) -> Listener:
    listener = Listener()
    cells = [Cell("toy", row, toys.config(seed=i)) for i, row in enumerate(rows)]
    values = {"jobs": 2, "timeout": None, "folder": tmp_path, "should_stop": lambda: False}
    run_pool([(cell,) for cell in cells], listener, work=misbehave, **(values | options))  # type: ignore[arg-type]
    return listener


@pytest.fixture(autouse=True)
def _workers_find_the_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def test_every_cell_ends_in_one_record_whatever_happens_to_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = ["raises-what-cannot-be-sent", "interrupts"]
    rows = ["hangs", *odd, "good", "raises", "exits", "dies", "is-killed", "prints", "also-good"]

    found = _run(rows, tmp_path, timeout=20.0).records  # a busy machine begins in 10 s or more

    assert {row: found[row].status for row in odd} == dict.fromkeys(odd, "failed")
    assert {row: record.status for row, record in found.items() if row not in odd} == {
        "good": "ok",
        "raises": "failed",
        "exits": "failed",
        "dies": "failed",
        "is-killed": "out-of-memory",
        "prints": "ok",
        "hangs": "timed-out",
        "also-good": "ok",
    }
    raised, died = found["raises"].failure, found["dies"].failure
    assert raised is not None
    assert died is not None
    assert (raised.type, raised.message) == ("ValueError", "on purpose")
    assert "misbehave" in raised.traceback
    assert died.message == "the worker process died with exit code 7"
    assert "last words" in died.traceback
    assert capfd.readouterr() == ("", "")  # nothing of it reaches the terminal


def test_cells_are_announced_and_their_progress_passed_on(tmp_path: Path) -> None:
    listener = _run(["reports", "good"], tmp_path)

    assert sorted(listener.begun) == ["good", "reports"]
    assert listener.reports == [Progress(toys.config(seed=0).id, 1, 3, 5, 10, 0.5, 90.0)]


def test_workers_hold_interrupts_from_their_first_moment_on(tmp_path: Path) -> None:
    failure = _run(["is-interrupted"], tmp_path).records["is-interrupted"].failure

    assert failure is not None
    assert failure.message == "interrupts held: True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, set())  # here not


def test_no_further_cell_is_begun_when_asked_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop: list[int] = []
    monkeypatch.setattr(
        Listener, "finished", lambda self, cell, record: stop.append(record.config.seed)
    )

    # one worker: while the second cell hangs, the first one's record asks to stop
    _run(["good", "hangs", "also-good"], tmp_path, jobs=1, should_stop=lambda: bool(stop))

    assert stop == [0]


def test_records_that_the_listener_has_taken_are_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[weakref.ref[Record]] = []
    left: list[int] = []

    def finished(self: Listener, cell: Cell, record: Record) -> None:
        gc.collect()
        left.append(sum(one() is not None for one in taken))
        taken.append(weakref.ref(record))

    monkeypatch.setattr(Listener, "finished", finished)

    _run(["reports"] * 4, tmp_path, jobs=1)  # each takes a second, so that they come one by one

    assert len(left) == 4
    assert max(left) <= 1


@pytest.mark.parametrize(
    ("row", "status"),
    [("good", "ok"), ("raises", "failed"), ("is-killed", "out-of-memory"), ("hangs", "timed-out")],
)
def test_every_cell_of_a_group_gets_the_record_of_what_became_of_it(
    row: str, status: str, tmp_path: Path
) -> None:
    listener = Listener()
    group = tuple(Cell("toy", f"{row}{i}" if i else row, toys.config(seed=i)) for i in range(3))

    run_pool([group], listener, lambda: False, misbehave, 1, 5.0, tmp_path)

    assert listener.begun == [row, f"{row}1", f"{row}2"]
    assert [record.status for record in listener.records.values()] == [status] * 3
    assert [record.config for record in listener.records.values()] == [c.config for c in group]


@pytest.mark.parametrize(
    ("rows", "num_gpus", "expected"),
    [
        (["meets 3 a", "meets 3 b", "meets 3 c"], 2, ["0", "0", "1"]),
        (["meets 2 a", "meets 2 b"], 0, ["all", "all"]),
        (["dies", "meets 1"], 2, ["0"]),  # who replaces a dead worker has its GPU
    ],
)
def test_each_worker_sees_the_gpu_of_its_number(
    rows: list[str],
    num_gpus: int,
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "meeting").mkdir()
    monkeypatch.setenv("MEETING", str(tmp_path / "meeting"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    records = _run(rows, tmp_path, jobs=len(expected), num_gpus=num_gpus).records

    failures = [records[row].failure for row in rows if row.startswith("meets")]
    assert sorted(failure.message for failure in failures if failure) == expected


def test_there_is_a_usable_core() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
