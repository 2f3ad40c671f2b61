"""Trackers are told of cells while they run, and change nothing of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
import toys
from cuts import CutOff, EveryFifth
from pydantic import Field

from clbench import lessons, runner
from clbench.checkpoints import Checkpoints
from clbench.config import Choice, Sgd, Training
from clbench.engines import trackers
from clbench.errors import ClbenchError
from clbench.executor import Progress
from clbench.hookspecs import Entry, hookimpl
from clbench.matrix import Cell
from clbench.params import Params
from clbench.records import Record
from clbench.registry import Registry
from clbench.scenario import Scenario
from clbench.tracking import Evaluation, Point, Start, Tracking


class DiaryParams(Params):
    """For who writes down what it is told."""

    fails_in: str = ""
    tags: dict[str, int] = Field(default_factory=dict)


@dataclass
class Diary:
    """Writes down what it is told, and raises where it is asked to."""

    Params: ClassVar[type[Params]] = DiaryParams
    version: ClassVar[int] = 1
    all: ClassVar[list[Diary]] = []

    params: DiaryParams
    starts: list[Start] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    ends: list[tuple[str, Mapping[str, float]]] = field(default_factory=list)
    order: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.all.append(self)
        self._turn("constructor")

    def _turn(self, what: str) -> None:
        self.order.append(what)
        if what == self.params.fails_in:
            raise SystemExit(f"no more {what}\nat all")

    def started(self, start: Start) -> None:
        self._turn("started")
        self.starts.append(start)

    def learnt(self, points: Sequence[Point]) -> None:
        self._turn("learnt")
        self.points += points

    def evaluated(self, evaluation: Evaluation) -> None:
        self._turn("evaluated")
        self.evaluations.append(evaluation)

    def finished(self, record: Record, summary: Mapping[str, float]) -> None:
        self._turn("finished")
        self.ends.append((record.status, summary))


class _Plugin:
    @hookimpl
    def clbench_trackers(self) -> list[Entry]:
        return [Entry("diary", f"{__name__}:Diary", "writes it down")]


@pytest.fixture
def registry() -> Registry:
    Diary.all.clear()
    registry = toys.registry()
    registry.register(_Plugin(), "diaries", "diaries", "0.1")
    return registry


def _choice(**params: Any) -> Choice:
    return Choice(name="diary", version=1, params=params)


def _nothing(progress: Progress) -> None:
    """No report."""


def _run(registry: Registry, *chosen: Choice, **changes: Any) -> Record:
    cell = Cell("toy", "a/plain", toys.config(**changes), chosen)
    return runner.run_cell(cell, registry, _nothing)


# what is told


def test_a_tracker_is_told_of_every_point_and_every_row_in_order(registry: Registry) -> None:
    record = _run(registry, _choice())

    (diary,) = Diary.all
    result = record.result
    assert result is not None
    (start,) = diary.starts
    assert (start.suite, start.row, start.config) == ("toy", "a/plain", record.config)
    assert (start.metric.unit, start.num_tasks, start.total, start.done) == ("%", 3, 60, 0)
    kept = [
        Point(20 * curve.task + iteration, curve.task, loss, score)
        for curve in result.curves
        for iteration, loss, score in zip(curve.iterations, curve.loss, curve.score, strict=True)
    ]
    assert diary.points == kept
    rows = [(0, None, result.initial), *((20 * i + 20, i, result.R[i]) for i in range(3))]
    assert [(e.step, e.task, e.scores) for e in diary.evaluations] == rows
    ((status, summary),) = diary.ends
    assert status == "ok"
    assert set(summary) == {
        "during_accuracy",
        "final_accuracy",
        "incremental_accuracy",
        "backward_transfer",
        "forward_transfer",
        "forgetting",
    }
    assert summary["final_accuracy"] == pytest.approx(sum(map(float, result.R[-1])) / 3)  # type: ignore[arg-type]
    assert diary.order[:3] == ["constructor", "started", "evaluated"]
    assert diary.order[-2:] == ["evaluated", "finished"]


def test_what_is_learnt_is_told_while_it_is_learnt(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "REPORT_SECONDS", 0.0)
    seen: list[tuple[int, int]] = []

    def report(progress: Progress) -> None:
        seen.append((progress.done, Diary.all[0].points[-1].step))

    runner.run_cell(Cell("toy", "a/plain", toys.config(), (_choice(),)), registry, report)

    assert len(seen) >= 60
    assert [done for done, _ in seen] == [told for _, told in seen]


@pytest.mark.parametrize(
    ("changes", "tasks"),
    [
        ({"regime": "joint"}, [None, 2]),
        ({"regime": "independent"}, [None, 0, 1, 2]),
        ({"regime": "cumulative"}, [None, 0, 1, 2]),
        ({"scenario": Scenario.TASK_FREE, "training": Training(iterations=20, batch_size=1)}, []),
    ],
)
def test_rows_of_every_regime_are_told_as_far_as_they_are_measured(
    changes: dict[str, Any], tasks: list[int | None], registry: Registry
) -> None:
    record = _run(registry, _choice(), **changes)

    (diary,) = Diary.all
    assert record.result is not None
    assert [evaluation.task for evaluation in diary.evaluations] == tasks
    for evaluation in diary.evaluations[1:]:
        assert evaluation.task is not None
        assert evaluation.scores == record.result.R[evaluation.task]
    assert [point.step for point in diary.points] == list(range(1, 61))
    assert diary.ends[0][1]


def test_a_failure_is_told_with_nothing_measured(registry: Registry) -> None:
    training = Training(iterations=300, batch_size=8, learning_rate=1e6, optimizer=Sgd())

    _run(registry, _choice(), family="echoes", training=training)

    assert Diary.all[0].ends == [("failed", {})]


def test_of_a_cell_that_has_no_data_nothing_is_told(registry: Registry) -> None:
    record = _run(registry, _choice(), family="nothing")

    assert record.status == "failed"
    assert Diary.all[0].order == ["constructor"]


@pytest.mark.parametrize("cut", [3, 18, 20, 21, 37, 59])
def test_a_cell_that_goes_on_tells_what_comes_after_its_checkpoint(
    cut: int, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lessons, "REPORT_SECONDS", 0.0)
    cell = Cell("toy", "a/plain", toys.config(), (_choice(),))
    runner.run_cell(cell, registry, _nothing)
    whole = Diary.all.pop()

    def report(progress: Progress) -> None:
        if progress.done >= cut:
            raise CutOff

    def checkpoints() -> Checkpoints:
        return EveryFifth(cell.config.id, {}, folder=tmp_path)

    with pytest.raises(CutOff):
        runner.run_cell(cell, registry, report, checkpoints())
    runner.run_cell(cell, registry, _nothing, checkpoints())

    before, after = Diary.all
    (start,) = after.starts
    assert cut - 5 <= start.done <= cut
    stands = [point for point in before.points if point.step <= start.done]
    assert stands + after.points == whole.points
    rows = [e for e in before.evaluations if e.step <= start.done and start.done]
    assert rows + after.evaluations == whole.evaluations


# what it changes


def _without_times(record: Record) -> Record:
    provenance = record.provenance
    assert provenance is not None
    changes = {"started": "", "peak_memory_mib": None, "notes": ()}
    return record.model_copy(
        update={"timing": None, "provenance": provenance.model_copy(update=changes)}
    )


@pytest.mark.parametrize(
    ("fails_in", "told"),
    [
        ("constructor", ["constructor"]),
        ("started", ["constructor", "started"]),
        ("evaluated", ["constructor", "started", "evaluated"]),
        ("learnt", ["constructor", "started", "evaluated", "learnt"]),
    ],
)
def test_a_tracker_that_raises_is_told_no_more_and_the_cell_goes_on(
    fails_in: str, told: list[str], registry: Registry
) -> None:
    alone = _run(registry)

    record = _run(registry, _choice(fails_in=fails_in))

    where = "at its construction" if fails_in == "constructor" else f"in '{fails_in}'"
    note = f"tracker 'diary' failed {where} and was told no more (SystemExit: no more {fails_in})"
    assert record.provenance is not None
    assert record.provenance.notes == (note,)
    assert Diary.all[0].order == told
    assert _without_times(record) == _without_times(alone)
    assert record.id == alone.id


def test_of_two_trackers_one_may_fail(registry: Registry) -> None:
    broken, good = Diary(DiaryParams(fails_in="learnt")), Diary(DiaryParams())
    tracking = Tracking("toy", "a/plain", {"broken": broken, "good": good})

    runner.run(toys.config(), registry, _nothing, tracking=tracking)

    assert len(good.points) == 60
    assert list(tracking.trackers) == ["good"]
    assert tracking.notes == [
        "tracker 'broken' failed in 'learnt' and was told no more (SystemExit: no more learnt)"
    ]


def test_a_tracker_that_raises_at_the_end_leaves_a_note_too(registry: Registry) -> None:
    record = _run(registry, _choice(fails_in="finished"))

    assert record.status == "ok"
    assert record.provenance is not None
    assert record.provenance.notes == (
        "tracker 'diary' failed in 'finished' and was told no more (SystemExit: no more finished)",
    )


def test_a_tracker_that_is_not_installed_where_the_cell_runs_leaves_a_note(
    registry: Registry,
) -> None:
    record = _run(registry, Choice(name="absent", version=1, params={}))

    assert record.status == "ok"
    assert record.provenance is not None
    assert record.provenance.notes == (
        "tracker 'absent' failed at its construction and was told no more "
        "(UnknownNameError: unknown tracker 'absent')",
    )


def test_a_note_can_be_written_whatever_it_quotes(registry: Registry, tmp_path: Path) -> None:
    class Quotes(Diary):
        def started(self, start: Start) -> None:
            raise OSError("no folder 'runs/\udcff'")

    tracking = Tracking("toy", "a/plain", {"quotes": Quotes(DiaryParams())})

    runner.run(toys.config(), registry, _nothing, tracking=tracking)

    assert tracking.notes[0].endswith("(OSError: no folder 'runs/?')")


# the command line


def test_a_tracker_is_asked_for_by_its_name_or_by_a_parameter_of_it(registry: Registry) -> None:
    assert trackers(registry, []) == ()
    assert trackers(registry, ["diary", "diary"]) == (_choice(fails_in="", tags={}),)
    assert trackers(registry, ["diary:fails_in=a:b=c", "diary:tags.x=3", "diary"]) == (
        _choice(fails_in="a:b=c", tags={"x": 3}),
    )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["diry"], "unknown tracker 'diry'; did you mean 'diary'?\n    known: diary"),
        (["diary:"], "expected KEY=VALUE after --track diary:, found ''"),
        (["diary:tags"], "expected KEY=VALUE after --track diary:, found 'tags'"),
        (
            ["diary:fails_in=a", "diary:fails_in=b"],
            "--track diary:fails_in=b: 'fails_in' is given already",
        ),
        (
            ["diary:tag.x=1"],
            "tracker 'diary': unknown parameter 'tag'; did you mean 'tags'?\n"
            "    known: fails_in, tags",
        ),
        (
            ["diary:tags=1"],
            "tracker 'diary': tags: expected a mapping (--track diary:tags.KEY=VALUE), found '1'",
        ),
    ],
)
def test_a_tracker_that_does_not_fit_is_told_before_anything_runs(
    texts: list[str], message: str, registry: Registry
) -> None:
    with pytest.raises(ClbenchError) as caught:
        trackers(registry, texts)

    assert str(caught.value) == message
