"""How long `clbench table` takes on a thousand records.

    .venv/bin/python benchmarks/table_speed.py [RECORDS]

Makes the records up, in a temporary folder, with learning curves as long as those of a real run. A
table is warm where the cache, which is in that folder too, has its suite resolved.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from clbench import matrix
from clbench.records import Curve, MetricInfo, Record, Result, Timing
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import load

TASKS, POINTS, METHODS = 5, 100, 10
SUITE = """\
suite: many
scenario: task-il
seeds: [0-{last}]
defaults:
  model: {{name: elman, hidden_size: 8}}
  training: {{iterations: 100}}
tasks:
  permuted: {{family: permuted-copy, num_tasks: {tasks}, input_length: 3}}
methods:
{methods}
"""


def write(folder: Path, records: int) -> Path:
    """A suite of ten methods, and a record of each of its cells."""
    methods = "\n".join(
        f"  m{i}: {{learner: fine-tuning, regularizers: {{si: {{si_lambda: {i + 1}}}}}}}"
        for i in range(METHODS)
    )
    path = folder / "many.yaml"
    path.write_text(SUITE.format(last=max(0, records // METHODS - 1), tasks=TASKS, methods=methods))
    store = Store(folder / "results")
    for number, cell in enumerate(matrix.expand(load(path, Registry.discover()))):
        store.put(Record(status="ok", config=cell.config, result=_result(number), timing=_TIMING))
    return path


_TIMING = Timing(data=0.1, train=60.0, consolidate=0.0, evaluate=0.0, total=60.1)


def _result(number: int) -> Result:
    scores = tuple(90 + (number * j % 97) / 10 for j in range(TASKS))
    values = tuple(1 / (1 + number + i) for i in range(POINTS))
    return Result(
        metric=MetricInfo(name="accuracy", unit="%", better="higher"),
        R=(scores,) * TASKS,
        initial=(50.0,) * TASKS,
        curves=tuple(
            Curve(task=j, iterations=tuple(range(POINTS)), loss=values, score=values)
            for j in range(TASKS)
        ),
        num_parameters={"trained": 1, "main_net": 1},
        iterations=500,
    )


def measure(label: str, *arguments: str, cwd: Path, cold: bool = False) -> None:
    """Print the medians of three calls of the command line, each without a cache if `cold`."""
    cache = cwd / "cache"
    command = [str(Path(sys.executable).with_name("clbench")), *arguments]
    times = []
    for _ in range(3):
        if cold:
            shutil.rmtree(cache, ignore_errors=True)
        begun, before = time.perf_counter(), _cpu()
        environment = os.environ | {"CLBENCH_CACHE": str(cache)}
        subprocess.run(command, cwd=cwd, env=environment, check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - begun, _cpu() - before))
    wall, cpu = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{label:28} {wall:6.2f} {cpu:6.2f}")


def _cpu() -> float:
    """Processor seconds of all ended child processes; unlike wall time, little moved by others."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print the times."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder, records)
        stored = list((folder / "results" / "records").iterdir())
        size = stored[0].stat().st_size / 1024
        print(f"{len(stored)} records of {size:.0f} KiB; medians of three, seconds")
        print(f"{'':28} {'wall':>6} {'CPU':>6}")
        measure("clbench list", "list", cwd=folder)
        measure("clbench table, cold", "table", str(path), cwd=folder, cold=True)
        measure("clbench table, warm", "table", str(path), cwd=folder)
        stored[0].unlink()
        measure("clbench table, one missing", "table", str(path), cwd=folder)


if __name__ == "__main__":
    main()
