"""The ledger, the table model, and every format of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import records
import suite_files
from rich.console import Console

from clbench import columns, gate, published, render, tables
from clbench.errors import FileError
from clbench.metrics import Aggregate
from clbench.published import Entry, Number
from clbench.records import MetricInfo, Online
from clbench.store import Store
from clbench.suite import Suite

TEXT = suite_files.of_toys("""\
title: A toy suite
tasks:
  a: {label: Task A, family: pictures}
  b: {label: Task B, family: echoes}
methods:
  plain: {label: Plain 100 %, learner: plain, on: {a: {expect: {final_accuracy: '>= 89.5'}}}}
  other: {label: Other, learner: generated, expect: {during_accuracy: '>= 50'}}
exclude:
  - {method: other, task: b, why: undefined there}
""")

LEDGER = """\
source: A paper
margin: 1.0
rows:
  a/plain:
    label: Plain
    during: {value: 99.5}
    final: {value: 93.0, claim: around}
    where: Table 1
  b/plain: {label: Plain, final: {value: 10.0}, where: Table 1}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, TEXT)


@pytest.fixture
def ledger(tmp_path: Path) -> published.Ledger:
    path = tmp_path / "ledger.yaml"
    path.write_text(LEDGER)
    return published.load(path)


@pytest.fixture
def store(tmp_path: Path, suite: Suite) -> Store:
    """Three good seeds of a/plain, one good and one failed of a/other, none of b/plain."""
    store = Store(tmp_path / "results")
    plain, other = suite.rows[0], suite.rows[1]
    records.put(store, plain.cells, 89.0, 90.0, 91.0)
    store.put(records.good(other.cells[0]))
    store.put(records.bad(other.cells[1], status="timed-out"))
    return store


def test_a_ledger_with_mistakes_is_told_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "ledger.yaml"
    path.write_text(
        LEDGER.replace("margin: 1.0", "margin: 0").replace(
            "final: {value: 93.0", "finel: {value: 9"
        )
    )

    with pytest.raises(FileError) as caught:
        published.load(path)

    assert str(caught.value) == (
        f"{path} has 2 mistakes:\n"
        "  line 2, margin: expected a number greater than 0.0, found the number 0\n"
        "  line 7, rows.a/plain.finel: unknown key: 'finel'; did you mean 'final'?\n"
        "      known: during, final, label, margin, not_comparable, note, online, where"
    )


def test_lines_carry_aggregates_published_values_verdicts_and_what_is_wrong(
    suite: Suite, store: Store, ledger: published.Ledger
) -> None:
    table = tables.collect(suite, store, ledger)

    first, second = table.sections
    plain, other = first.lines
    missing, excluded = second.lines
    assert (first.heading, second.heading) == ("Task A", "Task B")
    final = plain.summaries["final_accuracy"]
    assert final is not None
    assert (final.mean, final.n) == (90.0, 3)
    assert (plain.verdict, plain.status, plain.num_seeds) == ("below", "ok", 3)
    assert (other.verdict, other.status) == (None, "1 of 3 seeds, others timed-out, missing")
    assert (missing.verdict, missing.status) == ("missing", "missing")
    assert (excluded.verdict, excluded.status) == (None, "excluded: undefined there")


def test_reduced_budgets_are_other_records_and_marked(
    suite: Suite, store: Store, ledger: published.Ledger
) -> None:
    quick = suite.rows[0].cells[0].model_copy(update={"budget": 0.1})
    store.put(records.good(quick))

    table = tables.collect(suite, store, ledger, budget=0.1)

    line = table.sections[0].lines[0]
    assert (line.num_seeds, line.verdict, line.budget) == (1, "not comparable", 0.1)
    text = _rich(table, 80)
    assert text.startswith("A toy suite: 10 % budget, a quick look")
    assert "not comparable" in text
    assert render.to_markdown(table).startswith("Budget: 10 % of the published one.")
    assert "\n\nBudget: 10 \\% of the published one.\n\n" in render.to_latex(table)
    chosen = columns.View(columns.choose(table, ["seeds"]))
    assert render.to_csv(table, chosen).splitlines()[:2] == ["row,seeds,budget", "a/plain,1,0.1"]


