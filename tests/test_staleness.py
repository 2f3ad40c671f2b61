"""A plugin that changes and keeps its version does not stay green without a word."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest
import records
import suite_files
import third_party
import toys
from command import CLBENCH

import clbench
from clbench import gate, staleness
from clbench.hookspecs import Entry, hookimpl
from clbench.records import Record
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import Suite

ANCHORED = suite_files.of_copies("""\
seeds: [0]
methods:
  anchor: {learner: fine-tuning, regularizers: {anchor: {}}, expect: {during_accuracy: '>= 1 %'}}
""")
_NOTICE = (
    "warning: clbench-anchor: its code has changed since 1 record was made, and it still has "
    "the same versions (anchor 1): raise that of what has changed, or run again with --force\n"
)


def _clbench(
    cwd: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLBENCH, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_changed_code_of_the_same_version_is_told_until_the_cells_run_again(tmp_path: Path) -> None:
    environment = third_party.install(tmp_path / "site")
    (tmp_path / "suite.yaml").write_text(ANCHORED)
    module = tmp_path / "site" / third_party.MODULE

    first = _clbench(tmp_path, environment, "run", "suite.yaml")
    module.write_text(third_party.REGULARIZER.replace("return self", "return 0 * self"))
    again = _clbench(tmp_path, environment, "run", "suite.yaml")
    check = _clbench(tmp_path, environment, "check", "suite.yaml")
    forced = _clbench(tmp_path, environment, "run", "suite.yaml", "--force")
    current = _clbench(tmp_path, environment, "check", "suite.yaml")

    assert first.returncode == 0, first.stderr
    assert "warning" not in first.stderr + forced.stderr
    assert again.stderr == _NOTICE + "1 of 1 cells have a record already\n"
    assert (check.returncode, check.stderr) == (0, _NOTICE)
    assert "holds (made with other code of clbench-anchor)" in check.stdout
    assert (current.returncode, current.stderr) == (0, "")
    assert "other code" not in current.stdout


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, suite_files.WITH_THRESHOLDS)


def _put(store: Store, suite: Suite, *codes: Mapping[str, str]) -> None:
    """Records of the first row, made with this code."""
    for config, code in zip(suite.rows[0].cells, codes, strict=False):
        made = records.provenance(code=code)
        store.put(records.good(config).model_copy(update={"provenance": made}))


def _now() -> dict[str, str]:
    return toys.registry().codes(["toys"])


def test_the_code_of_clbench_and_of_what_is_not_there_has_no_digest() -> None:
    registry = toys.registry()

    assert Registry.discover().code("clbench") is None
    assert list(registry.codes(["clbench", "toys", "gone"])) == ["toys"]


def test_each_distribution_has_one_line_with_its_parts_and_their_versions(
    suite: Suite, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    _put(store, suite, {"toys": "0" * 16}, _now(), {"toys": "1" * 16, "gone": "2" * 16})
    cells = [config for row in suite.rows for config in row.cells]

    found = staleness.notices([*cells, *cells], store, toys.registry())

    assert found == [
        "toys: its code has changed since 2 records were made, and it still has the same versions "
        "(linear 1, pictures 1, plain 1): raise that of what has changed, or run again with --force"
    ]


def test_distributions_are_told_of_in_the_order_of_their_names(tmp_path: Path) -> None:
    class Other:
        @hookimpl
        def clbench_learners(self) -> list[Entry]:
            return [Entry("another", "toys:Plain", "from elsewhere")]

    registry, store = toys.registry(), Store(tmp_path)
    registry.register(Other(), "other", "other", "0.1")
    configs = [toys.config(), toys.config(learner="another")]
    for config, names in zip(configs, (["toys"], ["other", "toys"]), strict=True):
        made = records.provenance(code=dict.fromkeys(names, "0" * 16))
        store.put(records.good(config).model_copy(update={"provenance": made}))

    found = staleness.notices(configs, store, registry)

    assert [line.partition(":")[0] for line in found] == ["other", "toys"]


def test_values_for_analysis_of_a_suite_warn_where_they_are_loaded(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", toys.registry)
    store = Store(tmp_path / "results")
    _put(store, suite, {"toys": "0" * 16})

    with pytest.warns(UserWarning, match="^toys: its code has changed since 1 record") as told:
        found = clbench.load(store.root, suite=suite.path)
    with warnings.catch_warnings(action="error"):
        everything = clbench.load(store.root)

    assert [Path(one.filename) for one in told] == [Path(__file__)]
    assert found[0].status == everything[0].status == "ok"


@pytest.mark.parametrize("provenance", [None, records.provenance()])
def test_of_records_without_a_digest_nothing_is_said(
    suite: Suite, tmp_path: Path, provenance: object
) -> None:
    store, (config, *_) = Store(tmp_path), suite.rows[0].cells
    record = records.good(config).model_copy(update={"provenance": provenance})
    store.put(record)

    assert staleness.notices([config], store, toys.registry()) == []
    assert staleness.changed(Record.model_validate(record.model_dump()), toys.registry()) == ()


def test_a_record_without_a_result_is_not_counted(suite: Suite, tmp_path: Path) -> None:
    store, (config, *_) = Store(tmp_path), suite.rows[0].cells
    made = records.provenance(code={"toys": "0" * 16})
    store.put(records.bad(config).model_copy(update={"provenance": made}))

    assert staleness.notices([config], store, toys.registry()) == []


def test_the_gate_notes_it_and_judges_all_the_same(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path)
    _put(store, suite, {"toys": "0" * 16}, _now())

    check, _ = gate.judge(suite.rows, store, toys.registry())

    assert (check.status, check.note) == ("holds", "made with other code of toys")
