"""Records as values for analysis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import records
import suite_files
import toys
from records import provenance

import clbench
from clbench.analysis import ResultSet
from clbench.errors import ClbenchError, RecordError
from clbench.metrics import SUMMARIES
from clbench.registry import Registry
from clbench.store import Store

TEXT = """\
suite: toy
scenario: task-il
seeds: [1, 2]
data_seed: 1
defaults:
  model: linear
  training: {iterations: 10, learning_rate: 0.1}
tasks:
  a: {family: pictures}
methods:
  plain: {learner: plain}
  other: {learner: generated}
"""


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two good records of a/plain, one of them at half the budget too, and a failed one of a/other."""
    monkeypatch.setattr(Registry, "discover", toys.registry)
    plain, other = suite_files.load(tmp_path, TEXT).rows
    quick = plain.cells[0].model_copy(update={"budget": 0.5})
    store = Store(tmp_path / "results")
    for config, last in (*zip(plain.cells, (89.0, 91.0), strict=True), (quick, 70.0)):
        record = records.good(config, last=last)
        store.put(record.model_copy(update={"provenance": provenance(row="a/plain")}))
    failed = records.bad(other.cells[0])
    store.put(failed.model_copy(update={"provenance": provenance(row="a/other")}))
    return store.root


def _seen(found: ResultSet) -> list[tuple[Any, ...]]:
    return [(one.task, one.method, one.seed, one.config.budget, one.status) for one in found]


def test_a_folder_gives_all_its_records_under_the_rows_they_were_made_for(results: Path) -> None:
    found = clbench.load(results)

    assert _seen(found) == [
        ("a", "other", 1, 1.0, "failed"),
        ("a", "plain", 1, 0.5, "ok"),
        ("a", "plain", 1, 1.0, "ok"),
        ("a", "plain", 2, 1.0, "ok"),
    ]
    assert {one.suite for one in found} == {"toy"}
    assert repr(found) == "<ResultSet of 4 cells, 3 of them ok>"


def test_a_suite_gives_its_cells_in_its_order_with_those_that_are_missing(results: Path) -> None:
    found = clbench.load(str(results), suite=str(results.parent / "toy.yaml"))

    assert _seen(found) == [
        ("a", "plain", 1, 1.0, "ok"),
        ("a", "plain", 2, 1.0, "ok"),
        ("a", "other", 1, 1.0, "failed"),
        ("a", "other", 2, 1.0, "missing"),
    ]


def test_a_record_that_does_not_tell_its_row_goes_by_family_and_learner(tmp_path: Path) -> None:
    Store(tmp_path).put(records.good())

    (one,) = clbench.load(tmp_path)

    assert (one.suite, one.task, one.method) == ("", "pictures", "plain")


def test_records_are_in_order_suite_by_suite(tmp_path: Path) -> None:
    for seed, (suite, row) in enumerate([("late", "a/plain"), ("early", "b/plain")]):
        record = records.good(toys.config(seed=seed))
        made = provenance(suite=suite, row=row)
        Store(tmp_path).put(record.model_copy(update={"provenance": made}))

    found = clbench.load(tmp_path)

    assert [(one.suite, one.task) for one in found] == [("early", "b"), ("late", "a")]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, 4),
        ({"method": "plain"}, 3),
        ({"method": "o*"}, 1),
        ({"task": "a", "suite": "toy", "seed": 2}, 1),
        ({"seed": [1, 2], "status": "ok"}, 3),
        ({"budget": 1, "method": "plain"}, 2),
        ({"status": "timed-out"}, 0),
        ({"seed": 99}, 0),
    ],
)
def test_outcomes_are_filtered_by_all_conditions(
    conditions: dict[str, Any], expected: int, results: Path
) -> None:
    assert len(clbench.load(results).filter(**conditions)) == expected


def test_a_name_that_nothing_has_is_a_mistake(results: Path) -> None:
    with pytest.raises(ClbenchError) as caught:
        clbench.load(results).filter(method="plane")

    assert str(caught.value) == (
        "no method matches 'plane'; did you mean 'plain'?\n    known: other, plain"
    )


def test_scores_are_an_array_and_metrics_are_named(results: Path) -> None:
    failed, _, good, _ = clbench.load(results)

    assert good.R.shape == (3, 3)
    assert good.R.diagonal().tolist() == [99.0, 99.0, 99.0]
    assert good.summaries["final_accuracy"] == pytest.approx(89.0)
    assert good.summaries["plasticity"] is None
    assert set(failed.summaries.values()) == {None}
    with pytest.raises(ClbenchError, match=r"^a/other seed 1 is failed$"):
        _ = failed.R


