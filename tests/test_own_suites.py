"""The suites of this repository: valid, complete, and all learners run."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import clbench

from clbench import published
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import load

ROOT = Path(__file__).parent.parent


def test_the_suites_of_the_repository_are_valid() -> None:
    suites = sorted((ROOT / "suites").glob("*.yaml"))

    done = clbench("validate", *suites, cwd=ROOT)

    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(suites)


def test_the_smoke_suite_runs_every_learner(tmp_path: Path) -> None:
    done = clbench("run", ROOT / "suites/smoke.yaml", "--seeds", "0", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    records, _ = Store(tmp_path / "results").scan()
    assert {record.status for record in records} == {"ok"}
    assert {record.config.learner.name for record in records} == {
        *("fine-tuning", "masking", "chunked-hypernetwork", "coresets", "generative-replay")
    }


@pytest.mark.parametrize(
    "path", sorted((ROOT / "suites").glob("*.yaml")), ids=lambda path: path.stem
)
def test_every_published_row_is_a_row_of_its_suite(path: Path) -> None:
    suite = load(path, Registry.discover())
    ledger = published.find(ROOT / "results", path, suite.published)

    if ledger is not None:
        assert set(ledger.rows) <= {row.key for row in suite.rows if row.excluded is None}
