"""The gate: thresholds of a suite, what is told of them, and JUnit XML."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import records
import suite_files
import toys
from rich.console import Console
from typer.testing import CliRunner

from clbench import explain, gate
from clbench.cli import app
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import Suite
from clbench.thresholds import Threshold


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, suite_files.WITH_THRESHOLDS)


def _store(path: Path, suite: Suite, *last: float) -> Store:
    """Records of the first seeds of a/plain, with these final accuracies."""
    store = Store(path)
    records.put(store, suite.rows[0].cells, *last)
    return store


def test_thresholds_hold_fail_or_have_nothing_to_judge(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "results", suite, 89.4, 89.6, 89.5)
    store.put(records.bad(suite.rows[1].cells[1], "skipped"))

    plain, other = gate.judge(suite.rows, store)

    assert (plain.status, plain.wanted, plain.note) == ("holds", 3, "")
    assert plain.observed is not None
    assert plain.observed.mean == pytest.approx(89.5)
    assert (other.status, other.observed, other.note) == ("missing", None, "seed 2: skipped")


def test_a_method_that_got_worse_turns_the_gate_red(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "worse", suite, 89.4, 89.4, 89.4)

    first, second = gate.judge(suite.rows, store)

    assert (first.status, second.status) == ("fails", "missing")


def test_reduced_budgets_are_no_evidence_for_thresholds(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "quick")
    for config in suite.rows[0].cells:
        store.put(records.good(config.model_copy(update={"budget": 0.5})))

    assert {check.status for check in gate.judge(suite.rows, store)} == {"missing"}


@pytest.mark.parametrize(
    ("relation", "bound", "value", "holds"),
    [
        (">=", 97.1, (97.1 + 97.1 + 97.1) / 3, True),  # 97.09999999999998
        ("<=", 97.1, 97.1 + 1.5e-14, True),
        (">=", 0.0, -1.5e-14, True),  # a difference of such means
        (">=", 97.1, 97.1 - 1e-9, False),
        ("<=", 1e-5, 1e-5 + 1e-11, False),
    ],
)
def test_rounding_alone_misses_no_threshold(
    relation: str, bound: float, value: float, holds: bool
) -> None:
    threshold = Threshold("final_accuracy", "final_accuracy", relation, bound)

    assert value != bound
    assert threshold.holds(value) is holds


@pytest.mark.parametrize(
    ("bound", "last", "told"),
    [
        (97.0, 96.99965, ("final_accuracy >= 97", "96.9997")),
        (97.12345, 97.1234, ("final_accuracy >= 97.1235", "97.1234")),
        (97.0, 96.9, ("final_accuracy >= 97", "96.9")),
    ],
)
def test_what_is_told_of_a_mean_that_fails_differs_from_the_bound(
    suite: Suite, tmp_path: Path, bound: float, last: float, told: tuple[str, str]
) -> None:
    store = _store(tmp_path / "results", suite, last)
    threshold = Threshold("final_accuracy", "final_accuracy", ">=", bound)
    rows = [replace(suite.rows[0], thresholds=(threshold,))]

    checks = gate.judge(rows, store)

    wanted, observed = told
    (case,) = ElementTree.fromstring(gate.to_junit("toy", checks)).iter("testcase")
    assert (case.get("name"), case[0].get("message")) == (
        f"{wanted} (suite)",
        f"observed {observed}, 1 of 3 seeds",
    )
    lines = explain.explain(suite, checks, store, None)[0].lines()
    assert lines[1] == f"  {wanted} (suite): fails"
    assert lines[2].startswith(f"    observed {observed}, ")


@pytest.mark.parametrize("status", ["failed", "timed-out", "out-of-memory"])
def test_a_seed_that_breaks_fails_its_row_however_good_the_others_are(
    suite: Suite, tmp_path: Path, status: str
) -> None:
    store = _store(tmp_path / "results", suite, 99.0, 99.0)
    store.put(records.bad(suite.rows[0].cells[2], status))

    check = gate.judge(suite.rows[:1], store)[0]

    assert (check.status, check.note) == ("fails", f"seed 3: {status}")
    told = "\n".join(explain.explain(suite, [check], store, None)[0].lines())
    assert f"a seed that ends without a result fails the row: seed 3: {status}" in told


@pytest.mark.parametrize("status", ["failed", "timed-out", "out-of-memory"])
def test_a_row_of_which_every_seed_breaks_fails(suite: Suite, tmp_path: Path, status: str) -> None:
    store = Store(tmp_path / "results")
    for config in suite.rows[0].cells:
        store.put(records.bad(config, status))
    note = "; ".join(f"seed {seed}: {status}" for seed in (1, 2, 3))

    checks = gate.judge(suite.rows[:1], store)

    assert [(c.status, c.observed, c.note) for c in checks] == [("fails", None, note)]
    (case,) = ElementTree.fromstring(gate.to_junit("toy", checks)).iter("testcase")
    assert [(part.tag, part.get("message")) for part in case] == [
        ("failure", f"observed –, 0 of 3 seeds; {note}")
    ]
    told = explain.explain(suite, checks, store, None)[0].lines()
    assert told[2] == f"    a seed that ends without a result fails the row: {note}"


def test_a_seed_whose_data_are_not_here_leaves_the_others_to_judge(
    suite: Suite, tmp_path: Path
) -> None:
    store = _store(tmp_path / "results", suite, 99.0, 99.0)
    store.put(records.bad(suite.rows[0].cells[2], "skipped"))

    check = gate.judge(suite.rows[:1], store)[0]

    assert (check.status, check.note) == ("holds", "seed 3: skipped")


def test_a_metric_that_the_records_do_not_have_is_unmeasured(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "results", suite, 99.0)
    wanted = Threshold("online_accuracy", "online_accuracy", ">=", 5.0)
    rows = [replace(suite.rows[0], thresholds=(wanted,))]

    checks = gate.judge(rows, store)

    assert [check.status for check in checks] == ["unmeasured"]
    assert gate.advice(Path("toy.yaml"), rows, checks, store) == ""
    root = ElementTree.fromstring(gate.to_junit("toy", checks))
    assert [(one.get("failures"), one.get("errors")) for one in (root, root[0])] == [("0", "1")] * 2
    (case,) = root.iter("testcase")
    assert [(part.tag, part.get("type")) for part in case] == [("error", "unmeasured")]
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(gate.to_rich(checks, 80))
    assert console.export_text().splitlines()[-1] == "1 unmeasured"
    told = explain.explain(suite, checks, store, None)[0].lines()
    assert told[2] == "    its records do not measure it"


def test_the_command_is_red_where_a_metric_is_unmeasured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", toys.registry)
    monkeypatch.chdir(tmp_path)
    text = suite_files.WITH_THRESHOLDS.replace("final_accuracy: '>= 89.5'", "forgetting: '<= 5'")
    suite = suite_files.load(tmp_path, text)
    one_task = {"R": ((90.0,),), "initial": (50.0,)}
    for row in suite.rows:
        record = records.good(row.cells[0])
        assert record.result is not None
        result = record.result.model_copy(update=one_task)
        Store(Path("results")).put(record.model_copy(update={"result": result}))

    done = CliRunner().invoke(app, ["check", "toy.yaml"])

    assert (done.exit_code, "1 holds, 1 unmeasured" in done.stdout) == (1, True)


def test_junit_tells_failures_and_what_is_missing(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "worse", suite, 80.0)

    root = ElementTree.fromstring(gate.to_junit("toy", gate.judge(suite.rows, store)))

    group = root[0]
    assert {key: group.get(key) for key in ("name", "tests", "failures", "errors")} == {
        "name": "toy", "tests": "2", "failures": "1", "errors": "1",
    }  # fmt: skip
    fails, missing = group
    assert (fails.get("classname"), fails.get("name")) == (
        "toy.a/plain",
        "final_accuracy >= 89.5 (suite)",
    )
    assert (fails[0].tag, fails[0].get("message")) == ("failure", "observed 80, 1 of 3 seeds")
    assert (missing[0].tag, missing[0].get("message")) == ("error", "observed –, 0 of 3 seeds")


def test_junit_of_a_green_gate_has_nothing_to_tell(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "good", suite, 90.0)

    root = ElementTree.fromstring(gate.to_junit("toy", gate.judge(suite.rows[:1], store)))

    assert [case.get("classname") for case in root.iter("testcase")] == ["toy.a/plain"]
    assert [list(case) for case in root.iter("testcase")] == [[]]


def test_junit_of_a_green_gate_tells_of_records_of_other_code(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "good", suite, 90.0)
    made = records.provenance(code={"toys": "0" * 16})
    old = records.good(suite.rows[0].cells[1]).model_copy(update={"provenance": made})
    store.put(old)

    text = gate.to_junit("toy", gate.judge(suite.rows[:1], store, toys.registry()))

    (case,) = ElementTree.fromstring(text).iter("testcase")
    assert [(part.tag, part.text) for part in case] == [
        ("system-out", "made with other code of toys")
    ]


def test_a_seed_that_broke_has_no_results_of_other_code(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "results", suite, 90.0)
    made = records.provenance(code={"toys": "0" * 16})
    broken = records.bad(suite.rows[0].cells[1])
    store.put(broken.model_copy(update={"provenance": made}))

    (check,) = gate.judge(suite.rows[:1], store, toys.registry())

    assert check.note == "seed 2: failed"


def _advice(suite: Suite, store: Store) -> str:
    return gate.advice(Path("toy.yaml"), suite.rows, gate.judge(suite.rows, store), store)


def test_where_records_are_missing_the_command_that_makes_them_is_told(
    suite: Suite, tmp_path: Path
) -> None:
    store = _store(tmp_path / "results", suite, 80.0)

    assert _advice(suite, store) == (
        "make the missing records with\n"
        f"    clbench run toy.yaml --only a/other --results {tmp_path}/results"
    )
    records.put(store, suite.rows[1].cells, 80.0)
    assert _advice(suite, store) == ""


def test_a_folder_that_is_not_there_is_told(suite: Suite, tmp_path: Path) -> None:
    assert _advice(suite, Store(tmp_path / "no where")) == (
        f"there is no folder {tmp_path}/no where\n"
        "make the missing records with\n"
        f"    clbench run toy.yaml --only a/plain --only a/other --results '{tmp_path}/no where'"
    )


def test_records_of_other_versions_are_told_not_to_count(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    for cell in suite.rows[0].cells:
        store.put(records.good(cell.model_copy(update={"plugins": {"toys": "0.0"}})))

    assert _advice(suite, store).startswith(
        "there are 3 records of these rows that other versions made, which do not count\n"
    )


@pytest.mark.parametrize(("count", "told"), [(1, "is 1 record"), (2, "are 2 records")])
def test_records_of_a_reduced_budget_are_told_not_to_count(
    suite: Suite, tmp_path: Path, count: int, told: str
) -> None:
    store = _store(tmp_path / "quick", suite, 90.0)
    for config in suite.rows[1].cells[:count]:
        store.put(records.good(config.model_copy(update={"budget": 0.5})))

    assert _advice(suite, store) == (
        f"there {told} of these rows at a reduced budget, which never count\n"
        "make the missing records with\n"
        f"    clbench run toy.yaml --only a/other --results {tmp_path}/quick"
    )


def test_a_reduced_budget_that_broke_is_no_record_to_tell_of(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "quick", suite, 90.0)
    reduced = [c.model_copy(update={"budget": 0.5}) for c in suite.rows[1].cells]
    store.put(records.bad(reduced[0]))

    assert _advice(suite, store).startswith("make the missing records with\n")

    store.put(records.good(reduced[1]))
    assert _advice(suite, store).startswith("there is 1 record of these rows at a reduced budget")


def test_the_checks_read_well_in_a_narrow_terminal(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "worse", suite, 80.0)
    console = Console(width=80, record=True, file=io.StringIO())

    console.print(gate.to_rich(gate.judge(suite.rows, store), 80))

    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[1].split() == [
        "a/plain",
        "final_accuracy",
        ">=",
        "89.5",
        "suite",
        "80",
        "1",
        "of",
        "3",
        "fails",
    ]
    assert lines[-1] == "1 fails, 1 missing"


def test_where_the_table_does_not_fit_no_word_is_broken(suite: Suite, tmp_path: Path) -> None:
    store = _store(tmp_path / "worse", suite, 80.0)
    store.put(records.bad(suite.rows[0].cells[1], "timed-out"))
    console = Console(width=40, record=True, file=io.StringIO())

    console.print(gate.to_rich(gate.judge(suite.rows, store), 40))

    assert [line.rstrip() for line in console.export_text().splitlines()] == [
        "a/plain: fails (seed 2: timed-out)",
        "  final_accuracy >= 89.5 (suite)",
        "  observed 80, 1 of 3 seeds",
        "a/other: missing",
        "  during_accuracy >= 50 (suite)",
        "  observed –, 0 of 3 seeds",
        "",
        "1 fails, 1 missing",
    ]


@pytest.mark.parametrize("width", [40, 60, 66, 67, 80, 150])
def test_names_are_whole_at_any_width(suite: Suite, tmp_path: Path, width: int) -> None:
    check, _ = gate.judge(suite.rows, _store(tmp_path / "worse", suite, 80.0))
    long = replace(check, row="permuted/ema-anchor", note="made with other code of clbench-ema")
    console = Console(width=width, record=True, file=io.StringIO())

    console.print(gate.to_rich([long], width))

    words = console.export_text().split()
    assert {"permuted/ema-anchor", "permuted/ema-anchor:"} & set(words)
    assert {"final_accuracy", "clbench-ema)"} <= set(words)
