"""How long `clbench table` takes on a thousand records.

    .venv/bin/python benchmarks/table_speed.py [RECORDS]

Makes the records up, in a temporary folder, with learning curves as long as those of a real run.
"""

from __future__ import annotations

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
        f"  m{i}: {{learner: fine-tuning, regularizers: {{si: {{si_lambda: 0.{i + 1}}}}}}}"
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


def seconds(*arguments: str, cwd: Path) -> float:
    """Time of one call of the command line."""
    command = [str(Path(sys.executable).with_name("clbench")), *arguments]
    begun = time.perf_counter()
    subprocess.run(command, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Print the times."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write(folder, records)
        one = next((folder / "results" / "records").iterdir())
        print(f"{records} records of {one.stat().st_size / 1024:.0f} KiB; median of three, seconds")
        for label, arguments in (
            ("clbench list", ("list",)),
            ("clbench table, all there", ("table", str(path))),
        ):
            times = [seconds(*arguments, cwd=folder) for _ in range(3)]
            print(f"{label:28} {statistics.median(times):6.2f}")
        one.unlink()
        times = [seconds("table", str(path), cwd=folder) for _ in range(3)]
        print(f"{'clbench table, one missing':28} {statistics.median(times):6.2f}")


if __name__ == "__main__":
    main()
