"""What is told of checks that do not hold: how far, how sure, and what changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records
import suite_files
import toys
from typer.testing import CliRunner

from clbench import explain, gate
from clbench.cli import app
from clbench.config import CellConfig, Choice
from clbench.errors import RecordError
from clbench.metrics import aggregate
from clbench.records import Record
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import Suite


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, suite_files.WITH_THRESHOLDS)


def _good(config: CellConfig, last: float, **provenance: Any) -> Record:
    made = records.provenance(**provenance)
    return records.good(config, last=last).model_copy(update={"provenance": made})


def _told(suite: Suite, store: Store, reference: Store | None = None) -> list[str]:
    rows = suite.rows[:1]
    found = explain.explain(suite, gate.judge(rows, store), store, reference)
    return [line for one in found for line in one.lines()]


def test_a_check_that_holds_is_not_explained(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    store.put(_good(suite.rows[0].cells[0], 90.0))

    assert _told(suite, store) == []


def test_a_red_check_tells_distance_certainty_and_all_that_changed(
    suite: Suite, tmp_path: Path
) -> None:
    ours, reference = Store(tmp_path / "ours"), Store(tmp_path / "main")
    # s = 1, standard error 1 / sqrt(3) = 0.57735, t_{0.975, 2} = 4.302653: 2.484 on either side
    for config, last in zip(suite.rows[0].cells, (79.0, 80.0, 81.0), strict=True):
        packages = {"torch": "2.14.0"}
        threads = 1 if config.seed == 2 else 2
        ours.put(_good(config, last, commit="fedcba9876543210", packages=packages, threads=threads))
        older = config.model_copy(update={"plugins": {"toys": "0.0.1"}})
        reference.put(_good(older, 90.0))

    told = _told(suite, ours, reference)

    assert told == [
        "a/plain",
        "  final_accuracy >= 89.5 (suite): fails",
        "    observed 80, 9.5 below the bound: 16.5 standard errors",
        "    3 of 3 seeds, 95 % interval 77.516 to 82.484, without the bound: more than the scatter of the seeds",
        "    reference: mean 90, n = 3",
        f"  since the reference ({tmp_path / 'main'}; the same question; seeds 1, 2, 3):",
        "    plugins of toys: 0.0.1 -> 0.1",
        "    commit: 0123456789ab -> fedcba987654",
        "    package torch: 2.13.0 -> 2.14.0",
        "    machine: threads: 1 -> 2 (seeds 1, 3)",
    ]


def test_an_interval_with_the_bound_inside_is_no_evidence(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    records.put(store, suite.rows[0].cells, 88.0, 89.0, 90.0, made=_good)

    told = _told(suite, store)

    assert told[2:4] == [
        "    observed 89, 0.5 below the bound: 0.9 standard errors",
        "    3 of 3 seeds, 95 % interval 86.516 to 91.484, with the bound inside: the scatter of the seeds alone may have done it",
    ]


@pytest.mark.parametrize(("first", "second"), [(79.0, 81.0), (80.0, 80.0)])
def test_two_seeds_are_told_to_be_few_and_nothing_is_concluded(
    suite: Suite, tmp_path: Path, first: float, second: float
) -> None:
    store = Store(tmp_path / "results")
    records.put(store, suite.rows[0].cells, first, second, made=_good)

    told = _told(suite, store)

    # t_{0.975, 1} = 12.7062, standard error 1: 67.294 to 92.706
    interval = "67.294 to 92.706" if first != second else "80 to 80"
    assert told[2:4] == [
        "    observed 80, 9.5 below the bound",
        f"    2 of 3 seeds, 95 % interval {interval}: two seeds are too few for it to mean much",
    ]


def test_rounding_of_equal_scores_is_no_scatter_to_count_in(suite: Suite) -> None:
    (check,) = gate.judge(suite.rows[:1], Store(suite.path.parent / "none"))
    observed = aggregate([80.1] * 6)
    assert observed is not None

    told = explain.distance(replace(check, observed=observed), observed)

    assert told == "observed 80.1, 9.4 below the bound"


def test_without_a_folder_records_of_other_versions_in_the_store_are_the_reference(
    suite: Suite, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    config = suite.rows[0].cells[0]
    oldest = config.model_copy(update={"plugins": {"toys": "0.0"}})
    older = config.model_copy(update={"plugins": {"toys": "0.2"}})
    store.put(_good(older, 92.0, started="2026-02-01T00:00:00+00:00"))
    store.put(_good(oldest, 91.0))
    store.put(_good(config, 80.0, started="2026-03-01T00:00:00+00:00", dirty=True))

    told = _told(suite, store)

    assert told[2:] == [
        "    observed 80, 9.5 below the bound",
        "    1 of 3 seeds: nothing is known of the scatter of a single seed",
        "    reference: mean 92, n = 1",
        f"  since the reference ({tmp_path / 'results'}; the same question; seed 1):",
        "    plugins of toys: 0.2 -> 0.1",
        "    commit: 0123456789ab -> 0123456789ab with uncommitted changes",
    ]


def test_a_record_that_had_met_the_threshold_is_a_better_reference_than_a_later_one(
    suite: Suite, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    config = suite.rows[0].cells[0]
    for month, (strength, last) in enumerate(((0.5, 91.0), (1.0, 92.0), (2.0, 70.0)), start=1):
        pull = Choice(name="pull", version=1, params={"strength": strength})
        tried = config.model_copy(update={"regularizers": (pull,)})
        store.put(_good(tried, last, started=f"2026-0{month}-01T00:00:00+00:00"))
    older = config.model_copy(update={"plugins": {"toys": "0.0"}})
    store.put(_good(older, 75.0, started="2026-04-01T00:00:00+00:00"))
    store.put(_good(config, 80.0, started="2026-05-01T00:00:00+00:00"))

    told = _told(suite, store)

    assert told[4:7] == [
        "    reference: mean 92, n = 1",
        f"  since the reference ({tmp_path / 'results'}; the same row, asked differently; seed 1):",
        "    regularizers.pull: in use -> nothing",
    ]


def test_the_reference_is_that_of_the_check_and_of_one_version(
    suite: Suite, tmp_path: Path
) -> None:
    ours, reference = Store(tmp_path / "ours"), Store(tmp_path / "main")
    for config in suite.rows[0].cells:
        ours.put(_good(config, 50.0))
        older = config.model_copy(update={"plugins": {"toys": "0.0"}})
        reference.put(_good(older, 90.0, started="2025-01-01T00:00:00+00:00"))
    reference.put(_good(suite.rows[0].cells[0], 30.0))  # the latest, and broken
    checks = gate.compare(suite.name, suite.rows[:1], ours, reference, None)

    (found,) = explain.explain(suite, checks, ours, reference)

    assert checks[1].origin == "reference 90, 3 seeds, 1 other version left out"
    told = list(found.lines())
    assert "    reference: mean 90, n = 3" in told
    assert "    plugins of toys: 0.0 -> 0.1" in told


def test_a_row_that_is_asked_differently_is_compared_with_records_of_one_configuration(
    suite: Suite, tmp_path: Path
) -> None:
    ours, reference = Store(tmp_path / "ours"), Store(tmp_path / "main")
    penalty = Choice(name="pull", version=1, params={"strength": 0.5})
    for config, rate in zip(suite.rows[0].cells, (0.1, 0.2, 0.2), strict=True):
        training = config.training.model_copy(update={"learning_rate": rate})
        changed = config.model_copy(update={"training": training, "regularizers": (penalty,)})
        reference.put(_good(changed, 90.0))

    told = _told(suite, ours, reference)

    assert told[1:] == [
        "  final_accuracy >= 89.5 (suite): missing",
        "    no full-budget record to judge",
        "    reference: mean 90, n = 2",
        f"  since the reference ({tmp_path / 'main'}; the same row, asked differently; seeds 2, 3):",
        "    regularizers.pull: in use -> nothing",
        "    training.learning_rate: 0.2 -> 0.1",
        "    (where there is no record of ours, only the configurations can be compared)",
    ]


def test_a_reference_of_other_seeds_alone_is_told_and_compared_with(
    suite: Suite, tmp_path: Path
) -> None:
    ours, reference = Store(tmp_path / "ours"), Store(tmp_path / "main")
    for config, seed in zip(suite.rows[0].cells, (7, 8, 9), strict=True):
        ours.put(_good(config, 50.0))
        training = config.training.model_copy(update={"learning_rate": 0.2})
        reference.put(
            _good(config.model_copy(update={"seed": seed, "training": training}), 90.0 + seed)
        )

    told = _told(suite, ours, reference)

    assert told[4:] == [
        "    reference: mean 98, n = 3",
        f"  since the reference ({tmp_path / 'main'}; the same row, asked differently; seeds 1, 2, 3, there seed 7):",
        "    training.learning_rate: 0.2 -> 0.1",
    ]


def test_another_learner_in_place_of_one_says_nothing_of_their_parameters(suite: Suite) -> None:
    config = suite.rows[0].cells[0]
    before = Choice(name="old", version=1, params={"beta": 1.0})
    old = config.model_copy(update={"learner": before, "heads": "shared"})
    newer = config.model_copy(update={"task": config.task.model_copy(update={"version": 9})})

    found = list(explain.differences(explain.Pair(newer, None, records.good(old))))

    assert found == [
        explain.Change("heads", "shared", "per-task"),
        explain.Change("learner", "old", "plain"),
        explain.Change("version of pictures", "1", "9"),
    ]


def test_the_same_regularizers_in_another_order_are_a_difference(suite: Suite) -> None:
    a, b = (Choice(name=name, version=1, params={}) for name in ("pull", "push"))
    config = suite.rows[0].cells[0].model_copy(update={"regularizers": (a, b)})
    other = config.model_copy(update={"regularizers": (b, a)})

    found = list(explain.differences(explain.Pair(config, None, records.good(other))))

    assert found == [explain.Change("order of regularizers", "push, pull", "pull, push")]


def test_a_row_without_reference_and_an_unchanged_one_say_so(suite: Suite, tmp_path: Path) -> None:
    store, same = Store(tmp_path / "results"), Store(tmp_path / "same")
    config = suite.rows[0].cells[0]
    quick = config.model_copy(update={"budget": 0.5})
    store.put(_good(quick, 90.0))
    store.put(_good(config, 80.0))
    same.put(_good(config, 80.0))

    none, equal = _told(suite, store), _told(suite, store, same)

    root = tmp_path / "results"
    assert none[4:] == [f"  no reference: {root} has no other full-budget record of this row"]
    assert equal[-1] == "    nothing that records tell of has changed"


def test_two_checkouts_with_changes_may_differ_at_the_same_commit(suite: Suite) -> None:
    config = suite.rows[0].cells[0]
    dirty = _good(config, 80.0, dirty=True)

    found = list(explain.differences(explain.Pair(config, dirty, dirty)))

    changed = "0123456789ab with uncommitted changes"
    assert found == [explain.Change("commit", changed, changed)]


def test_what_was_left_out_is_told_where_there_is_nothing_to_judge(
    suite: Suite, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    store.put(records.bad(suite.rows[0].cells[1], "skipped"))

    assert _told(suite, store)[2] == ("    no full-budget record to judge: seed 2: skipped")


def test_a_damaged_record_is_named(suite: Suite, tmp_path: Path) -> None:
    store, damaged = Store(tmp_path / "results"), Store(tmp_path / "main")
    path = damaged.put(_good(suite.rows[0].cells[0], 90.0))
    path.write_text("{")

    with pytest.raises(RecordError) as caught:
        _told(suite, store, damaged)

    assert caught.value.path == path


def test_annotations_are_escaped_and_only_of_what_does_not_hold(
    suite: Suite, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    store.put(records.good(suite.rows[0].cells[0], last=80.0))
    checks = gate.judge(suite.rows, store)

    text = gate.to_github(Path("a,b.yaml"), checks, {"a/plain": "100 %\nof: it, all"})
    held = gate.to_github(Path("a.yaml"), [c for c in checks if c.status == "holds"])

    assert text.splitlines() == [
        "::error file=a%2Cb.yaml,title=a/plain%3A final_accuracy >= 89.5 fails::"
        "observed 80, 1 of 3 seeds, from: suite%0A100 %25%0Aof: it, all",
        "::error file=a%2Cb.yaml,title=a/other%3A during_accuracy >= 50 missing::"
        "observed –, 0 of 3 seeds, from: suite",
    ]
    assert held == ""


def test_the_command_explains_on_request_in_all_its_outputs(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", toys.registry)
    monkeypatch.chdir(tmp_path)
    Store(Path("results")).put(_good(suite.rows[0].cells[0], 80.0))
    base = ["check", "toy.yaml", "--only", "plain"]

    plain = CliRunner().invoke(app, base)
    told = CliRunner().invoke(app, [*base, "--explain", "--format", "github", "--junit", "out.xml"])

    reason = "no reference: results has no other full-budget record of this row"
    assert plain.exit_code == told.exit_code == 1
    assert reason not in plain.stdout
    assert "::error" not in plain.stdout
    assert f"\n  {reason}\n" in told.stdout
    assert told.stdout.splitlines()[-1].startswith("::error file=toy.yaml,title=a/plain%3A final")
    assert told.stdout.splitlines()[-1].endswith(f"%0A  {reason}")
    assert f"{reason}</failure>" in (tmp_path / "out.xml").read_text()
