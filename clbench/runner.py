"""One cell -> one record: whatever happens inside becomes a record.

Several cells that are equal but for their seeds go through it in lockstep: each has a course of
lessons, and the steps of a lesson are taken together.
"""

from __future__ import annotations

import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

import torch

from clbench import provenance, sources
from clbench.cell_run import CellRun, Report
from clbench.checkpoints import Checkpoints
from clbench.config import CellConfig
from clbench.curves import DivergedError
from clbench.errors import ClbenchError, UnavailableError, in_one_line
from clbench.groups import obstacle
from clbench.lessons import Lesson, learn
from clbench.matrix import Cell, Group
from clbench.protocols import CPU, State
from clbench.randomness import drawn_since, shared_states
from clbench.records import Failure, MetricInfo, Record, Result, Status, Timing
from clbench.regimes import REGIMES, task_free
from clbench.registry import Registry
from clbench.scenario import Scenario
from clbench.tracking import Tracking

Outcome: TypeAlias = tuple[Result, Timing] | BaseException

_NO_HOST_MEMORY = "DefaultCPUAllocator: can't allocate memory"
"""What torch says where the host gives a tensor no memory; it has no error of its own for that."""


def run_cell(
    cell: Cell,
    registry: Registry,
    report: Report,
    checkpoints: Checkpoints | None = None,
    device: torch.device = CPU,
) -> Record:
    """Run one cell.

    Args:
        cell: What to run.
        registry: Where its plugins are found.
        report: Told of the progress, a few times a second.
        checkpoints: Where to take up an interrupted run, and to leave checkpoints; None: nowhere.
        device: Where to compute.

    Returns:
        A record of status ``ok``, ``skipped`` (the data is not here), ``out-of-memory`` or
        ``failed`` (with the traceback).
    """
    return _run_alone(cell, registry, report, checkpoints, device, notes=())


def _run_alone(
    cell: Cell,
    registry: Registry,
    report: Report,
    checkpoints: Checkpoints | None,
    device: torch.device,
    notes: Sequence[str],
) -> Record:
    registry.codes(cell.config.plugins)  # as it is before it is imported
    started, tracking = datetime.now(timezone.utc), Tracking.of(cell, registry)
    tracking.notes += notes
    (part,) = _parts([checkpoints])
    start = Start(cell.config, checkpoints, part[0], tracking)
    outcome: Outcome
    try:
        (outcome,) = run_together([start], registry, report, device)
    except (Exception, SystemExit) as error:
        outcome = error
    return _record(cell, registry, started, outcome, start, device, 1)


def run_group(
    group: Group,
    registry: Registry,
    report: Report,
    checkpoints: Sequence[Checkpoints] | None = None,
    device: torch.device = CPU,
) -> tuple[Record, ...]:
    """Run cells that are equal but for their seeds, in lockstep as far as they are equally far.

    A cell whose loss diverges fails by itself. After any other error all are run one by one, from
    the beginning, so that each gets the record it deserves. One by one, from their last
    checkpoints, run those whose parts cannot run in lockstep.

    Args:
        group: What to run.
        registry: Where the plugins are found.
        report: Told of the progress of each cell, a few times a second.
        checkpoints: Of each cell, as in `run_cell`; None: nowhere.
        device: Where to compute.

    Returns:
        The record of each cell, as of `run_cell`.
    """
    registry.codes(group[0].config.plugins)  # as it is before it is imported
    kept: Sequence[Checkpoints | None] = checkpoints or [None] * len(group)
    if len(group) == 1 or not _can_run_together(group, registry):
        pairs = zip(group, kept, strict=True)
        return tuple(run_cell(cell, registry, report, one, device) for cell, one in pairs)
    records: dict[int, Record] = {}
    for part in _parts(kept):
        notes: list[str] = []
        if len(part) > 1:
            started = datetime.now(timezone.utc)
            starts = [
                Start(group[r].config, kept[r], saved, Tracking.of(group[r], registry))
                for r, saved in part.items()
            ]
            outcomes: Sequence[Outcome]
            try:
                outcomes = run_together(starts, registry, report, device)
            except UnavailableError as error:
                outcomes = [error] * len(part)  # alone it would be no other
            except (Exception, SystemExit) as error:
                outcomes = [error] * len(part)  # their trackers are told of the end
                notes.append(f"run alone after lockstep failed ({in_one_line(error)})")
            for r, start, outcome in zip(part, starts, outcomes, strict=True):
                records[r] = _record(group[r], registry, started, outcome, start, device, len(part))
        if len(part) == 1 or notes:
            for r in part:
                records[r] = _run_alone(group[r], registry, report, kept[r], device, notes)
    return tuple(records[r] for r in range(len(group)))


