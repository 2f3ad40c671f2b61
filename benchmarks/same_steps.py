"""Whether a row of the copy-task suite takes the same steps as the code that it was published with.

    python benchmarks/same_steps.py CHECKOUT ROW [steps]

CHECKOUT is a checkout of the source (`cl_in_rnns`). ROW is a key of the suite, such as
``manipulation-r5/online-ewc``; the README of the checkout has the command. Rows that mix tasks,
restart, or store samples are not compared.

The source's own code is run by that command, with few steps per task and in double precision. What
it drew is noted: the initial parameters, the samples of each batch, those of the Fisher
information, the earlier tasks that a step regularizes. Of the initial parameters the standard
deviations are compared with those of what we draw, tensor by tensor. Our learner then starts from
the same parameters, sees the same samples (taken from our own data by their number) and regularizes
the same tasks. After each task the largest difference of any parameter is printed, beside the
largest move. Equal codes differ by rounding, which Adam lets grow from task to task: its first
steps of a task have the size of the learning rate however small a gradient is. How far it grows is
told by our code alone: the same steps once more, with each initial parameter changed by 1e-15 of
itself.
"""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cl_in_rnns
import numpy as np
import torch
from torch import Tensor

from clbench.cell_run import CellRun
from clbench.config import CellConfig
from clbench.protocols import Batch
from clbench.registry import Registry
from clbench.suite import load

ROOT = Path(__file__).resolve().parent.parent
REPLAY = ("coresets", "generative-replay")
NUDGE = 1e-15
MAIN_NET = ("W_ih", "b_ih", "W_hh", "b_hh", "W_ho", "b_ho", "W_out", "b_out")


@dataclass
class TaskNotes:
    """What the source drew and got on one task.

    Attributes:
        initial: Its parameters before the first step.
        training: The numbers of the samples of each batch.
        fisher: Those of the samples of the Fisher information, one by one.
        subsets: The earlier tasks that each step regularizes; empty where they are not drawn.
        final: Its parameters after the last step.
    """

    initial: list[Tensor]
    training: list[Any] = field(default_factory=list)
    fisher: list[Any] = field(default_factory=list)
    subsets: list[list[int]] = field(default_factory=list)
    final: list[Tensor] = field(default_factory=list)


def parameters(net: Any, hypernetwork: Any) -> list[Tensor]:
    """The source's, in the order of our names."""
    if hypernetwork is None:
        found = list(net.internal_params)
    elif hasattr(hypernetwork, "unconditional_params"):
        *layers, chunks = hypernetwork.unconditional_params
        found = [torch.stack(list(hypernetwork.conditional_params)), chunks, *layers]
    else:  # the older interface
        found = [torch.stack(list(hypernetwork.get_task_embs())), *hypernetwork.theta]
    return [tensor.detach().clone() for tensor in found]


def run_source(checkout: Path, arguments: Sequence[str], batch_size: int) -> list[TaskNotes]:
    """Run the source's code, and note what it does on each task."""
    script = cl_in_rnns.script(checkout, arguments)
    training: Any = importlib.import_module("sequential.train_sequential")
    networks: Any = importlib.import_module("sequential.train_utils_sequential")
    dataset: Any = importlib.import_module("data.dataset").Dataset
    notes: list[TaskNotes] = []
    train, next_batch, choose = training.train_one_task, dataset.next_train_batch, np.random.choice

    def noting_train(dhandlers: Any, net: Any, hypernetwork: Any, *args: Any, **kwargs: Any) -> Any:
        notes.append(TaskNotes(parameters(net, hypernetwork)))
        losses = train(dhandlers, net, hypernetwork, *args, **kwargs)
        notes[-1].final = parameters(net, hypernetwork)
        return losses

    def noting_next_batch(self: Any, size: int, *args: Any, **kwargs: Any) -> Any:
        wanted = kwargs.pop("return_ids", False)
        batch = next_batch(self, size, *args, return_ids=True, **kwargs)
        note = notes[-1]
        (note.training if size == batch_size else note.fisher).append(batch[2].copy())
        note.subsets.append([])
        return batch if wanted else batch[:2]

    def noting_choose(*args: Any, **kwargs: Any) -> Any:
        chosen = choose(*args, **kwargs)
        if notes and not notes[-1].subsets[-1]:  # others are drawn for logs, after the step
            notes[-1].subsets[-1] += np.atleast_1d(chosen).tolist()
        return chosen

    training.train_one_task, dataset.next_train_batch = noting_train, noting_next_batch
    np.random.choice = noting_choose
    zeros = [torch.zeros(())] * 5
    training.test = lambda *args, **kwargs: (zeros, [0.0] * 5)
    training.evaluate = lambda *args, **kwargs: (0.0, 0.0)
    networks.save_performance_summary = networks.log_results = lambda *args, **kwargs: None
    script.run()
    np.random.choice = choose
    return notes


