"""HNET on split MNIST by the code that it was published with (github.com/chrhenning/hypercl).

    python benchmarks/hypercl_run.py CHECKOUT domain-il|class-il [seed [steps]]

CHECKOUT is a checkout of commit e3256788; nothing in it is changed. Run is what its README has for
the scenario with ``--infer_task_id --infer_with_entropy``, on one thread, with the given random
seed (42) and its own number of steps per task, or the given one. In class-il training is the same
as in task-il, so that its column *given* is task-il, too. After each task its accuracies in percent
are printed; at the end the means during and after learning, and the accuracies of all tasks.

given     with the weights of the task that a picture is of
inferred  with the weights whose prediction has the least entropy, as it is computed in float32
exact     the same with entropies in double precision: where it differs, rounding decides

Left out is the replay model, which this method does not use and which it would train before.
Pictures of a task are tested at once and not one by one, with its formula. Needs matplotlib,
scikit-learn and tensorboardX, and takes about six minutes of a core.
"""

from __future__ import annotations

import importlib
import os
import random
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import cl_in_rnns
import numpy as np
import torch
from torch import Tensor

from clbench import data
from clbench.registry import Registry

SCENARIOS = {"domain-il": 2, "class-il": 3}
CLASSES = 2


@dataclass(frozen=True)
class Accuracies:
    """The accuracies on one task, in percent."""

    given: float
    inferred: float
    exact: float

    def __str__(self) -> str:
        return "  ".join(f"{one:6.2f}" for one in astuple(self))


class Silent:
    """A writer of logs that writes none."""

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def link_pictures(folder: Path) -> None:
    """Put MNIST where the source looks for it; it writes a copy of its own beside it."""
    (folder / "MNIST").mkdir()
    dataset = Registry.discover().find("dataset", "mnist").load()
    for file in dataset.files:
        (folder / "MNIST" / file.name).symlink_to(data.require("mnist", file))


def entropy(logits: Tensor) -> Tensor:
    """Entropies of predictions, by the source's formula; shape [pictures]."""
    probabilities = torch.softmax(logits, -1)
    return -1 * torch.sum(probabilities * torch.log(probabilities), 1)


@torch.no_grad()
def accuracies(nets: Any, handler: Any, task: int, learnt: int, shared: bool) -> Accuracies:
    """Of one task's test pictures, when so many tasks are learnt."""
    main, hypernetwork = nets
    pictures = torch.from_numpy(handler.get_test_inputs()).float()
    labels = torch.from_numpy(handler.get_test_outputs().argmax(1))
    logits = []
    for other in range(learnt):
        outputs = main.forward(pictures, hypernetwork.forward(other))
        logits.append(outputs if shared else outputs[:, CLASSES * other : CLASSES * (other + 1)])
    predicted = torch.stack(logits).argmax(2)
    single = torch.stack([entropy(one) for one in logits]).argmin(0)
    double = torch.stack([entropy(one.double()) for one in logits]).argmin(0)

    def accuracy(chosen: Tensor) -> float:
        right = predicted[chosen, torch.arange(len(labels))] == labels
        return 100 * float((right & (shared | (chosen == task))).float().mean())

    return Accuracies(accuracy(torch.full_like(labels, task)), accuracy(single), accuracy(double))


def run(checkout: Path, scenario: str, seed: int, steps: int | None) -> None:
    """Train on the five tasks one after another, and tell of each."""
    out = sys.stdout
    number = SCENARIOS[scenario]
    sys.path.insert(0, str(checkout))
    os.chdir(checkout / "mnist")
    sys.argv = ["train_splitMNIST.py", "--infer_task_id", "--infer_with_entropy", "--no_cuda"]
    sys.argv += [f"--cl_scenario={number}", f"--random_seed={seed}"]
    print(*sys.argv, flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Path(os.devnull).open("w") as nothing,
        redirect_stdout(nothing),
        redirect_stderr(nothing),
    ):
        link_pictures(Path(folder))
        arguments: Any = importlib.import_module("mnist.train_args")
        making: Any = importlib.import_module("mnist.train_utils")
        training: Any = importlib.import_module("mnist.train_splitMNIST")
        config = training._set_default(arguments.parse_cmd_arguments(mode="split"))
        config.data_dir, config.show_plots = folder, False
        config.n_iter = steps or config.n_iter
        config.training_task_infer, config.training_with_hnet = False, True
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        handlers = making._generate_tasks(config)
        device = torch.device("cpu")
        nets = making.generate_classifier(config, handlers, device)
        during = []
        for task, handler in enumerate(handlers):
            training.train_class_one_t(
                handler, None, None, None, nets, device, config, Silent(), task
            )
            for net in nets:
                net.eval()
            during.append(accuracies(nets, handler, task, task + 1, number == 2))
            print(f"task {task + 1}  {during[-1]}", file=out, flush=True)
        final = [
            accuracies(nets, handler, task, len(handlers), number == 2)
            for task, handler in enumerate(handlers)
        ]
    for name, tasks in (("during", during), ("final ", final)):
        means = Accuracies(*np.mean([astuple(one) for one in tasks], 0))
        print(f"{name}  {means}")
    for task, one in enumerate(final):
        print(f"final of task {task + 1}  {one}")


def main() -> None:
    """Run one scenario with one seed."""
    if not 3 <= len(sys.argv) <= 5 or sys.argv[2] not in SCENARIOS:
        sys.exit(__doc__)
    checkout = Path(sys.argv[1]).resolve()
    if not (checkout / "mnist" / "train_splitMNIST.py").is_file():
        sys.exit(f"{checkout}: no checkout of the source")
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 42
    steps = int(sys.argv[4]) if len(sys.argv) > 4 else None
    cl_in_rnns.make_up_for_the_years()
    run(checkout, sys.argv[2], seed, steps)


if __name__ == "__main__":
    main()