def _parts(kept: Sequence[Checkpoints | None]) -> list[dict[int, State | None]]:
    """Which cells of a group go on, or begin, together: number of the cell -> where it goes on.

    As many take a state up together as made it together: rounding depends on it, and a result is
    to be that of a run without a cut. All cells of a part are at the same step, the latest of which
    there are enough. Where nothing is left to learn a state serves its cell alone.
    """
    found = [one.load() if one else [] for one in kept]
    places: dict[tuple[int, int, int], dict[int, State]] = {}
    for r, states in enumerate(found):
        for state in states:
            size = state["width"] if state["left"] else 1
            places.setdefault((state["done"], state["step"], size), {})[r] = state
    parts: list[dict[int, State | None]] = []
    anew = set(range(len(kept)))
    for place in sorted(places, reverse=True):
        *_, size = place
        here = [r for r in places[place] if r in anew]
        for i in range(size, len(here) + 1, size):
            parts.append({r: places[place][r] for r in here[i - size : i]})
            anew -= parts[-1].keys()
    for r in anew:
        one, states = kept[r], found[r]
        if one and states:
            width = states[0]["width"]
            one.notes.append(f"begun anew: its checkpoint serves only {width} cells in lockstep")
    return [*parts, dict.fromkeys(sorted(anew))] if anew else parts


def _can_run_together(group: Group, registry: Registry) -> bool:
    try:
        return obstacle(group[0].config, registry) is None
    except Exception:  # a part that cannot be loaded: the record of each cell is to tell of it
        return False


def _record(
    cell: Cell,
    registry: Registry,
    started: datetime,
    outcome: Outcome,
    start: Start,
    device: torch.device,
    width: int,
) -> Record:
    result: Result | None = None
    timing: Timing | None = None
    failure: Failure | None = None
    status: Status = "ok"
    if isinstance(outcome, BaseException):
        status, failure = _status(outcome), _failure(outcome, registry)
    else:
        result, timing = outcome
    notes = tuple(dict.fromkeys(start.checkpoints.notes)) if start.checkpoints else ()
    lockstep = start.lockstep(width)
    code = registry.codes(cell.config.plugins)
    record = Record(
        status=status,
        config=cell.config,
        result=result,
        failure=failure,
        timing=timing,
        provenance=provenance.collect(cell.suite, cell.row, started, notes, lockstep, device, code),
    )
    return start.tracking.finished(record)


def _status(error: BaseException) -> Status:
    if isinstance(error, UnavailableError):
        return "skipped"
    no_memory = (MemoryError, torch.OutOfMemoryError)  # of the host, of the GPU
    refused = isinstance(error, RuntimeError) and _NO_HOST_MEMORY in str(error)
    return "out-of-memory" if refused or isinstance(error, no_memory) else "failed"


def _failure(error: BaseException, registry: Registry) -> Failure:
    text = "".join(traceback.format_exception(error))
    where = "" if isinstance(error, ClbenchError) else _where(error, registry)  # those say it all
    return Failure(type=type(error).__name__, message=str(error), traceback=text, where=where)


def _where(error: BaseException, registry: Registry) -> str:
    """The last place that lies in a plugin, or else in clbench: ``package/module.py:71``."""
    plugins = registry.packages() - {"clbench"}
    place = sources.raised_at(error, plugins) or sources.raised_at(error, {"clbench"})
    if place is None:
        return ""
    path = Path(place.file)
    folder = next((one for one in path.parents if one.name == place.package), path)
    return f"{path.relative_to(folder.parent).as_posix()}:{place.line}"


