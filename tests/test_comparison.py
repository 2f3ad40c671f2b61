"""Two methods, or two folders, compared pair by pair."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import records
import suite_files
import toys
from rich.console import Console
from scipy import stats
from typer.testing import CliRunner

from clbench import comparison
from clbench.cli import app
from clbench.comparison import Pairing
from clbench.errors import ClbenchError, RecordError, UnknownNameError
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import Suite

TEXT = """\
suite: toy
scenario: task-il
seeds: 0-9
defaults:
  model: linear
  training: {iterations: 10, learning_rate: 0.1}
tasks:
  a: {family: pictures}
  b: {family: echoes}
methods:
  plain: {learner: plain}
  other: {learner: generated}
  alone: {learner: plain, training: {iterations: 20}}
exclude:
  - {method: other, task: b, why: undefined there}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, TEXT)


def _pairing(row: str, first: Sequence[float], second: Sequence[float]) -> Pairing:
    """Records of the seeds 0, 1, ... with these final accuracies."""

    def side(finals: Sequence[float]) -> dict[int, records.Record]:
        return {
            seed: records.good(toys.config(seed=seed), last=value)
            for seed, value in enumerate(finals)
        }

    return Pairing(row, side(first), side(second))


def _one(
    first: Sequence[float], second: Sequence[float], margin: float | None = None
) -> comparison.Finding:
    (found,) = comparison.compare([_pairing("a", first, second)], ["final_accuracy"], margin)
    return found


def test_pairs_give_means_difference_interval_and_p() -> None:
    # d = 1, 2, 3: mean 2, t_{0.975, 2} s / sqrt(3) = 2.484138, p = 0.074180 (test_significance)
    found = _one([91.0, 93.0, 92.0], [90.0, 91.0, 89.0])

    assert (found.n, found.first, found.second) == (3, pytest.approx(92.0), pytest.approx(90.0))
    assert found.difference is not None
    assert found.difference.interval == pytest.approx((2 - 2.484138, 2 + 2.484138), abs=1e-5)
    assert found.p == pytest.approx(0.074180, abs=1e-5)
    assert (found.p_wilcoxon, found.p_equivalent) == (None, None)
    assert found.verdict == "no difference shown"


@pytest.mark.parametrize(
    ("first", "second", "margin", "verdict"),
    [
        ((90.0, 91.0, 92.5), (80.0, 81.0, 82.0), None, "A better"),
        ((80.0, 81.0, 82.0), (90.0, 91.0, 92.5), None, "B better"),
        ((90.0,), (80.0,), 1.0, "no test: 1 pair"),
        ((), (80.0,), None, "no pairs"),
        # d = 0.1, -0.1, 0.05: far from 5 on both sides, no difference from 0
        ((90.1, 90.9, 92.05), (90.0, 91.0, 92.0), 5.0, "equivalent within 5"),
        ((90.1, 90.9, 92.05), (90.0, 91.0, 92.0), 0.1, "no difference shown"),
        # d = 1, 1.1, 1: there, and smaller than 5
        ((91.0, 92.1, 93.0), (90.0, 91.0, 92.0), 5.0, "A better, within 5"),
    ],
)
def test_verdicts(
    first: Sequence[float], second: Sequence[float], margin: float | None, verdict: str
) -> None:
    assert _one(first, second, margin).verdict == verdict


def test_only_seeds_of_both_sides_are_pairs() -> None:
    found = _one([90.0, 91.0, 92.0, 10.0], [80.0, 81.0])

    assert (found.n, found.first, found.second) == (2, 90.5, 80.5)


def test_less_forgetting_is_better() -> None:
    pairing = _pairing("a", (90.0, 91.0, 92.5), (80.0, 81.0, 82.0))

    (found,) = comparison.compare([pairing], ["forgetting"], None)

    assert found.first is not None
    assert found.second is not None
    assert found.first < found.second
    assert found.verdict == "A better"


def test_p_is_corrected_for_the_rows_of_a_metric() -> None:
    # d = 1, 2, 2: mean 5/3, error 1/3, t = 5, p = 1 - 5 / sqrt(27) = 0.037750: counts alone
    high, low = (81.0, 82.0, 82.0), (80.0, 80.0, 80.0)
    rows = [_pairing("a", high, low), _pairing("b", high, low), _pairing("c", high[:1], low[:1])]

    alone = comparison.compare(rows[:1], ["final_accuracy"], None)
    both = comparison.compare(rows, ["final_accuracy"], None)

    assert [(f.verdict, f.p) for f in alone] == [("A better", pytest.approx(0.037750, abs=1e-5))]
    assert [f.p for f in both] == [pytest.approx(0.0755, abs=1e-4)] * 2 + [None]
    assert [f.verdict for f in both] == ["no difference shown"] * 2 + ["no test: 1 pair"]


