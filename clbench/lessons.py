"""The training steps on one task: of one cell, or of several in lockstep."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from clbench.cell_run import CellRun
from clbench.curves import CurveKeeper, DivergedError
from clbench.graphs import AlikeSteps, alike
from clbench.observing import StreamKeeper, StreamKeepers
from clbench.protocols import Batch, BatchStream, Learner, Observation
from clbench.scenario import Scenario

REPORT_SECONDS = 0.25
"""Time between two reports of a running cell."""

Observe = Callable[[Sequence[Batch]], Sequence[Observation]]
Keep = Callable[[Sequence[Observation], Sequence[Batch]], None]


@dataclass(slots=True, eq=False)
class Lesson:
    """What a learner is to do on one task.

    Attributes:
        run: The run of the cell.
        learner: Learns.
        task_id: The task.
        stream: Gives the batches.
        steps: Training steps on the task.
        keeper: Takes in every step, where that is asked for.
        curve: The learning curve.
        done: Training steps done.
        error: That the loss has diverged, if it has.
    """

    run: CellRun
    learner: Learner
    task_id: int
    stream: BatchStream
    steps: int
    keeper: StreamKeeper | None = None
    curve: CurveKeeper = field(init=False)
    done: int = field(init=False, default=0)
    error: DivergedError | None = field(init=False, default=None)

    def begin(self) -> None:
        """Take up the lesson where a checkpoint left it, or tell the learner that a task begins."""
        run = self.run
        objective = run.family.objective
        self.curve = CurveKeeper(self.task_id, self.steps, len(run.tasks), objective)
        saved, run.saved = run.saved, None  # what follows is new
        if saved is not None and saved["step"] > 0:
            self.learner.restore(saved["learner"])
            self.stream.restore(saved["stream"])
            self.curve.restore(saved["curve"])
            self.done = saved["step"]
        elif run.config.scenario is not Scenario.TASK_FREE:
            self.learner.begin_task(self.task_id)

    def took(self, observation: Observation, batch: Batch) -> None:
        """A step has been taken.

        Raises:
            DivergedError: The loss is infinite or not a number.
        """
        self.done += 1
        self.run.done += 1
        self.curve.add(self.done, observation, batch)

    def tell(self) -> None:
        """Report the progress."""
        self.run.tell(self.task_id, self.curve, before=self.run.done - self.done)

    def save(self) -> None:
        """Leave a checkpoint in the middle of the task."""
        self.run.save(self.done, self.learner, stream=self.stream, curve=self.curve)


def learn(lessons: Sequence[Lesson]) -> None:
    """Do lessons, several of them in lockstep: of equal cells but for their seeds, at equal steps.

    A lesson whose loss diverges ends with its error kept; the others go on.
    """
    running = list(lessons)
    for lesson in running:
        lesson.begin()
    ((done, steps),) = {(lesson.done, lesson.steps) for lesson in running}
    size = running[0].run.config.training.batch_size
    observe, keep = _together(running)
    reported = 0.0
    with ExitStack() as stack:
        for lesson in running:
            stack.enter_context(lesson.run.clock("train"))
        for step in range(done + 1, steps + 1):
            batches = [lesson.stream.next(size) for lesson in running]
            observations = observe(batches)
            for lesson, observation, batch in zip(running, observations, batches, strict=True):
                try:
                    lesson.took(observation, batch)
                except DivergedError as error:
                    lesson.error = error
            if any(lesson.error for lesson in running):
                left = [i for i, lesson in enumerate(running) if lesson.error is None]
                if not left:
                    return
                running = [running[i] for i in left]
                observations, batches = [observations[i] for i in left], [batches[i] for i in left]
                observe, keep = _together(running)
            if keep is not None:
                keep(observations, batches)
            now = time.perf_counter()
            if now - reported >= REPORT_SECONDS:
                reported = now
                for lesson in running:
                    lesson.tell()
                checkpoints = running[0].run.checkpoints
                if checkpoints and checkpoints.is_due and step < steps:
                    for lesson in running:
                        lesson.save()
    for lesson in running:
        lesson.tell()
        lesson.run.curves.append(lesson.curve.curve())


def _together(lessons: Sequence[Lesson]) -> tuple[Observe, Keep | None]:
    """What takes a step of all lessons, and what keeps more of it than the curves."""
    for lesson in lessons:
        lesson.run.width = len(lessons)
    learner, keeper = lessons[0].learner, lessons[0].keeper
    if len(lessons) == 1:
        steps = AlikeSteps(learner)
        keep = None if keeper is None else lambda seen, batches: keeper.add(seen[0], batches[0])
        return lambda batches: (steps.observe(batches[0]),), keep
    learners = type(learner).in_lockstep([lesson.learner for lesson in lessons])  # type: ignore[attr-defined]
    program = alike(learners)
    keepers = [lesson.keeper for lesson in lessons if lesson.keeper is not None]
    return program.observe, StreamKeepers(keepers, program).add if keepers else None