def test_records_of_other_versions_are_shown_as_stale(
    suite: Suite, tmp_path: Path, ledger: published.Ledger
) -> None:
    store = Store(tmp_path / "old")
    for config in suite.rows[0].cells:
        store.put(records.good(config.model_copy(update={"plugins": {"toys": "0.0"}})))
    for config in suite.rows[1].cells:  # what failed has answered nothing
        store.put(records.bad(config.model_copy(update={"plugins": {"toys": "0.0"}})))

    lines = tables.collect(suite, store, ledger).sections[0].lines
    assert [line.status for line in lines] == ["stale", "missing"]


def _rich(table: tables.ResultsTable, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(render.to_rich(table, width))
    return console.export_text()


@pytest.mark.parametrize("width", [80, 200])
def test_the_terminal_table_fits_its_width_and_has_every_row(
    width: int, suite: Suite, store: Store, ledger: published.Ledger
) -> None:
    text = _rich(tables.collect(suite, store, ledger), width)

    assert max(map(len, text.splitlines())) <= width
    for word in ("Plain 100 %", "Other", "90.00", "99.50 / ~93.00", "below", "timed-out"):
        assert word in text
    assert ("±2.48" in text) is (width == 200)
    assert ("± is the half-width" in text) is (width == 200)
    assert ("A wider terminal shows" in text) is (width == 80)
    assert "excluded: undefined there" in text


def test_rows_that_are_excluded_for_one_reason_stand_in_one_line(tmp_path: Path) -> None:
    methods = "".join(f"  m{i}: {{learner: plain}}\n" for i in range(4))
    text = suite_files.GOOD.split("methods:")[0] + f"methods:\n{methods}exclude:\n"
    text += "".join(
        f"  - {{method: m{i}, task: pictures, why: {why}}}\n"
        for i, why in enumerate(("too slow", "undefined", "too slow"))
    )
    suite = suite_files.load(tmp_path, text)

    shown = _rich(tables.collect(suite, Store(tmp_path / "results"), None), 100)

    assert "m0, m2: excluded: too slow\nm1: excluded: undefined\n" in shown


def test_the_picture_shows_the_table_and_refers_to_nothing(
    suite: Suite, store: Store, ledger: published.Ledger
) -> None:
    picture = render.to_svg(tables.collect(suite, store, ledger))

    root = ElementTree.fromstring(picture)
    words = "".join(root.itertext()).replace("\xa0", " ")
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "url(http" not in picture
    for word in ("A toy suite", "Plain 100 %", "90.00", "99.50 / ~93.00", "below", "timed-out"):
        assert word in words


def test_markdown_is_fit_to_paste(suite: Suite, store: Store, ledger: published.Ledger) -> None:
    text = render.to_markdown(tables.collect(suite, store, ledger))

    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()[:4]]
    assert cells[0] == [
        *("Task A", "during", "final", "n", "published during", "published final", "verdict")
    ]
    assert [set(cell) for cell in cells[1]] == [{":", "-"}] * 7
    assert cells[2] == [
        "Plain 100 %",
        "99.00 ±0.00",
        "90.00 ±2.48",
        "3",
        "99.50",
        "~93.00",
        "below",
    ]
    assert cells[3][:5] == ["Other", "99.00", "90.00", "1", ""]


def test_a_heading_whose_rows_are_all_excluded_is_left_out_of_written_tables(
    suite: Suite, store: Store
) -> None:
    of_other = [row for row in suite.rows if row.method == "other"]

    table = tables.collect(suite, store, None, rows=of_other)

    assert [section.heading for section in table.sections] == ["Task A", "Task B"]
    for text in (render.to_markdown(table), render.to_latex(table)):
        assert "Task A" in text
        assert "Task B" not in text


def test_a_number_that_rounds_to_0_has_no_sign(suite: Suite, store: Store) -> None:
    table = tables.collect(suite, store, None)
    (forgetting,) = columns.choose(table, ["forgetting"])
    summaries = {"forgetting": Aggregate(-0.001, -0.003, 0.001, 3)}

    text = forgetting.text(replace(table.sections[0].lines[0], summaries=summaries))

    assert text == "0.00 ±0.00"


def test_latex_is_escaped(suite: Suite, store: Store, ledger: published.Ledger) -> None:
    text = render.to_latex(tables.collect(suite, store, ledger))

    assert r"Plain 100 \%" in text
    assert r"90.00 $\pm$2.48" in text
    assert r"$\sim$93.00" in text
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 2
    assert "hline" not in text