@dataclass
class SameSamples:
    """The samples of the source's Fisher information (`clbench.protocols.TaskData`)."""

    of: Callable[[Any], Batch]
    fisher: Sequence[Any]
    num_samples: int

    def batches(self, num_samples: int) -> Iterator[Batch]:
        """All of them."""
        assert num_samples == len(self.fisher)
        for start in range(0, num_samples, 250):
            yield self.of(np.concatenate(self.fisher[start : start + 250]))


def follow(
    config: CellConfig, registry: Registry, notes: Sequence[TaskNotes], nudge: float = 0.0
) -> list[list[Tensor]]:
    """Our parameters after each task, by the same steps from the same parameters.

    Args:
        config: The row.
        registry: Of plugins.
        notes: What the source drew.
        nudge: By how much to change each initial parameter, relatively.
    """
    run = CellRun(config, registry, lambda progress: None)
    run.prepare()
    is_generated = config.learner.name == "chunked-hypernetwork"
    drawn = run.net.initial(torch.Generator().manual_seed(config.seed))
    if not is_generated:
        given = dict(zip(MAIN_NET, notes[0].initial, strict=True))
        run.net.initial = lambda generator: given
    learner: Any = run.learner()
    named = (learner._parameters if is_generated else learner.parameters).named
    names = list(named) if is_generated else MAIN_NET
    if is_generated:
        drawn = {name: named[name].detach().clone() for name in names}
    if not nudge:
        pairs = [(drawn[n].std(), f.std()) for n, f in zip(names, notes[0].initial, strict=True)]
        spreads = [float(ours / theirs) for ours, theirs in pairs]
        print(f"initial parameters: {min(spreads):.2f} to {max(spreads):.2f} times as spread")
    with torch.no_grad():
        for name, initial in zip(names, notes[0].initial, strict=True):
            named[name].copy_((initial * (1 + nudge)).view_as(named[name]))
    finals = []
    for task_id, note in enumerate(notes):

        def of(numbers: Any, task_id: int = task_id) -> Batch:
            index = torch.from_numpy(np.asarray(numbers, dtype=np.int64))
            return replace(run.tasks[task_id].train.batch(index), task_id=task_id)

        learner.begin_task(task_id)
        subsets = iter(note.subsets)
        if any(note.subsets):
            learner._subset = lambda subsets=subsets: torch.tensor(next(subsets))
        for numbers in note.training:
            learner.observe(of(numbers))
        if task_id + 1 < len(notes):
            size = run.tasks[task_id].train_size
            learner.end_task(task_id, SameSamples(of, note.fisher, size))
        pairs = zip(names, note.final, strict=True)
        finals.append([named[name].detach().clone().view_as(final) for name, final in pairs])
    return finals


def farthest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """The largest difference of any parameter."""
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def main() -> None:
    """Compare one row."""
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    checkout, key = Path(sys.argv[1]).resolve(), sys.argv[2]
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    registry = Registry.discover()
    suite = load(ROOT / "suites" / "copy_task.yaml", registry)
    rows = {row.key: row for row in suite.rows}
    arguments = cl_in_rnns.command(checkout, key)
    if key not in rows:
        sys.exit(f"{key}: no row of the suite")
    config = rows[key].cells[0]
    compared = config.regime == "sequential" and config.learner.name not in REPLAY
    if not compared:
        sys.exit(f"{key}: rows that mix tasks, restart, or store samples are not compared")
    with tempfile.TemporaryDirectory() as folder:
        arguments = [
            *arguments,
            f"--data_random_seed={config.data_seed}",
            f"--n_iter={steps}",
            f"--out_dir={folder}/out",
        ]
        print(shlex.join(["train_copy.py", *arguments[:-1]]), flush=True)
        cl_in_rnns.make_up_for_the_years()
        torch.set_default_dtype(torch.float64)
        torch.Tensor.float = torch.Tensor.double
        with (
            Path(os.devnull).open("w") as nothing,
            redirect_stdout(nothing),
            redirect_stderr(nothing),
        ):
            notes = run_source(checkout, arguments, config.training.batch_size)
        ours = follow(config, registry, notes)
        nudged = follow(config, registry, notes, NUDGE)
    for number, (note, final, control) in enumerate(zip(notes, ours, nudged, strict=True), 1):
        apart, chaos = farthest(final, note.final), farthest(final, control)
        moved = farthest(note.initial, note.final)
        print(f"task {number}: {apart:.1e} apart, {chaos:.1e} if nudged, {moved:.1e} moved")


if __name__ == "__main__":
    main()
