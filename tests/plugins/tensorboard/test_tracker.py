"""What TensorBoard reads of a cell, while it runs, when it has ended, and after cuts."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import suite_files
import toys
import yaml
from command import CLBENCH

from clbench.engines import trackers
from clbench.errors import ClbenchError
from clbench.metrics import ACCURACY, MSE, Metric
from clbench.records import Failure, Record, Result
from clbench.registry import Registry
from clbench.store import Store
from clbench.testing import TrackerContract
from clbench.tracking import Evaluation, Point, Start, Tracker
from clbench_tensorboard.tracker import TensorBoardParams, TensorBoardTracker


class Run:
    """A run as TensorBoard sees it.

    Attributes:
        scalars: Tag -> (step, value) in order.
        texts: Tag -> text, the last of it.
        num_texts: Tag -> how many there are.
    """

    def __init__(self, folder: Path) -> None:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        found.Reload()
        tags: Any = found.Tags()
        self.scalars = {
            tag: [(event.step, event.value) for event in found.Scalars(tag)]
            for tag in tags["scalars"]
        }
        self.texts = {
            tag.removesuffix("/text_summary"): event.tensor_proto.string_val[0].decode()
            for tag in tags["tensors"]
            for event in found.Tensors(tag)
        }

        self.num_texts = {
            tag.removesuffix("/text_summary"): len(found.Tensors(tag)) for tag in tags["tensors"]
        }

    def steps(self, tag: str) -> list[int]:
        """Of the points of a curve."""
        return [step for step, _ in self.scalars[tag]]


def _runs(folder: Path) -> dict[str, Run]:
    """Name -> run of all that ``tensorboard --logdir`` would show."""
    found = {path.parent for path in folder.rglob("events.out.*")}
    return {str(path.relative_to(folder)): Run(path) for path in sorted(found)}


def _tracker(folder: Path) -> TensorBoardTracker:
    return TensorBoardTracker(TensorBoardParams(folder=str(folder)))


def _start(done: int = 0, metric: Metric = ACCURACY, **changes: Any) -> Start:
    return Start("toy", "a/plain", toys.config(**changes), metric, num_tasks=2, total=8, done=done)


def _points(first: int, last: int, loss: float = 0.5) -> list[Point]:
    return [Point(step, 0, loss, 10.0 * step) for step in range(first, last + 1)]


class TestContract(TrackerContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def build(self) -> Tracker:
        return _tracker(self.folder)


def test_a_run_has_the_curves_the_rows_and_the_configuration(tmp_path: Path) -> None:
    start, tracker = _start(), _tracker(tmp_path)

    tracker.started(start)
    tracker.evaluated(Evaluation(0, None, (50.0, 25.0)))
    tracker.learnt(_points(1, 4))
    tracker.evaluated(Evaluation(4, 0, (75.0, None)))
    tracker.finished(_failed(start), {"final_accuracy": 62.5})

    ((name, run),) = _runs(tmp_path).items()
    assert name == f"toy/a/plain/seed-1-{start.config.id[:8]}"
    assert run.scalars == {
        "test_accuracy/task_0": [(0, 50.0), (4, 75.0)],
        "test_accuracy/task_1": [(0, 25.0)],
        "train/loss": [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5)],
        "train/accuracy": [(1, 10.0), (2, 20.0), (3, 30.0), (4, 40.0)],
        "when_finished/final_accuracy": [(4, 62.5)],
    }
    assert run.texts["status"] == "failed: a sad end"
    lines = run.texts["configuration"].splitlines()
    assert all(line.startswith("    ") for line in lines)  # code, in Markdown
    told = yaml.safe_load("\n".join(lines))
    head = {"suite": "toy", "row": "a/plain", "record": f"{start.config.id}.json"}
    assert told == head | start.config.model_dump(mode="json")


def _failed(start: Start) -> Record:
    failure = Failure(type="ValueError", message="a sad end", traceback="")
    return Record(status="failed", config=start.config, failure=failure)


def test_scores_are_named_after_their_metric(tmp_path: Path) -> None:
    tracker = _tracker(tmp_path)
    tracker.started(_start(metric=MSE))
    tracker.learnt(_points(1, 1))
    tracker.evaluated(Evaluation(1, 0, (0.25,)))

    (run,) = _runs(tmp_path).values()
    assert set(run.scalars) == {"train/loss", "train/mse", "test_mse/task_0"}


def test_all_that_is_told_can_be_seen_at_once(tmp_path: Path) -> None:
    tracker = _tracker(tmp_path)
    tracker.started(_start())
    seen = []
    for step in (1, 2, 3):
        tracker.learnt(_points(step, step))
        (run,) = _runs(tmp_path).values()
        seen.append(run.steps("train/loss"))

    assert seen == [[1], [1, 2], [1, 2, 3]]


def test_a_cell_that_goes_on_goes_on_in_its_run(tmp_path: Path) -> None:
    cut, later = _tracker(tmp_path), _tracker(tmp_path)
    cut.started(_start())
    cut.evaluated(Evaluation(0, None, (50.0,)))
    cut.learnt(_points(1, 6, loss=1.0))  # and is cut off, with a checkpoint at step 4

    later.started(_start(done=4))
    later.learnt(_points(5, 8, loss=2.0))

    (run,) = _runs(tmp_path).values()
    assert run.steps("train/loss") == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [loss for _, loss in run.scalars["train/loss"]] == [1.0] * 4 + [2.0] * 4
    assert run.scalars["test_accuracy/task_0"] == [(0, 50.0)]
    assert run.num_texts == {"configuration": 1}


def test_a_cell_that_is_run_anew_hides_its_old_run_and_another_one_has_a_run_of_its_own(
    tmp_path: Path,
) -> None:
    for loss, changes in ((1.0, {}), (2.0, {}), (3.0, {"budget": 0.5}), (4.0, {"seed": 2})):
        tracker = _tracker(tmp_path)
        tracker.started(_start(**changes))
        tracker.learnt(_points(1, 3, loss))

    found = sorted(run.scalars["train/loss"] for run in _runs(tmp_path).values())
    assert found == [[(1, loss), (2, loss), (3, loss)] for loss in (2.0, 3.0, 4.0)]


def test_a_folder_is_meant_from_where_the_command_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    default, given = (
        trackers(Registry.discover(), texts)[0].params
        for texts in (["tensorboard"], ["tensorboard:folder=~/tb"])
    )

    assert default == {"folder": str(tmp_path / "runs")}
    assert given == {"folder": str(Path.home() / "tb")}
    assert list(tmp_path.iterdir()) == []


def test_without_tensorboard_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = {"tensorboard": None}
    monkeypatch.setattr(
        "clbench_tensorboard.tracker.find_spec", lambda name: absent.get(name, "here")
    )

    with pytest.raises(ClbenchError) as caught:
        _tracker(tmp_path)

    assert str(caught.value) == (
        "tracker 'tensorboard' needs tensorboard: pip install 'clbench[tensorboard]'"
    )


def test_a_folder_that_is_none_is_told_beforehand(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ClbenchError) as caught:
        trackers(Registry.discover(), [f"tensorboard:folder={tmp_path}/file/runs"])

    assert str(caught.value) == f"tracker 'tensorboard': {tmp_path}/file is no folder"


# really killed


def test_a_cell_that_is_killed_leaves_one_whole_run_and_the_record_of_one_left_alone(
    tmp_path: Path,
) -> None:
    (tmp_path / "long.yaml").write_text(suite_files.LONG)
    command = [CLBENCH, "run", "long.yaml", "--checkpoint-seconds", "0.2"]
    track = ["--track", "tensorboard"]
    environment = os.environ | {"CLBENCH_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    subprocess.run([*command, "--results", "alone"], cwd=tmp_path, env=environment, check=True)

    process = subprocess.Popen([*command, *track], cwd=tmp_path, env=environment)
    while process.poll() is None and not (
        _has_saved_twice(tmp_path / "cache") and _shows_a_loss(tmp_path / "runs")
    ):
        time.sleep(0.02)
    assert process.poll() is None
    for one in [*psutil.Process(process.pid).children(recursive=True), process]:
        one.send_signal(signal.SIGKILL)
    process.wait()
    ((name, cut),) = _runs(tmp_path / "runs").items()
    subprocess.run([*command, *track], cwd=tmp_path, env=environment, check=True)

    assert 0 < len(cut.scalars["train/loss"]) < 200
    ((again, whole),) = _runs(tmp_path / "runs").items()
    assert again == name
    (alone,), _ = Store(tmp_path / "alone").scan()
    (tracked,), _ = Store(tmp_path / "results").scan()
    assert tracked.result == alone.result
    assert alone.result is not None
    assert whole.scalars["train/loss"] == _curve(alone.result, 1500)
    assert whole.steps("test_accuracy/task_1") == [0, 1500, 3000]
    assert whole.texts["status"] == "ok"


def _has_saved_twice(cache: Path) -> bool:
    return len(list(cache.rglob("*.pt"))) == 2


def _shows_a_loss(folder: Path) -> bool:
    return any("train/loss" in run.scalars for run in _runs(folder).values())


def _curve(result: Result, steps: int) -> list[tuple[int, float]]:
    """Of the loss, over the steps of the whole cell."""
    return [
        (steps * curve.task + iteration, pytest.approx(loss, rel=1e-6))  # single precision
        for curve in result.curves
        for iteration, loss in zip(curve.iterations, curve.loss, strict=True)
    ]
