"""A cell that is cut off at any moment goes on and ends bit for bit as if it had not been."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import suite_files
import torch
import toys
from command import CLBENCH
from cuts import CutOff, EveryFifth

from clbench import checkpoints, lessons, provenance, runner, worker
from clbench.checkpoints import Checkpoints
from clbench.config import CellConfig
from clbench.executor import Progress
from clbench.matrix import Cell
from clbench.records import Result
from clbench.registry import Registry
from clbench.runner import run
from clbench.store import Store
from clbench.suite import Row, load

ROOT = Path(__file__).parent.parent
PROGRAM = {"clbench": "0"}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(autouse=True)
def _report_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "REPORT_SECONDS", 0.0)


def _until(done: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.done >= done:
            raise CutOff

    return report


def _with_cuts(config: CellConfig, registry: Registry, folder: Path, cuts: list[int]) -> Result:
    """The result of a cell that is cut off after these numbers of steps."""
    for done in cuts:
        with pytest.raises(CutOff):
            run(config, registry, _until(done), _checkpoints(config, folder))
    result, _ = run(config, registry, lambda progress: None, _checkpoints(config, folder))
    return result


def _checkpoints(config: CellConfig, folder: Path) -> Checkpoints:
    return EveryFifth(config.id, PROGRAM, folder=folder)


def _smoke(registry: Registry) -> dict[str, Row]:
    """Every method of the smoke suite, once."""
    suite = load(ROOT / "suites" / "smoke.yaml", registry)
    return {row.key: row for row in suite.rows if row.task == "permuted"}


@pytest.mark.parametrize("key", _smoke(Registry.discover()))
def test_every_method_of_the_smoke_suite_survives_cuts(
    key: str, registry: Registry, tmp_path: Path
) -> None:
    config = _smoke(registry)[key].cells[0]
    whole, _ = run(config, registry, lambda progress: None)
    steps = whole.iterations

    # in the first task, in the second right after its beginning, in the last, and twice at a place
    cuts = [7, steps // 3 + 6, steps // 3 + 6, steps - 1]

    assert _with_cuts(config, registry, tmp_path, cuts) == whole


STREAM = """\
suite: stream
scenario: task-free
seeds: [0]
defaults:
  model: {name: mlp, hidden_sizes: [8], winners: {percent_on: 0.25, boost_strength: 1.0}}
  training: {iterations: 12, batch_size: 1, learning_rate: 1e-2}
tasks:
  stream: {family: input-permuted-stream, num_tasks: 5}
methods:
  upgd: {learner: upgd}
  adamw: {learner: stream-adamw}
  pgd: {learner: {name: perturbed-sgd, noise_std: 0.1}}
  plain: {learner: fine-tuning}
"""
PICTURES = """\
suite: pictures
scenario: class-il
seeds: [0]
defaults:
  model: {name: cnn, channels: [3], hidden_sizes: [6], dropout: 0.2, winners: {percent_on: 0.5}}
  training: {iterations: 6, batch_size: 4, learning_rate: 1e-2, optimizer_state: kept}
tasks:
  split: {family: split-images, num_tasks: 3, augmentation: flip-crop}
methods:
  ewc-si:
    learner: fine-tuning
    regularizers:
      online-ewc: {ewc_lambda: 10, fisher: predicted, fisher_samples: 8}
      si: {path: total-step}
  sgd: {learner: fine-tuning, training: {optimizer: {name: sgd, momentum: 0.9}}}
  hnet:
    learner: {name: chunked-hypernetwork, chunk_size: 50, hidden_sizes: [6], task_embedding_size: 3,
              chunk_embedding_size: 2, beta: 1, regularized_tasks: 1, look_ahead: true}
