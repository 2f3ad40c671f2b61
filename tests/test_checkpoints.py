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

import psutil
import pytest
import suite_files
import toys
from command import CLBENCH
from cuts import CutOff, EveryFifth, until

from clbench import checkpoints, runner, worker
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
pytestmark = pytest.mark.usefixtures("report_at_every_step")


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


def _with_cuts(config: CellConfig, registry: Registry, folder: Path, cuts: list[int]) -> Result:
    """The result of a cell that is cut off after these numbers of steps."""
    for done in cuts:
        with pytest.raises(CutOff):
            run(config, registry, until(done), _checkpoints(config, folder))
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
        run(config, registry, until(7), _checkpoints(config, tmp_path))
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
        worker.run_here((cell,), until(7), 60.0)
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
    for command, done in (("one", 33), ("one", 40), ("", 45), ("two", 7), ("one", 7)):
        reports: list[Progress] = []
        with pytest.raises(CutOff):
            worker.run_here((replace(cell, anew=command),), _keeping(reports, done), 60.0)
        firsts.append(reports[0].resumed_at)

    assert firsts[0] == firsts[3] == firsts[4] == 0
    assert 25 <= firsts[1] < firsts[2] < 45


def _keeping(reports: list[Progress], done: int) -> Callable[[Progress], None]:
    cut = until(done)

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
    environment = os.environ | {"CLBENCH_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
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
    environment = os.environ | {"CLBENCH_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
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
