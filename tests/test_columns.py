"""Columns, order and marks of results tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import records
import suite_files
import toys
from rich.console import Console
from typer.testing import CliRunner

from clbench import columns, metrics, render, tables
from clbench.cli import app
from clbench.columns import View
from clbench.errors import UnknownNameError
from clbench.metrics import aggregate
from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import Suite

TEXT = suite_files.of_toys("""\
tasks:
  a: {label: Task A, family: pictures}
methods:
  low: {label: Low & slow, learner: plain}
  none: {learner: plain, regime: joint}
  high: {label: High_er, learner: generated}
  middle: {learner: plain, training: {iterations: 20}}
""")


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, TEXT)


def _table(
    suite: Suite, folder: Path, finals: Mapping[str, Sequence[float]]
) -> tables.ResultsTable:
    """The table of records with these final accuracies of the first seeds."""
    store = Store(folder / "results")
    for row in suite.rows:
        records.put(store, row.cells, *finals.get(row.method, ()))
    return tables.collect(suite, store, None)


@pytest.fixture
def table(suite: Suite, tmp_path: Path) -> tables.ResultsTable:
    finals = {"low": (80.0, 81.0, 82.0), "high": (90.0, 91.5, 92.0), "middle": (85.0, 86.0, 87.0)}
    return _table(suite, tmp_path, finals)


def _measured(table: tables.ResultsTable) -> tables.ResultsTable:
    """As if the suite had no other rows than those with a result."""
    sections = tuple(
        replace(section, lines=tuple(line for line in section.lines if line.num_seeds))
        for section in table.sections
    )
    return replace(table, sections=sections)


def _order(table: tables.ResultsTable) -> list[str]:
    return [line.method for section in table.sections for line in section.lines]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("final_accuracy", ["low", "middle", "high", "none"]),
        ("-final_accuracy", ["high", "middle", "low", "none"]),
        ("method", ["high", "low", "middle", "none"]),
        ("-seeds", ["low", "high", "middle", "none"]),  # equals keep their order
        ("plasticity", ["low", "none", "high", "middle"]),  # nobody has it
    ],
)
def test_rows_are_sorted_and_those_without_a_value_come_last(
    order: str, expected: list[str], table: tables.ResultsTable
) -> None:
    assert _order(columns.arranged(table, order)) == expected


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, ""),
        ({"verdict": "below"}, "below"),
        ({"budget": 0.1}, "10 % budget"),
        ({"budget": 0.1, "status": "2 of 3 seeds"}, "10 % budget (2 of 3 seeds)"),
        ({"budget": 0.1, "verdict": "not comparable"}, "not comparable"),  # the budget is why
        ({"verdict": "not comparable", "status": "2 of 3 seeds"}, "not comparable (2 of 3 seeds)"),
        ({"num_seeds": 0, "budget": 0.1, "status": "failed: OSError"}, "failed: OSError"),
    ],
)
def test_beside_the_verdict_stands_what_is_not_in_order(
    changes: dict[str, Any], text: str, table: tables.ResultsTable
) -> None:
    assert columns.VERDICT.text(replace(table.lines[0], **changes)) == text


def test_an_unknown_column_is_told_with_the_nearest_one(table: tables.ResultsTable) -> None:
    with pytest.raises(UnknownNameError) as caught:
        columns.choose(table, ["seeds", "final_acuracy"])

    assert str(caught.value) == (
        "unknown column 'final_acuracy'; did you mean 'final_accuracy'?\n"
        "    known: backward_transfer, budget, during_accuracy, final_accuracy, forgetting, "
        "forward_transfer, incremental_accuracy, last_task_accuracy, loss_of_plasticity, method, minutes, "
        "online_accuracy, online_accuracy_off_by_one, online_forgetting, parameters, plasticity, "
        "published_during, published_final, published_online, seeds, status, task, verdict"
    )


def test_the_best_of_a_task_is_marked_where_it_beats_every_other_by_a_test(
    table: tables.ResultsTable,
) -> None:
    # final: high - middle is 5, 5.5, 5, high - low 10, 10.5, 10: p = 0.0010 and 0.0003;
    # during is 99 everywhere; the others go with final
    assert columns.best(_measured(table)) == {
        ("a/high", "final_accuracy"),
        ("a/high", "backward_transfer"),
        ("a/high", "forgetting"),
        ("a/high", "incremental_accuracy"),
    }


@pytest.mark.parametrize(
    ("finals", "expected"),
    [
        # a single seed: no test
        ({"low": (80.0,), "high": (90.0,)}, set()),
        # nothing to compare with
        ({"high": (90.0, 91.0, 92.0)}, set()),
        # one of the others has a single seed
        ({"low": (80.0,), "middle": (70.0, 71.0, 72.0), "high": (90.0, 91.0, 92.5)}, set()),
        # d = 1, 2, 6: mean 3, s = 2.646, t = 1.964 with 2 degrees of freedom: p = 0.19
        ({"low": (80.0, 80.0, 80.0), "high": (81.0, 82.0, 86.0)}, set()),
        # paired, d = 1.0, 1.2, 1.1: t = 19; apart, the seeds' scatter would drown it
        ({"low": (70.0, 80.0, 90.0), "high": (71.0, 81.2, 91.1)}, {"a/high"}),
        # other seeds, so apart: s^2 / n = 1/3 and 1/2, t = 10.5 / 0.913 = 11.5, 1.9 degrees: p = 0.009
        ({"low": (80.0, 81.0, 82.0), "high": (91.0, 92.0)}, {"a/high"}),
    ],
)
def test_marks_follow_the_stated_tests(
    finals: dict[str, tuple[float, ...]], expected: set[str], suite: Suite, tmp_path: Path
) -> None:
    found = columns.best(_measured(_table(suite, tmp_path, finals)))

    assert {key for key, name in found if name == "final_accuracy"} == expected


def test_several_others_are_corrected_for(suite: Suite, tmp_path: Path) -> None:
    # d = 1, 2, 2 against both others: mean 5/3, error 1/3, t = 5, p = 0.0377: with one other it
    # counts, with two Holm's rule makes it 0.0755
    best, other = (81.0, 82.0, 82.0), (80.0, 80.0, 80.0)

    one, two = (
        columns.best(_measured(_table(suite, tmp_path / name, finals)))
        for name, finals in (
            ("one", {"low": other, "high": best}),
            ("two", {"low": other, "middle": other, "high": best}),
        )
    )

    assert ("a/high", "final_accuracy") in one
    assert ("a/high", "final_accuracy") not in two


@pytest.mark.parametrize(
    ("changes", "marked"),
    [
        ({}, False),  # it has no record
        ({"status": "failed: ValueError"}, False),
        ({"status": "excluded: undefined there"}, True),
        ({"num_seeds": 3}, True),  # it has results, and its regime does not give the metric
    ],
)
def test_nothing_of_a_task_is_marked_where_a_method_has_no_result(
    changes: dict[str, Any], marked: bool, table: tables.ResultsTable
) -> None:
    (section,) = table.sections
    lines = tuple(
        replace(line, **changes) if line.method == "none" else line for line in section.lines
    )

    found = columns.best(replace(table, sections=(replace(section, lines=lines),)))

    assert (("a/high", "final_accuracy") in found) is marked


def test_rows_that_are_not_shown_are_compared_with_all_the_same(
    suite: Suite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", toys.registry)
    monkeypatch.chdir(tmp_path)
    finals = {"low": (80.0, 81.0, 82.0), "high": (90.0, 91.5, 92.0), "middle": (95.0, 96.0, 97.0)}
    base = ["table", "toy.yaml", "--format", "json", "--mark-best", "--only", "low"]
    _table(suite, tmp_path, finals | {"none": (70.0, 71.0, 72.5)})

    shown = CliRunner().invoke(app, [*base, "--only", "high"])
    best = CliRunner().invoke(app, [*base, "--only", "middle"])

    assert [row["best"] for row in json.loads(shown.stdout)] == [[], []]
    assert "final_accuracy" in json.loads(best.stdout)[1]["best"]


def test_where_lower_scores_are_better_the_lowest_is_best(table: tables.ResultsTable) -> None:
    (section,) = _measured(table).sections
    errors = tuple(replace(line, better="lower") for line in section.lines)

    found = columns.best(replace(table, sections=(replace(section, lines=errors),)))

    assert ("a/low", "final_accuracy") in found
    assert ("a/high", "forgetting") in found  # a loss is a loss
    assert metrics.better("plasticity", "lower") == "higher"
    assert metrics.better("loss_of_plasticity", "higher") == "lower"


def test_every_format_shows_the_columns_asked_for_and_the_marks(
    table: tables.ResultsTable,
) -> None:
    names = ["final_accuracy", "seeds", "parameters", "task"]
    view = View(columns.choose(table, names), columns.best(_measured(table)))

    markdown, latex = render.to_markdown(table, view), render.to_latex(table, view)
    values = json.loads(render.to_json(table, view))
    rows = list(csv.DictReader(io.StringIO(render.to_csv(table, view))))
    console = Console(
        width=80, file=io.StringIO(), record=True, color_system="standard", force_terminal=True
    )
    console.print(render.to_rich(table, 80, view))
    styled = console.export_text(styles=True)

    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines()
    ]
    assert cells[0] == ["Task A", "final", "n", "parameters", "task"]
    assert cells[2:5] == [
        ["Low & slow", "81.00 ±2.48", "3", "102", "a"],
        ["none", "–", "0", "–", "a"],
        ["High_er", "**91.17 ±2.59**", "3", "102", "a"],
    ]
    assert columns.BEST in markdown
    squeezed = " ".join(latex.split())
    assert r"\midrule Low \& slow & 81.00 $\pm$2.48 & 3 & 102 & a \\" in squeezed
    assert r"High\_er & \textbf{91.17 $\pm$2.59} &" in squeezed
    assert list(values[2]) == [
        "row",
        "final_accuracy",
        "final_ci",
        "seeds",
        "parameters",
        "task",
        "best",
    ]
    assert values[2]["best"] == [
        "backward_transfer",
        "final_accuracy",
        "forgetting",
        "incremental_accuracy",
    ]
    assert rows[2]["best"] == "backward_transfer final_accuracy forgetting incremental_accuracy"
    assert (rows[0]["best"], rows[1]["final_ci_low"]) == ("", "")
    assert "\x1b[1m91.17 ±2.59\x1b[0m" in styled
    assert "\x1b[1m81.00" not in styled


def test_where_the_columns_asked_for_do_not_fit_no_number_is_cut(
    table: tables.ResultsTable,
) -> None:
    names = ["final_accuracy", "incremental_accuracy", "forgetting", "verdict", "parameters"]
    view = View(columns.choose(table, names), columns.best(_measured(table)))
    shown = {}
    for width in (40, 80):
        console = Console(width=width, file=io.StringIO(), record=True)
        console.print(render.to_rich(table, width, view))
        shown[width] = [line.rstrip() for line in console.export_text().splitlines()]

    assert shown[40][2:8] == [
        "Task A",
        "Low & slow",
        "  final 81.00 ±2.48, incremental",
        "  accuracy 88.17 ±0.83, forgetting 27.00",
        "  ±3.73, parameters 102",
        "none",
    ]
    headings = shown[80][2].split()
    assert (headings[:3], headings[-3:]) == (["Task", "A", "final"], names[2:])


def test_values_of_seeds_are_kept_beside_their_mean(table: tables.ResultsTable) -> None:
    line = table.sections[0].lines[2]

    assert line.scores["final_accuracy"] == pytest.approx({1: 90.0, 2: 91.5, 3: 92.0})
    assert line.summaries["final_accuracy"] == aggregate(
        list(line.scores["final_accuracy"].values())
    )
    assert line.scores["plasticity"] == {}


def test_the_command_takes_columns_order_and_marks(
    table: tables.ResultsTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Registry, "discover", toys.registry)
    monkeypatch.chdir(tmp_path)
    base = ["table", "toy.yaml", "--format", "csv"]

    chosen = CliRunner().invoke(
        app, [*base, "--columns", "seeds, forgetting", "--sort", "-final_accuracy", "--mark-best"]
    )
    plain = CliRunner().invoke(app, base)
    wrong = CliRunner().invoke(app, [*base, "--columns", "seds"])

    lines = chosen.stdout.splitlines()
    assert lines[0] == "row,seeds,forgetting,forgetting_ci_low,forgetting_ci_high,best"
    assert [line.split(",")[0] for line in lines[1:]] == ["a/high", "a/middle", "a/low", "a/none"]
    assert plain.stdout == render.to_csv(table)
    assert isinstance(wrong.exception, UnknownNameError)