"""


def _rows(text: str, registry: Registry, folder: Path) -> list[Row]:
    path = folder / "suite.yaml"
    path.write_text(text)
    return list(load(path, registry).rows)


@pytest.mark.parametrize("text", [STREAM, PICTURES], ids=["streams", "pictures"])
@pytest.mark.usefixtures("tiny_pictures")
def test_streams_and_pictures_survive_cuts(text: str, registry: Registry, tmp_path: Path) -> None:
    for row in _rows(text, registry, tmp_path):
        config = row.cells[0]
        whole, _ = run(config, registry, lambda progress: None)
        steps = whole.iterations
        cuts = [6, steps // 2, steps // 2 + 1, steps - 1]
        assert _with_cuts(config, registry, tmp_path / "checkpoints", cuts) == whole, row.key


def test_reports_tell_where_a_cell_goes_on_from(registry: Registry, tmp_path: Path) -> None:
    config = _smoke(registry)["permuted/fine-tuning"].cells[0]
    reports: list[Progress] = []

    with pytest.raises(CutOff):
        run(config, registry, _until(7), _checkpoints(config, tmp_path))
    run(config, registry, reports.append, _checkpoints(config, tmp_path))

    assert {report.resumed_at for report in reports} == {5}
    assert reports[0].done == 6


@pytest.mark.parametrize(("code", "first"), [("old", 6), ("new", 1)])
def test_a_worker_goes_on_with_the_same_code_of_plugins_only(
    monkeypatch: pytest.MonkeyPatch, code: str, first: int
) -> None:
    fresh = toys.registry()
    cell = Cell("toy", "a/plain", toys.config())
    monkeypatch.setattr(worker, "_plugins", lambda: fresh)
    monkeypatch.setattr(checkpoints, "Checkpoints", EveryFifth)
    reports: list[Progress] = []
    checkpoints.forget(cell.config.id)

    monkeypatch.setattr(Registry, "code", lambda self, name: "old")
    with pytest.raises(CutOff):
        worker.run_here((cell,), _until(7), 60.0)
    monkeypatch.setattr(Registry, "code", lambda self, name: code)
    (record,) = worker.run_here((cell,), reports.append, 60.0)

    assert reports[0].done == first
    assert record.provenance is not None
    assert record.provenance.code == {"toys": code}
    assert len(record.provenance.notes) == (0 if code == "old" else 1)


def test_a_worker_begins_anew_once_for_each_command_that_asks_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh = toys.registry()
    cell = Cell("toy", "a/plain", toys.config())
    monkeypatch.setattr(worker, "_plugins", lambda: fresh)
    monkeypatch.setattr(checkpoints, "Checkpoints", EveryFifth)
    checkpoints.forget(cell.config.id)
    worker.run_here((cell,), lambda progress: None, 60.0)  # to its end; its checkpoint is here yet

    firsts = []
    for command, until in (("one", 33), ("one", 40), ("", 45), ("two", 7), ("one", 7)):
        reports: list[Progress] = []
        with pytest.raises(CutOff):
            worker.run_here((replace(cell, anew=command),), _keeping(reports, until), 60.0)
        firsts.append(reports[0].resumed_at)

    assert firsts[0] == firsts[3] == firsts[4] == 0
    assert 25 <= firsts[1] < firsts[2] < 45


def _keeping(reports: list[Progress], until: int) -> Callable[[Progress], None]:
    cut = _until(until)

    def report(progress: Progress) -> None:
        reports.append(progress)
        cut(progress)

    return report


def test_a_cut_after_the_last_task_needs_no_more_training(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _smoke(registry)["permuted/online-ewc"].cells[0]
    whole, _ = run(config, registry, lambda progress: None)
    run(config, registry, lambda progress: None, _checkpoints(config, tmp_path))
    monkeypatch.setattr(runner, "learn", None)  # nothing is learnt

    again, _ = run(config, registry, lambda progress: None, _checkpoints(config, tmp_path))

    assert again == whole


# files


def _saved(folder: Path, *numbers: int) -> Checkpoints:
    kept = Checkpoints("cell", PROGRAM, folder=folder)
    for number in numbers:
        kept.save({"number": number, "tensor": torch.full((3,), float(number))})
    return kept


def _load(folder: Path, program: dict[str, str] = PROGRAM) -> tuple[Any, list[str]]:
    found = Checkpoints("cell", program, folder=folder)
    states = found.load()
    return states[0]["number"] if states else None, found.notes


def test_the_newest_of_two_generations_is_taken(tmp_path: Path) -> None:
    assert _load(tmp_path) == (None, [])

    _saved(tmp_path, 1, 2, 3)

    assert sorted(path.name for path in (tmp_path / "cell").iterdir()) == ["0.pt", "1.pt"]
    assert _load(tmp_path) == (3, [])


def test_who_goes_on_keeps_its_last_checkpoint_beside_the_next(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2, 3)
    kept = Checkpoints("cell", PROGRAM, folder=tmp_path)

    kept.load()
    kept.save({"number": 4})

    assert [state["number"] for state in kept.load()] == [4, 3]


def test_a_checkpoint_is_due_so_many_seconds_after_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(checkpoints, "time", clock)
    kept = Checkpoints("cell", PROGRAM, seconds=10.0, folder=tmp_path)

    def is_due(now: float) -> bool:
        clock.now = now
        return kept.is_due

    assert [is_due(109.0), is_due(110.0), is_due(115.0)] == [False, True, True]
    kept.save({})
    assert [is_due(124.0), is_due(125.0)] == [False, True]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 truncated"])
def test_where_the_newer_is_damaged_the_older_serves(tmp_path: Path, content: bytes) -> None:
    _saved(tmp_path, 1, 2, 3)
    (tmp_path / "cell" / "1.pt").write_bytes(content)

    number, notes = _load(tmp_path)

    assert number == 2
    assert len(notes) == 1
    assert notes[0].startswith("checkpoint 1.pt cannot be read (")


def test_a_flipped_byte_anywhere_does_no_harm(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2)
    path = tmp_path / "cell" / "0.pt"
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        number, _ = _load(tmp_path)
        assert number in (1, 2)


def test_checkpoints_of_another_program_are_left_alone(tmp_path: Path) -> None:
    _saved(tmp_path, 1)

    number, notes = _load(tmp_path, {"clbench": "1"})

    assert number is None
    assert notes == ["checkpoint 1.pt was made by another version, code or device"]


def test_the_program_is_another_where_the_code_of_a_plugin_is(tmp_path: Path) -> None:
    before, after = (provenance.program(code={"anchor": digit}) for digit in "01")
    Checkpoints("cell", before, folder=tmp_path).save({"number": 1})

    assert _load(tmp_path, before) == (1, [])
    assert _load(tmp_path, after)[0] is None
    assert after == provenance.program() | {"code of anchor": "1"}


@pytest.mark.parametrize("checkout", [("1234", True), (None, None)], ids=["changes", "no-git"])
def test_the_program_is_another_where_code_that_no_commit_stands_for_is_another(
    checkout: tuple[str | None, bool | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_checkout", lambda: checkout)
    before = provenance.program()
    monkeypatch.setattr(provenance.sources, "digest", lambda packages: "another")
    after = provenance.program()
    monkeypatch.setattr(provenance, "_checkout", lambda: (checkout[0], False))
    clean = provenance.program()

    assert before.pop("code") not in ("another", "unknown")
    assert after.pop("code") == "another"
    assert before == after == clean


def test_a_checkout_that_clbench_is_only_installed_below_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ("init", "-c user.name=a -c user.email=a@b commit --allow-empty -m one"):
        subprocess.run(["git", "-C", tmp_path, *words.split()], check=True, capture_output=True)
    installed = tmp_path / "venv" / "lib"
    installed.mkdir(parents=True)
    provenance._checkout.cache_clear()
    try:
        monkeypatch.setattr(provenance, "_HERE", tmp_path.resolve())
        commit, dirty = provenance._checkout()
        assert (len(commit or ""), dirty) == (40, False)
        provenance._checkout.cache_clear()
        monkeypatch.setattr(provenance, "_HERE", installed.resolve())
        assert provenance._checkout() == (None, None)
    finally:
        provenance._checkout.cache_clear()


def test_a_malicious_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {tmp_path / 'pwned'}",))

    folder = tmp_path / "cell"
    folder.mkdir()
    torch.save({"number": 1, "state": Evil()}, folder / "0.pt")

    number, notes = _load(tmp_path)

    assert number is None
    assert notes == ["checkpoint 0.pt cannot be read (UnpicklingError)"]
    assert not (tmp_path / "pwned").exists()


def test_a_folder_that_cannot_be_written_to_costs_a_note_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    kept = Checkpoints("cell", PROGRAM, folder=tmp_path / "file")
    kept.save({})
    kept.save({})

    assert len(kept.notes) == 1
    assert kept.notes[0].startswith("checkpoint cannot be written (")


def test_a_folder_that_cannot_be_read_costs_a_note_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path, pattern: str) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "glob", refused)  # root may read everything

    number, notes = _load(tmp_path)

    assert number is None
    assert notes == [
        f"checkpoints cannot be read ([Errno 13] Permission denied: '{tmp_path}/cell')"
    ]


def test_the_cache_is_where_the_variable_says_and_forgetting_is_thorough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path))
    Checkpoints("cell", PROGRAM).save({})
    assert (tmp_path / "checkpoints" / "cell" / "1.pt").exists()

    checkpoints.forget("cell")
    checkpoints.forget("never-there")

    assert list((tmp_path / "checkpoints").iterdir()) == []


# the command line


def _mark(cache: Path) -> list[int]:
    """Changes with every checkpoint."""
    times = []
    for path in cache.rglob("*.pt"):
        with contextlib.suppress(FileNotFoundError):  # a cell has ended meanwhile
            times.append(path.stat().st_mtime_ns)
    return sorted(times)


def _kill_after_a_checkpoint(
    command: list[str], environment: dict[str, str], seconds: float = 0.0
) -> bool:
    """Begin a run and kill it, workers and all, so long after its next checkpoint.

    Returns:
        Whether there was anything to kill; False where the run has ended before.
    """
    cache = Path(environment["CLBENCH_CACHE"])
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    before = _mark(cache)
    while _mark(cache) == before and process.poll() is None:
        time.sleep(0.02)
    time.sleep(seconds)
    is_running = process.poll() is None
    if is_running:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.send_signal(signal.SIGKILL)
    process.wait()
    return is_running


def test_a_run_killed_again_and_again_ends_as_one_left_alone(tmp_path: Path) -> None:
    suite = tmp_path / "long.yaml"
    suite.write_text(suite_files.LONG)
    command = [CLBENCH, "run", str(suite)]
    command += ["--checkpoint-seconds", "0.2", "--results"]
    environment = os.environ | {"CLBENCH_CACHE": str(tmp_path / "cache")}
    alone = subprocess.run(
        [*command, str(tmp_path / "alone")], env=environment, capture_output=True
    )
    assert alone.returncode == 0, alone.stderr

    killed = [*command, str(tmp_path / "killed")]
    kills = sum(_kill_after_a_checkpoint(killed, environment) for _ in range(3))
    last = subprocess.run(killed, env=environment, capture_output=True)

    assert last.returncode == 0, last.stderr
    assert kills >= 1
    (expected,), _ = Store(tmp_path / "alone").scan()
    (found,), _ = Store(tmp_path / "killed").scan()
    assert found.result == expected.result
    assert list((tmp_path / "cache" / "checkpoints").iterdir()) == []  # nothing is left behind


@pytest.mark.slow
def test_every_method_of_the_guard_survives_kills_at_random_moments(tmp_path: Path) -> None:
    command = [CLBENCH, "run"]
    command += [str(ROOT / "suites" / "guard.yaml"), "--budget", "0.06", "--jobs", "2"]
    command += ["--checkpoint-seconds", "0.1", "--results"]
    environment = os.environ | {"CLBENCH_CACHE": str(tmp_path / "cache")}
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    subprocess.run([*command, str(alone)], env=environment, capture_output=True, check=True)
    records = Store(alone).scan()[0]
    expected = {record.id: record.result for record in records}
    training = sum(one.timing.train for one in records if one.timing) / 2  # two at a time
    moments = random.Random()  # another run, other moments

    kills = sum(
        _kill_after_a_checkpoint(
            [*command, str(killed)], environment, moments.uniform(0.0, training / 6)
        )
        for _ in range(6)  # half of the training on average, however fast the machine
    )
    last = subprocess.run([*command, str(killed)], env=environment, capture_output=True)

    assert last.returncode == 0, last.stderr
    assert kills > 1
    assert {record.id: record.result for record in Store(killed).scan()[0]} == expected
