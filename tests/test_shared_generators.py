"""Random numbers that a plugin draws from what the whole process shares."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import toys

from clbench import runner
from clbench.matrix import Cell
from clbench.scenario import Scenario


@pytest.mark.parametrize(
    ("draws", "names"),
    [
        ([], ""),
        ([lambda: torch.rand(1)], "torch"),
        ([lambda: np.random.rand(), random.random], "numpy, random"),
    ],
    ids=["none", "torch", "numpy and random"],
)
def test_numbers_from_generators_that_a_process_shares_are_noted(
    draws: list[Callable[[], object]],
    names: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    really = toys.Pictures.tasks

    def tasks(family: toys.Pictures, data_seed: int, scenario: Scenario) -> Any:
        for draw in draws:
            draw()
        return really(family, data_seed, scenario)

    monkeypatch.setattr(toys.Pictures, "tasks", tasks)
    cell = Cell("toy", "a/plain", toys.config())

    record = runner.run_cell(cell, toys.registry(), lambda progress: None)

    assert record.provenance is not None
    assert record.provenance.notes == (
        (
            f"random numbers were drawn from what the whole process shares ({names}): another run "
            "may give another result; draw from the generators that plugins are given",
        )
        if names
        else ()
    )
