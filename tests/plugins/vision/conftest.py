"""CIFAR is small, but where the files themselves are tested."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_pictures import SmallPictures


@pytest.fixture(autouse=True)
def _small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if Path(request.path).stem != "test_files":
        for name in ("CIFAR10", "CIFAR100"):
            monkeypatch.setattr(f"clbench_vision.incremental_cifar.{name}", SmallPictures(3))
