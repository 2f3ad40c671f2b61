"""What the harness costs: a cell against its bare training loop, and two workers against one.

    python benchmarks/harness.py [steps per task]

The cells train the Elman net of the copy-task suite on the permuted copy task. Needs two cores that
have nothing else to do.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from clbench import matrix
from clbench.cell_run import CellRun
from clbench.executor import Progress
from clbench.local_pool import LocalExecutor, LocalParams
from clbench.matrix import Cell
from clbench.records import Record
from clbench.registry import Registry
from clbench.runner import run
from clbench.suite import load

SUITE = """
suite: harness
scenario: task-il
seeds: 0-3
defaults: {{model: {{name: elman, hidden_size: 256}}, training: {{iterations: {steps}}}}}
tasks: {{permuted: {{family: permuted-copy, num_tasks: 2, num_train: 10000}}}}
methods: {{fine-tuning: {{learner: fine-tuning}}}}
"""


class Silent:
    """Listens, and says nothing."""

    def started(self, cell: Cell) -> None:
        """A cell begins."""

    def progressed(self, report: Progress) -> None:
        """A cell goes on."""

    def finished(self, cell: Cell, record: Record) -> None:
        """A cell has ended, and well."""
        assert record.status == "ok", record.failure


def bare(cell: Cell, registry: Registry) -> float:
    """Seconds of the steps alone."""
    made = CellRun(cell.config, registry, lambda report: None)
    made.prepare()
    learner = made.learner()
    seconds = 0.0
    for i in range(len(made.tasks)):
        stream = made.stream(i, "order")
        learner.begin_task(i)
        begin = time.perf_counter()
        for _ in range(made.steps(i)):
            learner.observe(stream.next(128))
        seconds += time.perf_counter() - begin
    return seconds


def main() -> None:
    """Alternate the two ways of training, then run four cells with one worker and with two."""
    torch.set_num_threads(1)
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    registry = Registry.discover()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "harness.yaml"
        path.write_text(SUITE.format(steps=steps))
        cells = matrix.expand(load(path, registry), ("*",), None, 1.0)
    alone, whole = [], []
    for _ in range(5):
        alone.append(bare(cells[0], registry))
        _, timing = run(cells[0].config, registry, lambda report: None)
        whole.append(timing.train)
    cost = median(whole) / median(alone) - 1
    print(
        f"steps alone {median(alone):.2f} s, in a cell {median(whole):.2f} s: {100 * cost:+.1f} %"
    )
    walls = {}
    for jobs in (1, 2):
        with tempfile.TemporaryDirectory() as cache:
            os.environ["CLBENCH_CACHE"] = cache  # nothing to go on from
            begin = time.perf_counter()
            LocalExecutor(LocalParams(jobs=jobs)).execute(
                [(cell,) for cell in cells], Silent(), lambda: False
            )
            walls[jobs] = time.perf_counter() - begin
    ratio = walls[1] / walls[2]
    print(f"{len(cells)} cells: one worker {walls[1]:.1f} s, two {walls[2]:.1f} s: {ratio:.2f} x")


if __name__ == "__main__":
    main()