def run(
    config: CellConfig,
    registry: Registry,
    report: Report,
    checkpoints: Checkpoints | None = None,
    tracking: Tracking | None = None,
    device: torch.device = CPU,
) -> tuple[Result, Timing]:
    """Run one configuration; None tells no tracker, and leaves no checkpoint.

    Raises:
        Exception: Whatever a plugin raises.
        DivergedError: A loss is infinite or not a number.
    """
    (part,) = _parts([checkpoints])
    start = Start(config, checkpoints, part[0], tracking or Tracking())
    (outcome,) = run_together([start], registry, report, device)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


@dataclass(frozen=True, slots=True)
class Start:
    """Where a cell begins.

    Attributes:
        config: What to run.
        checkpoints: Where to leave checkpoints; None: nowhere.
        saved: What is in the checkpoint to go on from; None: nothing.
        tracking: Told of what is learnt.
    """

    config: CellConfig
    checkpoints: Checkpoints | None
    saved: State | None
    tracking: Tracking

    def lockstep(self, width: int) -> int:
        """How many cells began together, where `width` begin now or go on."""
        return self.saved["lockstep"] if self.saved else width


def run_together(
    starts: Sequence[Start], registry: Registry, report: Report, device: torch.device = CPU
) -> list[Outcome]:
    """Run configurations that are equal but for their seeds and equally far, in lockstep.

    What is wrong with a result is noted in the tracking of each.

    Returns:
        Of each its result, or the error by which it diverged.

    Raises:
        Exception: Whatever else a plugin raises.
    """
    shared = shared_states()
    runs: list[CellRun] = []
    for start in starts:
        run = CellRun(
            start.config,
            registry,
            report,
            checkpoints=start.checkpoints,
            saved=start.saved,
            tracking=start.tracking,
            sibling=runs[0] if runs else None,
            share=1 / len(starts),
            lockstep=start.lockstep(len(starts)),
            device=device,
        )
        runs.append(run)
    courses = [_course(run) for run in runs]
    outcomes: dict[int, Outcome] = {}
    lessons: dict[int, Lesson | None] = dict.fromkeys(range(len(runs)))
    while lessons:
        going = {r: _go_on(courses[r], lesson) for r, lesson in lessons.items()}
        lessons = {r: step for r, step in going.items() if isinstance(step, Lesson)}
        for r, step in going.items():
            if isinstance(step, Result):
                outcomes[r] = step, Timing(**runs[r].seconds)
            elif isinstance(step, DivergedError):
                outcomes[r] = step
        if lessons:
            learn([lesson for lesson in lessons.values() if lesson])
    if note := drawn_since(shared):
        for start in starts:
            start.tracking.notes.append(note)
    return [outcomes[r] for r in range(len(runs))]


_Course: TypeAlias = Generator[Lesson, None, Result]


def _go_on(course: _Course, learnt: Lesson | None) -> Lesson | Result | DivergedError:
    """What comes after a lesson (None: at the beginning): the next one, or the end."""
    try:
        if learnt is not None and learnt.error is not None:
            return course.throw(learnt.error)
        return next(course)
    except StopIteration as end:
        result: Result = end.value
        return result
    except DivergedError as error:
        return error


def _course(run: CellRun) -> _Course:
    """The lessons of a cell, and its result."""
    with run.clock("total"):
        result = yield from _lessons(run)
    return result


def _lessons(run: CellRun) -> _Course:
    """Make the data, learn under the regime, and gather what was measured."""
    learner = run.learner()  # one that refuses does so before the data are made
    run.prepare()
    is_stream = run.config.scenario is Scenario.TASK_FREE
    learn_all = task_free if is_stream else REGIMES[run.config.regime]
    initial = run.evaluate(learner)
    run.tracking.evaluated(run.done, None, initial)
    R = yield from learn_all(run, learner)
    metric = run.family.objective.metric
    own = sum(torch.Size(shape).numel() for shape in run.net.shapes.values())
    return Result(
        metric=MetricInfo(name=metric.name, unit=metric.unit, better=metric.better),
        R=tuple(map(tuple, R)),
        initial=tuple(initial),
        curves=tuple(run.curves),
        num_parameters={"trained": learner.num_parameters, "main_net": own},
        iterations=run.done,
        online=run.online,
        statistics=run.statistics,
        artefacts=run.artefacts,
    )
