"""How long the published copy-task rows take at full budget: one seed of each, on one machine.

    python benchmarks/copy_rows.py [steps] [workers]

Of each of the 18 rows of the README some training steps of every task are timed, after some to get
warm, and the end of the first task; from their times that of the whole cell follows. Data and tests
are left out: records say that they take less than 1 %. Times are those of the processor. Cells are
divided by the number of workers, as if they all ended at once.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from clbench import published
from clbench.cell_run import CellRun
from clbench.protocols import BatchStream
from clbench.registry import Registry
from clbench.suite import load
from clbench.worker import keep_freed_memory

ROOT = Path(__file__).parent.parent
AGAIN = "-seed12"
"""Ends the keys of tasks whose published values are those of another task."""


def stream(run: CellRun, task_id: int) -> BatchStream:
    """What a row trains on."""
    if run.config.regime == "joint":
        return run.mixed_stream(len(run.tasks))
    return run.stream(task_id, "order")


def minutes(run: CellRun, count: int) -> float:
    """Of the processor, for all steps of a cell and what happens between its tasks."""
    run.prepare()
    learner, seconds = run.learner(), 0.0
    for task_id in range(len(run.tasks)):
        learner.begin_task(task_id)
        batches = stream(run, task_id)
        for i in range(2 * count):
            if i == count:
                begin = time.process_time()
            learner.observe(batches.next(run.config.training.batch_size))
        seconds += (time.process_time() - begin) / count * run.steps(task_id)
        if run.config.regime == "sequential" and task_id + 1 < len(run.tasks):
            begin = time.process_time()
            run.consolidate(learner, task_id)
            seconds += time.process_time() - begin
    return seconds / 60


def main() -> None:
    """Time all rows."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a worker
    registry = Registry.discover()
    suite = load(ROOT / "suites" / "copy_task.yaml", registry)
    ledger = published.find(ROOT / "results", suite.path, suite.published)
    assert ledger is not None  # it is in the repository
    total, rows = 0.0, 0
    for row in suite.rows:
        if row.key in ledger.rows and row.cells and not row.task.endswith(AGAIN):
            took = minutes(CellRun(row.cells[0], registry, lambda progress: None), count)
            total, rows = total + took, rows + 1
            print(f"{row.key:32} {took:6.1f} min", flush=True)
    print(f"{rows} rows: {total:.0f} min of one core, {total / workers:.0f} min with {workers}")


if __name__ == "__main__":
    main()
