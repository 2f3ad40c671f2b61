"""Verdicts on our numbers beside published ones, and the ledger of the copy tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench import published
from clbench.metrics import Aggregate
from clbench.published import Entry, Number
from clbench.suite import load


@pytest.mark.parametrize(
    ("mean", "half", "value", "better", "expected"),
    [
        (90.0, None, 90.9, "higher", "reproduced"),  # within the margin of 1
        (90.0, None, 91.0, "higher", "reproduced"),  # just within it
        (90.0, None, 91.1, "higher", "below"),
        (90.0, None, 88.9, "higher", "better"),
        (90.0, 2.0, 91.9, "higher", "reproduced"),  # inside the interval
        (90.0, 2.0, 92.0, "higher", "reproduced"),  # at its end
        (90.0, 0.1, 91.1, "higher", "below"),
        (5.0, None, 3.0, "lower", "below"),
        (5.0, None, 7.0, "lower", "better"),
    ],
)
def test_a_number_is_judged_by_interval_and_margin(
    mean: float, half: float | None, value: float, better: str, expected: str
) -> None:
    ours = Aggregate(mean, half and mean - half, half and mean + half, 3 if half else 1)
    entry = Entry(label="x", final=Number(value=value), where="y")

    found = published.verdict({"during": None, "final": ours}, entry, 1.0, better, budget=1.0)

    assert found == expected


def test_of_two_numbers_the_worse_verdict_counts() -> None:
    entry = Entry(label="x", during=Number(value=50), final=Number(value=95), where="y")
    ours = {"during": Aggregate(90, None, None, 1), "final": Aggregate(90, None, None, 1)}

    assert published.verdict(ours, entry, 1.0, "higher", budget=1.0) == "below"
    assert published.verdict(ours, entry, 1.0, "higher", budget=0.5) == "not comparable"
    nothing = {"during": None, "final": None}
    assert published.verdict(nothing, entry, 1.0, "higher", budget=1.0) == "missing"
    assert published.verdict(ours, None, 1.0, "higher", budget=1.0) is None


def test_a_margin_of_the_row_comes_before_that_of_the_ledger() -> None:
    ours = {"during": None, "final": Aggregate(90, 89.0, 91.0, 3)}
    near, inside = (
        Entry(label="x", final=Number(value=value), margin=0.5, where="y") for value in (91.5, 90.8)
    )

    assert published.verdict(ours, near, 2.0, "higher", budget=1.0) == "below"
    assert published.verdict(ours, inside, 2.0, "higher", budget=1.0) == "reproduced"
    assert published.is_by_interval(ours, inside, 2.0)
    assert not published.is_by_interval(ours, inside.model_copy(update={"margin": None}), 2.0)


def test_what_is_just_within_the_margin_needs_no_interval() -> None:
    ours = {"during": None, "final": Aggregate(90, 88.0, 92.0, 3)}
    just, beyond = (Entry(label="x", final=Number(value=v), where="y") for v in (91.0, 91.5))

    assert not published.is_by_interval(ours, just, 1.0)
    assert published.is_by_interval(ours, beyond, 1.0)


def test_of_a_reduced_budget_one_number_measured_is_enough_to_be_not_comparable() -> None:
    entry = Entry(label="x", during=Number(value=50), final=Number(value=95), where="y")
    ours = {"during": None, "final": Aggregate(90, None, None, 1)}

    assert published.verdict(ours, entry, 1.0, "higher", budget=0.5) == "not comparable"
    assert published.verdict(ours, entry, 1.0, "higher", budget=1.0) == "missing"


def test_the_ledger_among_the_results_comes_before_that_beside_the_suite(tmp_path: Path) -> None:
    text = "source: here\nmargin: {}\nrows: {{}}\n"
    for folder, margin in ((tmp_path / "mine", 1), (tmp_path / "results", 2)):
        (folder / "published").mkdir(parents=True)
        (folder / "published" / "toy.yaml").write_text(text.format(margin))
    suite = tmp_path / "suites" / "toy.yaml"
    found = [published.find(tmp_path / name, suite, "toy") for name in ("mine", "elsewhere")]

    assert [ledger.margin for ledger in found if ledger] == [1, 2]


def test_the_ledger_beside_a_suite_is_found_from_the_folder_of_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "results" / "published").mkdir(parents=True)
    (tmp_path / "results" / "published" / "toy.yaml").write_text(
        "source: here\nmargin: 3\nrows: {}\n"
    )
    monkeypatch.chdir(tmp_path / "suites")

    found = published.find(Path("elsewhere"), Path("toy.yaml"), "toy")

    assert found is not None
    assert found.margin == 3


def test_the_ledger_of_the_copy_tasks_has_all_18_rows_and_five_as_first_printed() -> None:
    root = Path(__file__).parent.parent
    ledger = published.load(root / "results/published/ehret2021-readme.yaml")
    from clbench.registry import Registry

    suite = load(root / "suites/copy_task.yaml", Registry.discover())

    measured = {row.key for row in suite.rows if row.excluded is None}
    first_printed = [e for e in ledger.rows.values() if e.note and "first printed" in e.note]
    assert (len(ledger.rows), len(first_printed)) == (23, 5)
    assert set(ledger.rows) <= measured
    assert ledger.margin == 1.0


def test_what_a_reader_must_know_of_a_published_number_is_told_whole() -> None:
    entry = Entry(
        label="EWC",
        during=Number(value=99.5, claim="around"),
        final=Number(value=64.32, spread=1.9, spread_is="standard error", n=20),
        where="Table 1",
        note="a single head.",
        not_comparable="other pictures",
    )

    assert entry.told == (
        "during ~99.5; final 64.32 ± 1.9 (standard error, n = 20); as EWC; Table 1; a single head; "
        "not comparable: other pictures"
    )


@pytest.mark.parametrize("values", [{"spread": 1.0}, {"spread_is": "unstated"}])
def test_a_spread_comes_with_what_it_is(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give spread and spread_is together"):
        Number.model_validate({"value": 1.0} | values)
