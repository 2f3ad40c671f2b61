"""For all tests: one thread, and a cache for each file of tests, which no other meets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from command import TINY
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)  # as in a worker: the tests' nets are small, and processes share cores

settings.register_profile("ci", max_examples=100, deadline=None)
settings.register_profile(
    "nightly",
    max_examples=20_000,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
settings.load_profile(os.environ.get("CLBENCH_FUZZ", "ci"))


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("CLBENCH_CACHE")
    os.environ["CLBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["CLBENCH_CACHE"]
    else:
        os.environ["CLBENCH_CACHE"] = before


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A suite file of a moment, in a folder of its own."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture
def tiny_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """MNIST is forty pictures of 12 x 12."""
    drawing = torch.Generator().manual_seed(0)
    pictures = torch.randint(256, (40, 1, 12, 12), dtype=torch.uint8, generator=drawing)

    def load_tiny(self: Any, split: str) -> Any:
        from clbench.images import Split

        return Split(pictures, torch.arange(40) % 10)

    monkeypatch.setattr("clbench_vision.datasets.IdxDataset.load", load_tiny)
    monkeypatch.setattr("clbench_vision.datasets.IdxDataset.shape", (1, 12, 12), raising=False)


@pytest.fixture
def report_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells report, and may be cut off, at every step and not a few times a second."""
    from clbench import lessons

    monkeypatch.setattr(lessons, "REPORT_SECONDS", 0.0)


@pytest.fixture
def widths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Toys run in lockstep; how many each program was made of."""
    import toys
    from lockstep_cells import Together

    for part in (toys.Plain, toys.Linear):
        monkeypatch.setattr(part, "in_lockstep", Together, raising=False)
        monkeypatch.setattr(part, "lockstep_obstacle", lambda params: None, raising=False)
    monkeypatch.setattr(Together, "widths", [])
    return Together.widths