def test_ranks_are_tested_from_six_pairs_on() -> None:
    first = [91.0, 92.0, 93.0, 94.5, 95.0, 96.0]
    second = [90.0, 90.5, 90.9, 92.0, 91.0, 91.0]

    six, five = _one(first, second), _one(first[:5], second[:5])

    assert six.p_wilcoxon == pytest.approx(2 / 2**6)  # all six differences of one sign
    assert six.p_wilcoxon == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert five.p_wilcoxon is None
    assert _one(first, first).p_wilcoxon is None


def test_rounding_is_no_difference_in_ranks_either() -> None:
    first = [91.0, 92.0, 93.0, 94.5, 95.0, 96.0]

    found = _one([value + 1e-13 for value in first], first)

    assert found.first != found.second
    assert (found.p, found.p_wilcoxon, found.verdict) == (1.0, None, "no difference shown")
    assert json.loads(comparison.to_json([found]))[0]["difference"] == 0


def test_equivalence_is_corrected_for_the_rows_of_a_metric() -> None:
    # d = 1, 2, 2: mean 5/3, error 1/3; below 10/3 by t = 5, one-sided p = 0.018875
    rows = [_pairing(name, (81.0, 82.0, 82.0), (80.0, 80.0, 80.0)) for name in "abc"]

    alone = comparison.compare(rows[:1], ["final_accuracy"], 10 / 3)
    all_three = comparison.compare(rows, ["final_accuracy"], 10 / 3)

    assert [f.p_equivalent for f in alone] == [pytest.approx(0.018875, abs=1e-5)]
    assert [f.verdict for f in alone] == ["A better, within 3.33333"]
    assert [f.p_equivalent for f in all_three] == [pytest.approx(0.056625, abs=1e-4)] * 3
    assert [f.verdict for f in all_three] == ["no difference shown"] * 3


def test_ranks_are_corrected_for_the_rows_of_a_metric_and_told() -> None:
    # all differences of one sign: p = 2 / 2^8 and 2 / 2^6, of which the smaller one is doubled
    eight, six = ([80.0 + i for i in range(1, n + 1)] for n in (8, 6))
    rows = [_pairing("a", eight, [80.0] * 8), _pairing("b", six, [80.0] * 6)]
    console = Console(width=150, record=True, file=io.StringIO())

    findings = comparison.compare(rows, ["final_accuracy"], None)
    console.print(comparison.to_rich(findings, "ours", "theirs", 150))

    assert [f.p_wilcoxon for f in findings] == [pytest.approx(4 / 2**8), pytest.approx(2 / 2**6)]
    assert console.export_text().splitlines()[-1] == (
        "Wilcoxon's signed-rank test, corrected likewise: "
        "a final_accuracy 0.016, b final_accuracy 0.031."
    )


def test_an_object_has_each_number_under_its_own_name() -> None:
    # d = 1, ..., 6: mean 3.5, error sqrt(3.5 / 6), t = 4.582576, p = 0.005934; ranks: 2 / 2^6;
    # below 7 by the same t, one-sided p = 0.002967
    first = [81.0, 82.0, 83.0, 84.0, 85.0, 86.0]

    (found,) = json.loads(comparison.to_json([_one(first, [80.0] * 6, 7.0)]))

    assert (found["row"], found["metric"], found["n_pairs"]) == ("a", "final_accuracy", 6)
    assert (found["mean_a"], found["mean_b"]) == (pytest.approx(83.5), pytest.approx(80.0))
    assert found["difference"] == pytest.approx(3.5)
    assert found["p"] == pytest.approx(0.005934, abs=1e-6)
    assert found["p_wilcoxon"] == pytest.approx(2 / 2**6)
    assert found["p_equivalent"] == pytest.approx(0.002967, abs=1e-6)
    assert found["verdict"] == "A better, within 7"


def test_without_choice_the_metrics_are_those_that_were_measured() -> None:
    found = comparison.compare([_pairing("a", (90.0,), (80.0,)), _pairing("b", (), ())], None, None)

    assert [(f.row, f.metric) for f in found] == [
        ("a", "during_accuracy"), ("a", "final_accuracy"),
        ("b", "during_accuracy"), ("b", "final_accuracy"),
    ]  # fmt: skip


def test_an_unknown_metric_is_a_mistake() -> None:
    with pytest.raises(UnknownNameError) as caught:
        comparison.compare([], ["finl_accuracy"], None)

    assert str(caught.value).startswith(
        "unknown metric 'finl_accuracy'; did you mean 'final_accuracy'?\n    known: backward_transfer"
    )