def test_json_has_exactly_the_documented_keys(
    suite: Suite, store: Store, ledger: published.Ledger
) -> None:
    first, *rest = json.loads(render.to_json(tables.collect(suite, store, ledger)))

    assert len(rest) == 3
    assert first.pop("final_ci") == pytest.approx([90 - 2.484138, 90 + 2.484138], abs=1e-5)
    assert first == {
        "suite": "toy",
        "row": "a/plain",
        "task": "a",
        "method": "plain",
        "n_seeds": 3,
        "during_accuracy": 99.0,
        "during_ci": [99.0, 99.0],
        "final_accuracy": 90.0,
        "published_during": 99.5,
        "published_final": 93.0,
        "verdict": "below",
        "by_interval": False,
        "status": "ok",
        "budget": 1.0,
    }


def test_csv_has_a_line_per_row(suite: Suite, store: Store, ledger: published.Ledger) -> None:
    rows = list(csv.DictReader(io.StringIO(render.to_csv(tables.collect(suite, store, ledger)))))

    assert [row["row"] for row in rows] == ["a/plain", "a/other", "b/plain", "b/other"]
    assert rows[0]["final_ci_low"].startswith("87.51")
    assert rows[2]["final_accuracy"] == ""


def test_a_bar_in_a_name_ends_no_cell(suite: Suite, store: Store) -> None:
    table = tables.collect(suite, store, None)
    first = table.sections[0]
    line = replace(first.lines[0], label="Plain | simple")
    named = replace(table, sections=(replace(first, heading="Task | A", lines=(line,)),))

    head, rule, row, *_ = render.to_markdown(named).splitlines()

    assert head.startswith("| Task \\| A ")
    assert row.startswith("| Plain \\| simple ")
    assert {text.replace("\\|", "").count("|") for text in (head, rule, row)} == {8}


def test_without_records_published_values_keep_their_digits_and_no_unit_is_told(
    suite: Suite, tmp_path: Path
) -> None:
    entry = Entry(label="x", during=Number(value=0.00422), final=Number(value=99.9), where="")
    ledger = published.Ledger(source="A paper", margin=0.002, rows={"a/plain": entry})

    table = tables.collect(suite, Store(tmp_path / "none"), ledger)

    text = render.to_markdown(table)
    assert " 0.00422 |" in text
    assert " 99.90 |" in text
    assert "0.00422 / 99.90" in _rich(table, 160)
    assert "mean score right after" in text


