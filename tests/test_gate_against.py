"""The gate against reference records: thresholds that are made of them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import records
import suite_files
from rich.console import Console

from clbench import gate, published
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


def test_a_reference_of_two_versions_is_that_of_most_seeds_and_not_a_mean_of_both(
    suite: Suite, tmp_path: Path
) -> None:
    cells = suite.rows[0].cells
    older = [cell.model_copy(update={"plugins": {"toys": "0.0"}}) for cell in cells]
    reference = Store(tmp_path / "reference")
    records.put(reference, older, 90.0, 90.0, 90.0)
    records.put(reference, cells, 30.0)  # the latest, and broken
    ours = _store(tmp_path / "ours", suite, 50.0, 50.0, 50.0)

    _, final = gate.compare(suite.name, suite.rows, ours, reference, LEDGER)

    assert final.threshold == Threshold("final_accuracy", "final_accuracy", ">=", 88.0)
    assert final.origin == "reference 90, 3 seeds, 1 other version left out"
    assert final.status == "fails"


def test_of_versions_with_as_many_seeds_the_latest_is_the_reference(
    suite: Suite, tmp_path: Path
) -> None:
    reference = Store(tmp_path / "reference")
    for version, last, started in (("1", 80.0, "2026"), ("2", 70.0, "2025"), ("3", 60.0, "2024")):
        for cell in suite.rows[0].cells:
            made = records.provenance(started=started)
            config = cell.model_copy(update={"plugins": {"toys": version}})
            record = records.good(config, last=last)
            reference.put(record.model_copy(update={"provenance": made}))
    ours = _store(tmp_path / "ours", suite, 80.0)

    _, final = gate.compare(suite.name, suite.rows, ours, reference, LEDGER)

    assert final.origin == "reference 80, 3 seeds, 2 other versions left out"


def test_configurations_of_a_row_are_not_mixed_either(suite: Suite, tmp_path: Path) -> None:
    reference = Store(tmp_path / "reference")
    for rate, lasts in ((0.3, (90.0, 90.0)), (0.4, (30.0,))):
        for cell, last in zip(suite.rows[0].cells, lasts, strict=False):
            training = cell.training.model_copy(update={"learning_rate": rate})
            made = records.provenance(suite=suite.name, row="a/plain")
            record = records.good(cell.model_copy(update={"training": training}), last=last)
            reference.put(record.model_copy(update={"provenance": made}))
    ours = _store(tmp_path / "ours", suite, 50.0, 50.0, 50.0)

    _, final = gate.compare(suite.name, suite.rows, ours, reference, LEDGER)

    assert final.threshold.bound == 88.0
    assert final.origin == (
        "reference 90, 2 seeds, asked differently, 1 other configuration left out"
    )


@pytest.mark.parametrize(
    ("last", "bound"),
    [
        # s = 1, t_{0.95, 2} = 2.919986, sqrt(1/1 + 1/3) = 1.154701: 3.371709 below
        ((90.0,), 90 - 2 - 3.371709),
        # sqrt(1/2 + 1/3) = 0.912871: 2.665570
        ((90.0, 90.0), 90 - 2 - 2.665570),
        # as of one seed
        ((), 90 - 2 - 3.371709),
    ],
)
def test_only_seeds_with_a_result_narrow_the_bound(
    suite: Suite, tmp_path: Path, last: tuple[float, ...], bound: float
) -> None:
    reference = _store(tmp_path / "reference", suite, 89.0, 90.0, 91.0)
    ours = _store(tmp_path / "ours", suite, *last)
    ours.put(records.bad(suite.rows[0].cells[2], "skipped"))

    _, final = gate.compare(suite.name, suite.rows, ours, reference, LEDGER)

    assert final.threshold.bound == pytest.approx(bound, abs=1e-5)


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


def test_of_configurations_with_as_many_seeds_the_one_with_the_latest_record_counts(
    suite: Suite, tmp_path: Path
) -> None:
    reference = Store(tmp_path / "reference")
    cells = suite.rows[0].cells
    made = [(0, 0.2, "2025", 60.0), (0, 0.3, "2026", 90.0)]
    made += [(1, 0.3, "2024", 70.0), (1, 0.2, "2025", 80.0)]
    for seed, rate, started, last in made:
        training = cells[seed].training.model_copy(update={"learning_rate": rate})
        old = records.good(cells[seed].model_copy(update={"training": training}), last=last)
        reference.put(old.model_copy(update={"provenance": records.provenance(started=started)}))

    _, final = gate.compare(
        suite.name, suite.rows, _store(tmp_path / "ours", suite, 80.0), reference, LEDGER
    )

    assert final.origin == (
        "reference 80, 2 seeds, asked differently, 1 other configuration left out"
    )


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
    (tmp_path / "empty").mkdir()

    with pytest.raises(ClbenchError) as none:
        gate.compare(suite.name, suite.rows, ours, Store(tmp_path / "none"), LEDGER)
    with pytest.raises(ClbenchError) as empty:
        gate.compare(suite.name, suite.rows, ours, Store(tmp_path / "empty"), LEDGER)
    with pytest.raises(RecordError) as broken:
        gate.compare(suite.name, suite.rows, ours, damaged, LEDGER)
    with pytest.raises(ClbenchError) as same:
        gate.compare(suite.name, suite.rows, ours, Store(tmp_path / "x" / ".." / "ours"), LEDGER)

    assert str(none.value) == f"there is no folder {tmp_path / 'none'}"
    assert str(empty.value) == f"{tmp_path / 'empty'} has no full-budget record of these rows"
    assert str(broken.value) == f"{path}: its checksum does not fit: damaged, or edited by hand"
    assert str(same.value) == f"{tmp_path / 'x' / '..' / 'ours'} cannot be its own reference"


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
