"""For all tests: one thread, and no cache outside the tests' own folders."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
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


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = os.environ.get("CLBENCH_CACHE")
    os.environ["CLBENCH_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["CLBENCH_CACHE"]
    else:
        os.environ["CLBENCH_CACHE"] = before
