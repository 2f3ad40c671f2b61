"""The loops: which task is learnt when, by which learner, on which samples.

Each yields what is to be learnt as a `clbench.lessons.Lesson` and goes on when it has been: so that
lessons of several cells can be learnt together. Each takes up where a checkpoint left off: tasks
whose rows `CellRun` has already are not learnt again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import TypeAlias

from clbench.cell_run import CellRun, Rows
from clbench.config import Regime
from clbench.lessons import Lesson
from clbench.observing import ActivityKeeper, StreamKeeper
from clbench.protocols import BatchStream, Learner

Course: TypeAlias = Generator[Lesson, None, Rows]
"""Lessons, one after another; in the end the rows of R."""


def sequential(run: CellRun, learner: Learner) -> Course:
    """One task after another; the score on every task after each."""
    return (yield from _one_by_one(run, learner, lambda i: run.stream(i, "order")))


def cumulative(run: CellRun, learner: Learner) -> Course:
    """One task after another, each together with the data of all tasks before it.

    Every stage has orders of its own: it is too short to reach the end of those of another.
    """
    return (yield from _one_by_one(run, learner, lambda i: run.mixed_stream(i + 1, "stage", i)))


def _one_by_one(run: CellRun, learner: Learner, stream: Callable[[int], BatchStream]) -> Course:
    K = len(run.tasks)
    activity = ActivityKeeper(run.net, learner)
    run.resume(learner, activity)
    for i in range(len(run.rows), K):
        yield Lesson(run, learner, i, stream(i), run.steps(i))
        if i + 1 < K:
            run.consolidate(learner, i)
        run.rows.append(run.evaluate(learner))
        with run.clock("evaluate"):
            activity.end_task(run.queries(i))
        run.save_task_end(learner)
    with run.clock("evaluate"):
        activity.end([run.queries(i) for i in range(K)])
    run.statistics = activity.statistics()
    run.keep_artefacts(learner)
    return run.rows


def independent(run: CellRun, learner: Learner) -> Course:
    """Every task from scratch, by a learner of its own: only the diagonal means anything."""
    K = len(run.tasks)
    run.resume(None, None)
    for i in range(len(run.rows), K):
        fresh = learner if i == 0 else run.learner("task", i)
        yield Lesson(run, fresh, i, run.stream(i, "order"), run.steps(i))
        scores = run.evaluate(fresh)
        run.rows.append([score if j == i else None for j, score in enumerate(scores)])
        run.save_task_end(None)
    return run.rows


def joint(run: CellRun, learner: Learner) -> Course:
    """All tasks at once, for as many steps as all tasks together: only a last row."""
    K = len(run.tasks)
    run.resume(None, None)
    yield Lesson(run, learner, 0, run.mixed_stream(K), run.total)
    run.keep_artefacts(learner)
    empty: Rows = [[None] * K for _ in range(K - 1)]
    last = run.evaluate(learner)
    run.tracking.evaluated(run.done, K - 1, last)
    return [*empty, last]


REGIMES: Mapping[Regime, Callable[[CellRun, Learner], Course]] = {
    "sequential": sequential,
    "independent": independent,
    "joint": joint,
    "cumulative": cumulative,
}


def task_free(run: CellRun, learner: Learner) -> Course:
    """Samples without task ids or boundaries: what counts is the prediction before each step.

    The learner is told nothing but the samples; the tasks are windows of the score only.
    """
    K = len(run.tasks)
    keeper = StreamKeeper(learner, run.net, run.layout, run.family.objective)
    run.resume(learner, keeper)
    for i in range(len(run.rows), K):
        yield Lesson(run, learner, i, run.stream(i, "order"), run.steps(i), keeper)
        keeper.end_task()
        run.rows.append([None] * K)
        run.save_task_end(learner)
    run.online, run.statistics = keeper.online(), keeper.statistics()
    run.keep_artefacts(learner)
    return run.rows
