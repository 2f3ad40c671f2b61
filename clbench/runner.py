"""One cell -> one record: whatever happens inside becomes a record."""

from __future__ import annotations

import traceback
from datetime import datetime, timezone

import torch

from clbench import provenance
from clbench.cell_run import CellRun, Report
from clbench.checkpoints import Checkpoints
from clbench.config import CellConfig
from clbench.errors import UnavailableError
from clbench.matrix import Cell
from clbench.records import Failure, MetricInfo, Record, Result, Status, Timing
from clbench.regimes import REGIMES, task_free
from clbench.registry import Registry
from clbench.scenario import Scenario
from clbench.tracking import Tracking


def run_cell(
    cell: Cell, registry: Registry, report: Report, checkpoints: Checkpoints | None = None
) -> Record:
    """Run one cell.

    Args:
        cell: What to run.
        registry: Where its plugins are found.
        report: Told of the progress, a few times a second.
        checkpoints: Where to take up an interrupted run, and to leave checkpoints; None: nowhere.

    Returns:
        A record of status ``ok``, ``skipped`` (the data is not here), ``out-of-memory`` or
        ``failed`` (with the traceback).
    """
    started = datetime.now(timezone.utc)
    result: Result | None = None
    timing: Timing | None = None
    failure: Failure | None = None
    status: Status = "ok"
    tracking = Tracking.of(cell, registry)
    try:
        result, timing = run(cell.config, registry, report, checkpoints, tracking)
    except UnavailableError as error:
        status, failure = "skipped", _failure(error)
    except MemoryError as error:
        status, failure = "out-of-memory", _failure(error)
    except (Exception, SystemExit) as error:
        status, failure = "failed", _failure(error)
    notes = tuple(checkpoints.notes) if checkpoints else ()
    record = Record(
        status=status,
        config=cell.config,
        result=result,
        failure=failure,
        timing=timing,
        provenance=provenance.collect(cell.suite, cell.row, started, notes),
    )
    return tracking.finished(record)


def _failure(error: BaseException) -> Failure:
    text = "".join(traceback.format_exception(error))
    return Failure(type=type(error).__name__, message=str(error), traceback=text)


def run(
    config: CellConfig,
    registry: Registry,
    report: Report,
    checkpoints: Checkpoints | None = None,
    tracking: Tracking | None = None,
) -> tuple[Result, Timing]:
    """Run one configuration; None tells no tracker, and leaves no checkpoint.

    Raises:
        Exception: Whatever a plugin raises.
        DivergedError: A loss is infinite or not a number.
    """
    run = CellRun(config, registry, report, checkpoints, tracking or Tracking())
    with run.clock("total"):
        result = _result(run)
    return result, Timing(**run.seconds)


def _result(run: CellRun) -> Result:
    """Make the data, learn under the regime, and gather what was measured."""
    run.prepare()
    is_stream = run.config.scenario is Scenario.TASK_FREE
    learn = task_free if is_stream else REGIMES[run.config.regime]
    learner = run.learner()
    initial = run.evaluate(learner)
    run.tracking.evaluated(run.done, None, initial)
    R = learn(run, learner)
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
