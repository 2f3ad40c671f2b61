"""A row of the copy-task suite by the code that it was published with, whole.

    python benchmarks/source_run.py CHECKOUT ROW [seed [steps]]

CHECKOUT is a checkout of the source (`cl_in_rnns`). ROW is a key of the suite, such as
``manipulation-r5-seed12/hnet``; the README of the checkout has the command. It is run with the
row's data seed, the given model seed (42) and its own number of steps per task, or the given one,
on one thread. After each task the accuracies in percent are printed, those of its own test; at the
end what the README calls the accuracies during and after learning.

Three things of the source are done faster, or left out, that do not touch its training: targets are
permuted for all samples of a batch at once (the first ones are compared with those of its own
loop); the accuracy of training batches, and everything else that only goes into logs, is not
computed; the validation set is looked at every 5,000 steps. It takes one to two hours of a core.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cl_in_rnns
import numpy as np
import torch
from torch import Tensor

from clbench.registry import Registry
from clbench.suite import load

ROOT = Path(__file__).resolve().parent.parent
COMPARED = 3  # batches of each task whose targets are compared


class Silent:
    """A writer of logs that writes none."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def permute_at_once(handler: Any) -> None:
    """Let the source's data handlers permute the targets of a batch in one operation."""
    loop = handler.output_to_torch_tensor
    compared: dict[int, int] = {}

    def targets(self: Any, outputs: Any, device: Any, *args: Any, **kwargs: Any) -> Tensor:
        if self.permutation is None:
            return loop(self, outputs, device, *args, **kwargs)
        at_once = super(handler, self).output_to_torch_tensor(outputs, device, *args, **kwargs)
        at_once[at_once == -1] = 0.0  # its mark of the stop
        at_once = at_once[: self._data["seq_len"]]
        start = self._data["min_input_len"] + 1
        window = at_once[start:].transpose(0, 1)
        pattern = window.flatten(1)
        if self._permute_xor:
            assert self._permute_xor_separate
            parts = [pattern[:, torch.from_numpy(one)] for one in self.permutation]
            permuted = torch.stack([pattern, *parts]).sum(0) % 2
        else:
            permuted = pattern[:, torch.from_numpy(self.permutation)]
        at_once[start:] = permuted.view_as(window).transpose(0, 1)
        compared[id(self)] = compared.get(id(self), 0) + 1
        if compared[id(self)] <= COMPARED:
            assert torch.equal(at_once, loop(self, outputs, device, *args, **kwargs))
        return at_once

    handler.output_to_torch_tensor = targets


def run(checkout: Path, arguments: list[str], batch_size: int) -> list[list[float]]:
    """The accuracies on all tasks after each task (after all, if it mixes them), told at once."""
    out = sys.stdout
    matrix: list[list[float]] = []
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing), redirect_stderr(nothing):
        script = cl_in_rnns.script(checkout, arguments)
        training: Any = importlib.import_module("sequential.train_sequential")
        copying: Any = importlib.import_module("sequential.copy.train_utils_copy")
        setting: Any = importlib.import_module("utils.sim_utils")
        handler: Any = importlib.import_module("data.timeseries.copy_data").CopyTask
        test, accuracy = training.test, copying.get_accuracy

        def telling_test(*args: Any, **kwargs: Any) -> Any:
            result = test(*args, **kwargs)
            matrix.append([float(one) for one in result[1]])
            print(*(f"{one:7.2f}" for one in matrix[-1]), file=out, flush=True)
            return result

        def accuracy_of_tests(outputs: Any, targets: Any, data: Any, numbers: Any) -> Any:
            if numbers.size == batch_size:
                return 0.0, None
            return accuracy(outputs, targets, data, numbers)

        permute_at_once(handler)
        training.test, copying.get_accuracy = telling_test, accuracy_of_tests
        copying.draw_samples = lambda *args, **kwargs: None
        setting.SummaryWriter = lambda *args, **kwargs: Silent()
        script.run()
    return matrix


def main() -> None:
    """Run one row."""
    if not 3 <= len(sys.argv) <= 5:
        sys.exit(__doc__)
    checkout, key = Path(sys.argv[1]).resolve(), sys.argv[2]
    suite = load(ROOT / "suites" / "copy_task.yaml", Registry.discover())
    arguments = cl_in_rnns.command(checkout, key)
    configs = [row.cells[0] for row in suite.rows if row.key == key and row.cells]
    if not configs:
        sys.exit(f"{key}: no row of the suite")
    arguments += [f"--data_random_seed={configs[0].data_seed}", "--val_iter=5000"]
    arguments += [f"--random_seed={sys.argv[3]}"] if len(sys.argv) > 3 else []
    arguments += [f"--n_iter={sys.argv[4]}"] if len(sys.argv) > 4 else []
    print(shlex.join(["train_copy.py", *arguments]), flush=True)
    cl_in_rnns.make_up_for_the_years()
    with tempfile.TemporaryDirectory() as folder:
        matrix = run(
            checkout, [*arguments, f"--out_dir={folder}/out"], configs[0].training.batch_size
        )
    if len(matrix) > 1:
        print(f"during {np.mean(np.diagonal(matrix)):.2f}")
    print(f"final {np.mean(matrix[-1]):.2f}")


if __name__ == "__main__":
    main()
