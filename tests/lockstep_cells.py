"""Cells of toys and of streams that run in lockstep, for the tests of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import toys

from clbench.executor import Progress
from clbench.matrix import Cell
from clbench.protocols import Batch, Observation
from clbench.records import Record, Result
from clbench.registry import Registry
from clbench.runner import run_cell
from clbench.suite import load


def silent(progress: Progress) -> None:
    """No report."""


class Together:
    """The simplest program of several learners: one after the other."""

    widths: ClassVar[list[int]] = []

    def __init__(self, learners: Sequence[Any]) -> None:
        self._learners = learners
        self.widths.append(len(learners))

    def observe(self, batches: Sequence[Batch]) -> list[Observation]:
        pairs = zip(self._learners, batches, strict=True)
        return [learner.observe(batch) for learner, batch in pairs]


def group_of(*seeds: int, **changes: Any) -> tuple[Cell, ...]:
    """Cells of toys, of these seeds."""
    return tuple(Cell("toy", "a/b", toys.config(**(changes | {"seed": seed}))) for seed in seeds)


def alone(cell: Cell) -> Record:
    """The record of a toy that runs alone."""
    return run_cell(cell, toys.registry(), silent)


def results(records: Sequence[Record]) -> list[Result | None]:
    """What was measured."""
    return [record.result for record in records]


STREAM = """\
suite: stream
scenario: task-free
seeds: 0-2
data_seed: seed
defaults:
  training: {iterations: 60, batch_size: 1, learning_rate: 1e-2}
tasks:
  mlp:
    family: input-permuted-stream
    dataset: mnist
    num_tasks: 3
    model: {name: mlp, hidden_sizes: [8]}
  cnn:
    family: label-permuted-stream
    dataset: mnist
    num_tasks: 3
    model: {name: cnn, channels: [2, 3], kernel_size: 3, hidden_sizes: [6]}
methods:
  upgd: {learner: {name: upgd, noise_std: 0.01}}
"""


def streams(task: str, folder: Path) -> tuple[Cell, ...]:
    """Cells of streams of clbench's own plugins; the suite is left in the folder."""
    path = folder / "stream.yaml"
    path.write_text(STREAM)
    suite = load(path, Registry.discover())
    (row,) = [row for row in suite.rows if row.task == task]
    return tuple(Cell(suite.name, row.key, config) for config in row.cells)
