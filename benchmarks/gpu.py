"""Cells per hour on one GPU: seeds in lockstep against plain PyTorch, one seed after another.

    python benchmarks/gpu.py [--device cuda] [--seeds 16] [--steps 200]
    python benchmarks/gpu.py --device cpu --seeds 2 --steps 2       # tries it out

The cells are those of the row ``permuted/hnet`` of ``suites/copy_task.yaml``: a hypernetwork for
the Elman net, five tasks, each keeping those before it. Both ways get their batches from the same
streams, on the device; steps in lockstep are recorded as CUDA graphs, as in a run. Some steps of
each task are timed after as many to get warm, and from their times that of all steps of a cell
follows; data and tests are left out.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from elman_step import plain_outputs
from torch import Tensor, nn

from clbench import provenance
from clbench.cell_run import CellRun
from clbench.graphs import alike
from clbench.protocols import Batch
from clbench.registry import Registry
from clbench.suite import load
from clbench.worker import keep_freed_memory
from clbench_hypernet.learner import ChunkedHypernetwork

SUITE = Path(__file__).parent.parent / "suites" / "copy_task.yaml"
ROW = "permuted/hnet"


def prepared(device: torch.device, count: int) -> list[CellRun]:
    """Runs of as many seeds, which share the data."""
    registry = Registry.discover()
    (row,) = [row for row in load(SUITE, registry).rows if row.key == ROW]
    runs: list[CellRun] = []
    for seed in range(count):
        config = row.cells[0].model_copy(update={"seed": seed})
        sibling = runs[0] if runs else None
        runs.append(
            CellRun(config, registry, lambda progress: None, sibling=sibling, device=device)
        )
        runs[-1].prepare()
    return runs


def in_lockstep(runs: list[CellRun], task_id: int) -> Callable[[], object]:
    """A step of all seeds on a task."""
    learners = [run.learner() for run in runs]
    for learner in learners:
        learner.begin_task(task_id)
    streams = [run.stream(task_id, "order") for run in runs]
    program = alike(ChunkedHypernetwork.in_lockstep(learners))
    size = runs[0].config.training.batch_size
    return lambda: program.observe([stream.next(size) for stream in streams])


def plain(run: CellRun, task_id: int) -> Callable[[], object]:
    """A step of one seed on a task as one would write it: modules, loops, autograd."""
    model, params, training = PlainHypernetwork(run), run.config.learner.params, run.config.training
    (orthogonal,) = run.config.regularizers
    strength, beta = orthogonal.params["strength"], params["beta"]
    model.to(run.device)
    optimiser = torch.optim.Adam(model.parameters(), lr=training.learning_rate)
    heads = [run.layout.own_rows(j) for j in range(task_id + 1)]
    with torch.no_grad():
        targets = [model(j) for j in range(task_id)]
    eye = torch.eye(run.net.shapes["W_hh"][0], device=run.device)
    stream = run.stream(task_id, "order")

    def loss(batch: Batch) -> Tensor:
        weights = model(task_id)
        logits = plain_outputs(weights, batch.inputs)[batch.window, :, heads[task_id]]
        total = nn.functional.binary_cross_entropy_with_logits(
            logits, batch.targets, reduction="sum"
        )
        total = total / batch.inputs.shape[1]
        W = weights["W_hh"]
        total = total + strength * (W @ W.T - eye).square().sum()
        for j, target in enumerate(targets):
            for name, weight in model(j).items():
                own = heads[j] if name in run.net.output_names else slice(None)
                change = (weight[own] - target[name][own]).square().sum()
                total = total + beta / task_id * change
        return total

    def step() -> None:
        optimiser.zero_grad()
        loss(stream.next(training.batch_size)).backward()
        if training.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), training.clip)
        optimiser.step()

    return step


class PlainHypernetwork(nn.Module):
    """Task and chunk embeddings, and the MLP that makes chunks of weights of them."""

    def __init__(self, run: CellRun) -> None:
        super().__init__()
        params, self._shapes = run.config.learner.params, run.net.shapes
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        self._sizes, chunk = sizes, params["chunk_size"]
        count = math.ceil(sum(sizes) / chunk)
        self.tasks = nn.Parameter(torch.randn(len(run.tasks), params["task_embedding_size"]))
        self.chunks = nn.Parameter(0.1 * torch.randn(count, params["chunk_embedding_size"]))
        width, layers = self.tasks.shape[1] + self.chunks.shape[1], []
        for hidden in params["hidden_sizes"]:
            layers += [nn.Linear(width, hidden), nn.ReLU()]
            width = hidden
        self.mlp = nn.Sequential(*layers, nn.Linear(width, chunk))

    def forward(self, task_id: int) -> dict[str, Tensor]:
        """The weights of a task by name."""
        task = self.tasks[task_id].expand(len(self.chunks), -1)
        flat = self.mlp(torch.cat([self.chunks, task], dim=1)).flatten()
        parts = torch.split(flat[: sum(self._sizes)], self._sizes)
        pairs = zip(self._shapes.items(), parts, strict=True)
        return {name: part.view(shape) for (name, shape), part in pairs}


def seconds(step: Callable[[], object], count: int, device: torch.device) -> float:
    """Of one step, once everything is warm."""
    for _ in range(count):
        step()
    _wait(device)
    begin = time.perf_counter()
    for _ in range(count):
        step()
    _wait(device)
    return (time.perf_counter() - begin) / count


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Time both ways on every task."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as in a worker
    device = torch.device(given.device)
    runs = prepared(device, given.seeds)
    ours = theirs = 0.0
    for task_id in range(len(runs[0].tasks)):
        together = seconds(in_lockstep(runs, task_id), given.steps, device) / len(runs)
        alone = seconds(plain(runs[0], task_id), given.steps, device)
        ours += together * runs[0].steps(task_id)
        theirs += alone * runs[0].steps(task_id)
        print(f"task {task_id}: step of a seed {1e3 * together:.2f} ms, plain {1e3 * alone:.2f} ms")
    name = provenance.device_name(device)
    print(f"cells of {ROW} per hour, {name}, steps alone")
    print(f"{len(runs)} seeds in lockstep  {3600 / ours:8.3f}")
    print(f"plain PyTorch        {3600 / theirs:8.3f}   ours is {theirs / ours:.2f} x as fast")


if __name__ == "__main__":
    main()