def test_what_was_not_measured_is_not_a_number(tmp_path: Path) -> None:
    record = records.good()
    assert record.result is not None
    result = record.result.model_copy(update={"R": ((1.0, None), (2.0, 3.0))})
    Store(tmp_path).put(record.model_copy(update={"result": result}))

    (one,) = clbench.load(tmp_path)

    np.testing.assert_array_equal(one.R, [[1.0, np.nan], [2.0, 3.0]])


def test_a_row_has_both_seeds_and_the_parameters_that_are_trained(tmp_path: Path) -> None:
    record = records.good(toys.config(seed=3, data_seed=5))
    assert record.result is not None
    counts = {"num_parameters": {"trained": 420, "main_net": 102}}
    result = record.result.model_copy(update=counts)
    Store(tmp_path).put(record.model_copy(update={"result": result}))

    row = clbench.load(tmp_path)[0].tidy()

    assert (row["seed"], row["data_seed"], row["parameters"]) == (3, 5, 420)


def test_means_are_over_seeds_and_over_nothing_else(results: Path) -> None:
    groups = clbench.load(results).summaries()

    other, quick, full = groups
    assert [(one.method, one.budget, one.num_seeds) for one in groups] == [
        ("other", 1.0, 0), ("plain", 0.5, 1), ("plain", 1.0, 2),
    ]  # fmt: skip
    final = full.summaries["final_accuracy"]
    assert final is not None
    assert (final.mean, final.n, full.data_seed) == (pytest.approx(90.0), 2, 1)
    assert other.summaries["final_accuracy"] is None
    assert quick.configuration != full.configuration


def test_tasks_of_different_data_seeds_are_not_averaged_unless_they_follow_the_model_seed(
    tmp_path: Path,
) -> None:
    for folder, seeds in {
        "fixed": [(1, 1), (2, 1), (1, 5), (2, 5)],
        "own": [(1, 1), (2, 2)],
    }.items():
        for seed, data_seed in seeds:
            Store(tmp_path / folder).put(records.good(toys.config(seed=seed, data_seed=data_seed)))

    fixed = clbench.load(tmp_path / "fixed").summaries()
    own = clbench.load(tmp_path / "own").summaries()

    assert sorted((one.num_seeds, one.data_seed) for one in fixed) == [(2, 1), (2, 5)]
    assert [(one.num_seeds, one.data_seed) for one in own] == [(2, None)]


def test_a_frame_has_a_row_for_each_outcome(results: Path) -> None:
    frame = clbench.load(results).to_frame()

    assert list(frame["status"]) == ["failed", "ok", "ok", "ok"]
    assert list(frame.columns[8:20]) == list(SUMMARIES)
    assert frame["final_accuracy"].tolist()[1:] == pytest.approx([70.0, 89.0, 91.0])
    assert np.isnan(frame["final_accuracy"][0])
    assert frame["minutes"][1] == pytest.approx(60.1 / 60)
    assert clbench.load(results)[:0].to_frame().shape == (0, 22)


def test_without_pandas_the_error_says_what_to_install(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)

    with pytest.raises(ClbenchError) as caught:
        clbench.load(results).to_frame()

    assert str(caught.value) == (
        "a frame needs pandas; install it with\n    pip install 'clbench[frame]'"
    )


def test_a_notebook_shows_a_plain_table_with_everything_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        record = records.good(toys.config(seed=seed))
        made = provenance(suite="<b>", row="a/x & y")
        Store(tmp_path).put(record.model_copy(update={"provenance": made}))
    monkeypatch.setattr("clbench.analysis.SHOWN", 2)

    html = clbench.load(tmp_path)._repr_html_()

    assert "<td>&lt;b&gt;</td><td>a</td><td>x &amp; y</td><td>0</td><td>1</td><td>ok</td>" in html
    assert "<th>final_accuracy</th>" in html
    assert "<td>90</td>" in html
    assert "plasticity" not in html
    assert html.count("<tr>") == 3
    assert html.endswith("</table><p>and 1 more</p>")


def test_an_empty_folder_and_a_damaged_record_are_errors(results: Path, tmp_path: Path) -> None:
    path = next((results / "records").glob("*.json"))
    path.write_text("{")

    with pytest.raises(ClbenchError) as empty:
        clbench.load(tmp_path / "nothing")
    with pytest.raises(RecordError) as damaged:
        clbench.load(results)

    assert str(empty.value) == f"{tmp_path / 'nothing'} has no records"
    assert damaged.value.path == path


def test_importing_clbench_imports_nothing_heavy() -> None:
    code = (
        "import sys, clbench; light = {'pydantic', 'numpy', 'torch'} & set(sys.modules)\n"
        "clbench.load(sys.argv[1]); loaded = {'torch', 'scipy', 'pandas'} & set(sys.modules)\n"
        "sys.exit(str(light | loaded) if light | loaded else 0)"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent.parent / "results")],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