def test_methods_are_compared_on_the_tasks_that_both_have(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    rows = {row.key: row for row in suite.rows}
    for seed in (0, 1):
        store.put(records.good(rows["a/plain"].cells[seed]))
    store.put(records.good(rows["a/other"].cells[1]))
    store.put(records.bad(rows["a/other"].cells[0]))
    store.put(records.good(rows["b/plain"].cells[0]))
    store.put(records.good(rows["b/alone"].cells[0]))

    (one,) = comparison.of_methods(suite, store, "plain", "other")
    rowwise = comparison.of_methods(suite, store, "b/plain", "alone")

    assert (one.row, list(one.first), list(one.second)) == ("a", [0, 1], [1])
    assert [pairing.row for pairing in rowwise] == ["b"]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (
            "plan",
            "other",
            "unknown method 'plan'; did you mean 'plain'?\n    known: alone, other, plain",
        ),
        (
            "a/plain",
            "b/other",
            "unknown row 'b/other'; did you mean 'a/other'?\n    known: a/alone, a/other, a/plain, b/alone, b/plain",
        ),
        ("b/plain", "other", "'b/plain' and 'other' have no task of 'toy' in common"),
    ],
)
def test_what_cannot_be_compared_is_told(
    first: str, second: str, message: str, suite: Suite, tmp_path: Path
) -> None:
    with pytest.raises(ClbenchError) as caught:
        comparison.of_methods(suite, Store(tmp_path), first, second)

    assert str(caught.value) == message


def _put(store: Store, row: str, started: str = "2026", **changes: object) -> None:
    record = records.good(toys.config(**changes))
    made = records.provenance(row=row, started=started)
    store.put(record.model_copy(update={"provenance": made}))


