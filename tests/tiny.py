"""Cells of the suites, small enough to run in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clbench.config import CellConfig
from clbench.matrix import Cell
from clbench.registry import Registry
from clbench.suite import load

SUITES = Path(__file__).parent.parent / "suites"

SMALL: dict[str, Any] = {  # parameters of any part, where it has them
    "num_tasks": 3,
    "input_length": 4,
    "pattern_length": 3,
    "num_train": 60,
    "num_test": 10,
    "num_validation": 5,
    "hidden_size": 8,
    "fisher_samples": 40,
    "coreset_size": 9,
    "replay_batch_size": 7,
    "latent_size": 3,
    "decoder_hidden_size": 6,
    "chunk_size": 64,
    "task_embedding_size": 4,
    "chunk_embedding_size": 3,
}


def _small(params: dict[str, Any]) -> dict[str, Any]:
    found = {name: SMALL.get(name, value) for name, value in params.items()}
    if found.get("hidden_sizes"):
        found["hidden_sizes"] = [6] * len(found["hidden_sizes"])
    if found.get("winners"):
        found["winners"] = found["winners"] | {"percent_on": 0.3}
    return found


def rows(name: str, seeds: Sequence[int]) -> dict[str, Sequence[Cell]]:
    """The rows of a suite that run, with tiny cells of some seeds."""
    suite, found = load(SUITES / f"{name}.yaml", Registry.discover()), {}
    for row in suite.rows:
        if row.cells:
            config = _tiny(row.cells[0])
            configs = [config.model_copy(update={"seed": seed}) for seed in seeds]
            found[row.key] = tuple(Cell(suite.name, row.key, one) for one in configs)
    return found


def _tiny(config: CellConfig) -> CellConfig:
    def small(choice: Any) -> Any:
        return choice.model_copy(update={"params": _small(choice.params)})

    training = config.training.model_copy(update={"iterations": 7, "epochs": None, "batch_size": 5})
    return config.model_copy(
        update={
            "task": small(config.task),
            "model": small(config.model),
            "learner": small(config.learner),
            "regularizers": tuple(small(choice) for choice in config.regularizers),
            "training": training,
        }
    )
