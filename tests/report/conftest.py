"""A suite of toys, and records of it in every state."""

from __future__ import annotations

from pathlib import Path

import pytest
import records
import suite_files
from reports import TEXT, full

from clbench.records import Failure, Record
from clbench.store import Store
from clbench.suite import Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, TEXT)


@pytest.fixture
def store(tmp_path: Path, suite: Suite) -> Store:
    """Three good seeds of a/plain; one good, one failed and none of a/other; none of b/plain."""
    store = Store(tmp_path / "results")
    plain, other = suite.rows[0], suite.rows[1]
    records.put(store, plain.cells, 89.0, 90.0, 91.0, made=full)
    store.put(full(other.cells[0], 80.0))
    failure = Failure(type="ValueError", message="1 < 2", traceback='File "x" & <module>')
    store.put(Record(status="failed", config=other.cells[1], failure=failure))
    return store