def test_folders_are_compared_question_by_question_whatever_versions(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    for seed in (1, 2):
        _put(old, "a/plain", seed=seed, plugins={"toys": "0.0"})
        _put(new, "a/plain", seed=seed)
    _put(old, "a/plain", seed=3, budget=0.5)
    _put(new, "a/plain", seed=3, budget=0.5)
    _put(new, "a/only-new", seed=1, learner="generated")

    (one,) = comparison.of_folders(old, new)

    assert (one.row, sorted(one.first), sorted(one.second)) == ("toy: a/plain", [1, 2], [1, 2])
    assert one.first[1].config.plugins == {"toys": "0.0"}


def test_different_questions_of_one_row_are_rows_of_their_own(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    for store in (old, new):
        for seed, data_seed in ((1, 1), (2, 1), (1, 7), (2, 7)):
            _put(store, "a/fixed", seed=seed, data_seed=data_seed)
        for seed in (1, 2, 3):
            _put(store, "a/own", seed=seed, data_seed=seed, learner="generated")

    found = comparison.of_folders(old, new)

    assert [(one.row, len(one.first)) for one in found] == [
        ("toy: a/fixed (1)", 2), ("toy: a/fixed (2)", 2), ("toy: a/own", 3),
    ]  # fmt: skip


def test_seeds_that_another_suite_has_asked_for_belong_to_the_same_row(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    for store in (old, new):
        for seed in (1, 2):
            _put(store, "a/plain", seed=seed, started="2025")
        _put(store, "a/more-seeds", seed=3)

    (one,) = comparison.of_folders(old, new)

    assert one.row == "toy: a/plain"
    assert sorted(one.first) == sorted(one.second) == [1, 2, 3]


def test_versions_in_a_folder_are_not_mixed(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    for seed in (1, 2, 3):
        _put(old, "a/plain", seed=seed, plugins={"toys": "1"}, started="2025")
        _put(new, "a/plain", seed=seed)
    _put(old, "a/plain", seed=1, plugins={"toys": "2"}, started="2026")

    (one,) = comparison.of_folders(old, new)

    assert {record.config.plugins["toys"] for record in one.first.values()} == {"1"}
    assert sorted(one.first) == [1, 2, 3]


def test_of_two_answers_to_a_question_the_later_one_counts(tmp_path: Path) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    _put(old, "a/plain", plugins={"toys": "2"}, started="2025")
    _put(old, "a/plain", plugins={"toys": "1"}, started="2026")
    _put(new, "a/plain")

    (one,) = comparison.of_folders(old, new)

    assert one.first[1].config.plugins == {"toys": "1"}


def test_folders_without_common_questions_the_same_or_damaged_ones_are_errors(
    tmp_path: Path,
) -> None:
    old, new = Store(tmp_path / "old"), Store(tmp_path / "new")
    _put(old, "a/plain", seed=1)

    with pytest.raises(ClbenchError, match=r"^there is no folder .*new$"):
        comparison.of_folders(old, new)
    new.prepare()
    with pytest.raises(ClbenchError) as nothing:
        comparison.of_folders(old, new)
    with pytest.raises(ClbenchError) as same:
        comparison.of_folders(old, Store(tmp_path / "x" / ".." / "old"))
    (path,) = (old.root / "records").glob("*.json")
    path.write_text("{")
    with pytest.raises(RecordError):
        comparison.of_folders(new, old)

    assert str(nothing.value) == (
        f"{old.root} and {new.root} have no full-budget records of the same questions"
    )
    assert str(same.value) == f"{old.root} and {tmp_path / 'x' / '..' / 'old'} are the same folder"


def test_a_person_reads_what_was_tested_and_what_could_not_be() -> None:
    findings = comparison.compare([_pairing("a", (90.0,), (80.0,))], ["final_accuracy"], None)
    console = Console(width=150, record=True, file=io.StringIO())

    console.print(comparison.to_rich(findings, "ours", "theirs", 150))

    lines = console.export_text().splitlines()
    assert lines[1].split() == [
        "a", "final", "1", "90", "80", "10", "–", "–", "no", "test:", "1", "pair",
    ]  # fmt: skip
    assert lines[3].startswith("A: ours. B: theirs. Means over pairs of equal seeds; paired t-test")
    assert lines[-1] == "No test is possible with a single pair: run more seeds."


@pytest.mark.parametrize(("lasts", "without"), [((), "'plain' or 'other'"), ((90.0,), "'other'")])
def test_a_comparison_names_the_sides_without_records(
    lasts: tuple[float, ...], without: str, suite: Suite, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    records.put(store, suite.rows[0].cells, *lasts)
    store.put(records.bad(suite.rows[0].cells[-1]))

    with pytest.raises(ClbenchError) as caught:
        comparison.of_methods(suite, store, "plain", "other")

    assert str(caught.value) == (
        f"{store.root} has no full-budget record of {without} of 'toy', of the versions that are "
        "installed"
    )


def test_seeds_of_one_side_alone_are_told_to_make_no_pair(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    rows = {row.key: row for row in suite.rows}
    store.put(records.good(rows["a/plain"].cells[0]))
    store.put(records.good(rows["a/other"].cells[1]))
    console = Console(width=150, record=True, file=io.StringIO())

    pairings = comparison.of_methods(suite, store, "plain", "other")
    findings = comparison.compare(pairings, ["final_accuracy"], None)
    console.print(comparison.to_rich(findings, "plain", "other", 150))

    assert [finding.verdict for finding in findings] == ["no pairs"]
    told = console.export_text().splitlines()[-1]
    assert told == "No test is possible with no seed of both sides: run more seeds."


def test_where_the_table_does_not_fit_no_name_is_broken() -> None:
    pairings = [
        _pairing("copy-task: permuted/online-ewc", (90.0,), (80.0,)),
        _pairing("copy-task: permuted/chunked-hypernetwork", (90.0, 91.5), (80.0, 80.5)),
    ]
    findings = comparison.compare(pairings, ["final_accuracy"], None)
    console = Console(width=80, record=True, file=io.StringIO())

    console.print(comparison.to_rich(findings, "ours", "theirs", 80))

    assert [line.rstrip() for line in console.export_text().splitlines()][:6] == [
        "copy-task: permuted/online-ewc, final: no test: 1 pair",
        "  A 90, B 80, A - B 10",
        "  95 % interval –, p –, pairs 1",
        "copy-task: permuted/chunked-hypernetwork, final: A better",
        "  A 90.75, B 80.25, A - B 10.5",
        "  95 % interval 4.147 to 16.85, p 0.03, pairs 2",
    ]


def test_the_commands_print_tables_and_json(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", toys.registry)
    monkeypatch.chdir(tmp_path)
    plain, other = suite.rows[0], suite.rows[1]
    one, two = Store(Path("one")), Store(Path("two"))
    records.put(one, plain.cells, 90.0, 91.0, 92.5)
    records.put(one, other.cells, 80.0, 81.0, 82.0)
    records.put(two, plain.cells, 70.0, 71.0, 72.0)
    final = ["--metric", "final_accuracy", "--format", "json"]

    methods = CliRunner().invoke(
        app, ["compare", "toy.yaml", "other", "plain", "--results", "one", *final]
    )
    folders = CliRunner().invoke(app, ["compare-results", "one", "two", "--margin", "50", *final])
    table = CliRunner().invoke(app, ["compare-results", "one", "two"])
    wrong = CliRunner().invoke(app, ["compare-results", "one", "two", "--format", "csv"])

    (first,), (second,) = json.loads(methods.stdout), json.loads(folders.stdout)
    assert list(first) == [
        *("row", "metric", "n_pairs", "mean_a", "mean_b", "difference", "difference_ci"),
        *("p", "p_wilcoxon", "p_equivalent", "verdict"),
    ]
    assert (first["row"], first["n_pairs"], first["verdict"]) == ("a", 3, "B better")
    assert first["difference"] == pytest.approx(-10.166667)
    assert (second["row"], second["verdict"]) == ("pictures/plain", "A better, within 50")
    assert "A: one. B: two." in table.stdout
    assert isinstance(wrong.exception, UnknownNameError)
