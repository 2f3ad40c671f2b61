"""The gate: thresholds of a suite, thresholds made from reference records, and JUnit XML."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import records
import suite_files
import toys
from rich.console import Console

from clbench import explain, gate, published
from clbench.errors import ClbenchError, RecordError
from clbench.records import MetricInfo
from clbench.store import Store
from clbench.suite import Suite
from clbench.thresholds import Threshold

LEDGER = published.Ledger(source="A paper", margin=2.0, rows={})


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
    store.put(records.bad(suite.rows[1].cells[1], "timed-out"))

    plain, other = gate.judge(suite.rows, store)

    assert (plain.status, plain.wanted, plain.note) == ("holds", 3, "")
    assert plain.observed is not None
    assert plain.observed.mean == pytest.approx(89.5)
    assert (other.status, other.observed, other.note) == ("missing", None, "seed 2: timed-out")


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
    ("reference", "n", "better", "expected"),
    [
        # one reference seed: nothing but the margin
        ([90.0], 1, "higher", Threshold("x", "x", ">=", 89.0)),
        # s = 1, t_{0.95, 2} = 2.919986, sqrt(1/1 + 1/3) = 1.154701: 3.371709 below
        ([89.0, 90.0, 91.0], 1, "higher", Threshold("x", "x", ">=", 90 - 1 - 3.371709)),
        # sqrt(1/3 + 1/3) = 0.816497: 2.384160
        ([89.0, 90.0, 91.0], 3, "higher", Threshold("x", "x", ">=", 90 - 1 - 2.384160)),
        ([89.0, 90.0, 91.0], 3, "lower", Threshold("x", "x", "<=", 90 + 1 + 2.384160)),
        # seeds that agree leave the margin alone
        ([90.0, 90.0], 5, "higher", Threshold("x", "x", ">=", 89.0)),
    ],
)
def test_a_reference_gives_a_threshold_by_the_stated_rule(
    reference: list[float], n: int, better: str, expected: Threshold
) -> None:
    found = gate.from_reference("x", "x", reference, n, 1.0, better)

    assert (found.metric, found.relation) == (expected.metric, expected.relation)
    assert found.bound == pytest.approx(expected.bound, abs=1e-5)


def test_records_are_compared_with_those_of_a_reference(suite: Suite, tmp_path: Path) -> None:
    reference = _store(tmp_path / "reference", suite, 90.0, 90.0, 90.0)
    same = _store(tmp_path / "same", suite, 89.0, 88.5, 89.0)
    worse = _store(tmp_path / "worse", suite, 87.0, 87.9, 88.0)

    held = gate.compare(suite.name, suite.rows, same, reference, LEDGER)
    failed = gate.compare(suite.name, suite.rows, worse, reference, LEDGER)

    assert [(c.row, c.threshold.metric, c.status) for c in held] == [
        ("a/plain", "during_accuracy", "holds"),
        ("a/plain", "final_accuracy", "holds"),
    ]
    assert [check.status for check in failed] == ["holds", "fails"]
    assert failed[1].threshold == Threshold(
        "final_accuracy", "final_accuracy", ">=", 88.0
    )  # the ledger's margin
    assert failed[1].origin == "reference 90, 3 seeds"


def test_scatter_of_a_broken_method_widens_nothing(suite: Suite, tmp_path: Path) -> None:
    reference = _store(tmp_path / "reference", suite, 90.0, 90.1, 90.2)
    scattered = _store(tmp_path / "scattered", suite, 60.0, 95.0, 80.0)

    checks = gate.compare(suite.name, suite.rows, scattered, reference, LEDGER)

    assert [check.status for check in checks] == ["holds", "fails"]


def test_a_margin_of_the_row_comes_before_that_of_the_ledger(suite: Suite, tmp_path: Path) -> None:
    reference = _store(tmp_path / "reference", suite, 90.0)
    entry = published.Entry(label="Plain", where="Table 1", margin=0.5)
    ledger = LEDGER.model_copy(update={"rows": {"a/plain": entry}})

    _, final = gate.compare(
        suite.name, suite.rows, _store(tmp_path / "ours", suite, 89.2), reference, ledger
    )

    assert (final.threshold.bound, final.status) == (89.5, "fails")


def test_without_a_ledger_the_margin_is_a_hundredth_of_the_reference(
    suite: Suite, tmp_path: Path
) -> None:
    reference = _store(tmp_path / "reference", suite, 90.0)

    _, final = gate.compare(
        suite.name, suite.rows, _store(tmp_path / "ours", suite, 89.2), reference, None
    )

    assert final.threshold.bound == pytest.approx(89.1)
    assert final.status == "holds"


def test_what_the_reference_has_and_we_have_not_is_missing(suite: Suite, tmp_path: Path) -> None:
    reference = _store(tmp_path / "reference", suite, 90.0)

    checks = gate.compare(suite.name, suite.rows, Store(tmp_path / "none"), reference, LEDGER)

    assert [check.status for check in checks] == ["missing", "missing"]


def test_a_reference_of_older_versions_counts(suite: Suite, tmp_path: Path) -> None:
    reference = Store(tmp_path / "reference")
    for config in suite.rows[0].cells:
        older = config.model_copy(update={"plugins": {"toys": "0.0.1"}})
        reference.put(records.good(older, last=90.0))

    checks = gate.compare(
        suite.name, suite.rows, _store(tmp_path / "ours", suite, 80.0), reference, LEDGER
    )

    assert [check.status for check in checks] == ["holds", "fails"]


def _reference(path: Path, suite: Suite, **changes: Any) -> Store:
    """Three seeds of the first row as they ended in 90, made with `changes` of the training."""
    store = Store(path)
    made_for = records.provenance(suite="toy", row="a/plain")
    for config in suite.rows[0].cells:
        training = config.training.model_copy(update=changes)
        old = records.good(config.model_copy(update={"training": training}), last=90.0)
        store.put(old.model_copy(update={"provenance": made_for}))
    return store


def test_a_row_that_is_asked_differently_is_compared_with_the_row_as_it_was(
    suite: Suite, tmp_path: Path
) -> None:
    reference = _reference(tmp_path / "reference", suite, learning_rate=0.2)
    ours = _store(tmp_path / "ours", suite, 80.0, 80.0, 80.0)

    checks = gate.compare(suite.name, suite.rows, ours, reference, LEDGER)

    assert [(c.row, c.threshold.metric, c.origin, c.status) for c in checks] == [
        ("a/plain", "during_accuracy", "reference 99, 3 seeds, asked differently", "holds"),
        ("a/plain", "final_accuracy", "reference 90, 3 seeds, asked differently", "fails"),
    ]


def test_a_row_that_gets_other_seeds_is_compared_with_those_it_had(
    suite: Suite, tmp_path: Path
) -> None:
    reference = _reference(tmp_path / "reference", suite)
    text = suite_files.WITH_THRESHOLDS.replace("[1, 2, 3]", "[4, 5]")
    others = suite_files.load(tmp_path, text)

    checks = gate.compare(
        "toy", others.rows, _store(tmp_path / "ours", others, 80.0), reference, LEDGER
    )

    assert [(c.origin, c.status) for c in checks][1] == (
        "reference 90, 3 seeds, asked differently",
        "fails",
    )


def test_records_of_another_suite_are_no_reference_for_a_changed_row(
    suite: Suite, tmp_path: Path
) -> None:
    reference = _reference(tmp_path / "reference", suite, learning_rate=0.2)
    ours = _store(tmp_path / "ours", suite, 80.0)

    with pytest.raises(ClbenchError, match="has no full-budget record of these rows"):
        gate.compare("another", suite.rows, ours, reference, LEDGER)


def test_an_empty_a_damaged_or_the_same_reference_is_refused(suite: Suite, tmp_path: Path) -> None:
    ours = _store(tmp_path / "ours", suite, 90.0)
    damaged = _store(tmp_path / "damaged", suite, 90.0)
    (path,) = (tmp_path / "damaged" / "records").glob("*.json")
    path.write_text(path.read_text().replace(":60,", ":61,"))

    with pytest.raises(ClbenchError) as empty:
        gate.compare(suite.name, suite.rows, ours, Store(tmp_path / "empty"), LEDGER)
    with pytest.raises(RecordError) as broken:
        gate.compare(suite.name, suite.rows, ours, damaged, LEDGER)
    with pytest.raises(ClbenchError) as same:
        gate.compare(suite.name, suite.rows, ours, Store(tmp_path / "x" / ".." / "ours"), LEDGER)

    assert str(empty.value) == f"{tmp_path / 'empty'} has no full-budget record of these rows"
    assert str(broken.value) == f"{path}: its checksum does not fit: damaged, or edited by hand"
    assert str(same.value) == f"{tmp_path / 'x' / '..' / 'ours'} cannot be its own reference"


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
    (case,) = ElementTree.fromstring(gate.to_junit("toy", checks)).iter("testcase")
    assert [(part.tag, part.get("type")) for part in case] == [("error", "unmeasured")]
    told = explain.explain(suite, checks, store, None)[0].lines()
    assert told[2] == "    its records do not measure it"


def test_scores_that_are_no_accuracies_have_their_own_name_and_enough_digits(
    suite: Suite, tmp_path: Path
) -> None:
    def errors(config: Any, last: float) -> Any:
        record = records.good(config, diagonal=last, last=last)
        assert record.result is not None
        metric = MetricInfo(name="mse", unit="", better="lower")
        result = record.result.model_copy(update={"metric": metric})
        return record.model_copy(update={"result": result})

    stores = [Store(tmp_path / name) for name in ("ours", "reference")]
    for store, value in zip(stores, (0.0035, 0.002), strict=True):
        records.put(store, suite.rows[0].cells, value, made=errors)

    checks = gate.compare(suite.name, suite.rows, *stores, None)

    console = Console(width=200, file=io.StringIO())
    console.print(gate.to_rich(checks, 200))
    assert [gate.words(check.threshold) for check in checks] == [
        "during_mse <= 0.00202",
        "final_mse <= 0.00202",
    ]
    assert console.file.getvalue().count(" 0.0035 ") == 2  # type: ignore[attr-defined]


def test_a_row_that_is_now_excluded_is_not_compared(tmp_path: Path) -> None:
    before = suite_files.load(tmp_path, suite_files.WITH_THRESHOLDS)
    reference = Store(tmp_path / "reference")
    for row in before.rows:
        records.put(reference, row.cells, 90.0)
    ours = _store(tmp_path / "ours", before, 90.0)
    text = suite_files.WITH_THRESHOLDS + "exclude: [{method: other, task: a, why: undefined}]\n"
    after = suite_files.load(tmp_path, text)

    checks = gate.compare(after.name, after.rows, ours, reference, LEDGER)

    assert {check.row for check in checks} == {"a/plain"}
    assert gate.uncompared(after.rows, checks) == []


def test_rows_without_a_reference_are_known(suite: Suite, tmp_path: Path) -> None:
    reference = _store(tmp_path / "reference", suite, 90.0)

    checks = gate.compare(suite.name, suite.rows, Store(tmp_path / "ours"), reference, LEDGER)

    assert gate.uncompared(suite.rows, checks) == ["a/other"]


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