def test_margins_of_single_rows_are_told(suite: Suite, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "ledger.yaml"
    path.write_text(LEDGER.replace("    where: Table 1\n", "    where: Table 1\n    margin: 2.5\n"))

    text = render.to_markdown(tables.collect(suite, store, published.load(path)))
    of_b = render.to_markdown(
        tables.collect(suite, store, published.load(path), rows=suite.rows[2:])
    )

    assert "within 1 of our mean (rows with a margin of their own: a/plain 2.5); better" in text
    assert "within 1 of our mean; better" in of_b


def test_streams_have_columns_of_their_own(tmp_path: Path) -> None:
    text = (
        suite_files.of_toys("""\
tasks:
  a: {label: Task A, family: pictures}
methods:
  plain: {label: Plain, learner: plain, expect: {online_accuracy: '>= 40'}}
""")
        .replace("task-il", "task-free")
        .replace("iterations", "batch_size: 1, iterations")
    )
    suite, store = suite_files.load(tmp_path, text), Store(tmp_path / "results")
    online = Online(
        loss=(1.0,) * 4,
        score=(10.0, 30.0, 50.0, 90.0),
        plasticity=(0.5, 0.25, 0.0, 0.25),
        first_score=(0.0,) * 4,
    )
    for config in suite.rows[0].cells[:1]:
        record = records.good(config)
        assert record.result is not None
        nothing = ((None,) * 4,) * 4
        result = record.result.model_copy(
            update={"online": online, "R": nothing, "initial": nothing[0]}
        )
        store.put(record.model_copy(update={"result": result}))
    found = tables.collect(
        suite,
        store,
        published.Ledger(
            source="A paper",
            margin=1.0,
            rows={
                "a/plain": Entry(
                    label="x", online=Number(value=45.5), where="", not_comparable="other data"
                )
            },
        ),
    )

    lines = render.to_markdown(found).splitlines()
    (values,) = json.loads(render.to_json(found))
    wide, narrow, narrowest = (_rich(found, width) for width in (160, 100, 60))

    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == [
        "Task A", "online", "last task", "plasticity", "forgetting", "n", "published online", "verdict",
    ]  # fmt: skip
    assert [cell.strip() for cell in lines[2].strip("|").split("|")] == [
        "Plain", "45.00", "90.00", "0.2500", "-50.00", "1", "45.50", "not comparable (1 of 3 seeds)",
    ]  # fmt: skip
    assert lines[-1] == "not comparable: other data."
    assert ["off by one" in text for text in (wide, narrow, narrowest)] == [True, False, False]
    assert ["plasticity:" in text for text in (wide, narrow, narrowest)] == [True, True, False]
    for text in (wide, narrow, narrowest):
        assert "last task" in text
        assert "Plain " in text
    assert (values["online_accuracy"], values["published_online"]) == (45.0, 45.5)
    assert (values["during_accuracy"], values["verdict"]) == (None, "not comparable")
    (check,) = gate.judge(suite.rows, store)
    assert check.status == "holds"


def test_what_is_better_by_more_than_the_margin_is_not_reproduced_by_scatter(
    suite: Suite, ledger: published.Ledger, tmp_path: Path
) -> None:
    store = Store(tmp_path / "better")
    store.put(records.good(suite.rows[0].cells[0], diagonal=99.5, last=97.0))

    line = tables.collect(suite, store, ledger, seeds=(1,)).lines[0]

    assert (line.verdict, line.is_by_interval) == ("reproduced", False)  # final alone is better


def test_a_row_that_scatter_alone_reproduces_says_so(
    suite: Suite, ledger: published.Ledger, tmp_path: Path
) -> None:
    near, far, below = (Store(tmp_path / name) for name in ("near", "far", "below"))
    for store, values in ((near, (92.0, 93.5)), (far, (70.0, 90.0)), (below, (70.0, 70.1))):
        for config, value in zip(suite.rows[0].cells, values, strict=False):
            store.put(records.good(config, diagonal=99.5, last=value))

    found = [tables.collect(suite, store, ledger, seeds=(1, 2)) for store in (near, far, below)]

    told = ["by its interval alone: it is not" in render.to_markdown(one) for one in found]
    assert [columns.VERDICT.text(table.lines[0]) for table in found] == [
        "reproduced",
        "reproduced (by its interval alone)",
        "below",
    ]
    assert told == [False, True, False]
    for view in (columns.DEFAULT, columns.View((columns.VERDICT,))):
        values = [render.objects(table, view)[0] for table in found]
        assert [(one["verdict"], one["by_interval"]) for one in values] == [
            ("reproduced", False), ("reproduced", True), ("below", False),
        ]  # fmt: skip
    (first, *_) = csv.DictReader(io.StringIO(render.to_csv(found[1])))
    assert first["by_interval"] == "True"


def test_each_row_has_the_digits_of_its_own_metric(suite: Suite, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    records.put(store, suite.rows[0].cells, 90.0)
    record = records.good(suite.rows[2].cells[0], diagonal=0.0042, last=0.0042)
    assert record.result is not None
    metric = MetricInfo(name="mse", unit="m", better="lower")
    result = record.result.model_copy(update={"metric": metric})
    store.put(record.model_copy(update={"result": result}))

    table = tables.collect(suite, store, None)
    text = render.to_markdown(table)

    assert "| 90.00 " in text.replace("  ", " ").replace("  ", " ")
    assert "| 0.00420 |" in text
    assert table.unit == ""
    assert "during: mean score right after" in text


def test_several_reasons_why_rows_cannot_be_compared_stand_with_their_rows(
    suite: Suite, store: Store
) -> None:
    other = suite.rows[1]
    records.put(store, other.cells, 70.0)
    entries = {
        key: Entry(label="x", final=Number(value=90), where="", not_comparable=why)
        for key, why in (("a/plain", "other data"), (other.key, "a smaller net"))
    }
    table = tables.collect(suite, store, published.Ledger(source="x", margin=1.0, rows=entries))

    assert render.to_markdown(table).splitlines()[-3::2] == [
        "not comparable: a/plain: other data.",
        f"not comparable: {other.key}: a smaller net.",
    ]
