"""The page: its numbers are the table's, it stands alone, and nothing in it is code."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import browser
import pytest
import records
import suite_files
from reports import LEDGER, TEXT, Html, full, gather

from clbench import columns, tables
from clbench.records import MetricInfo, Online
from clbench.report import page
from clbench.report.figures import Heat
from clbench.store import Store
from clbench.suite import Suite


def test_the_numbers_of_the_page_are_those_of_the_table(suite: Suite, store: Store) -> None:
    found = Html(page.to_html(gather(suite, store)))

    table = tables.collect(suite, store, LEDGER)
    shown = {one.heading: one.text for one in columns.wide(table)}
    for section in table.sections:
        head, *rows = found.tables[f"Results of {section.heading}"]
        lines = [line for line in section.lines if not line.status.startswith("excluded")]
        assert head == ["method", *shown]
        assert [row[1:] for row in rows] == [
            [cell(line) for cell in shown.values()] for line in lines
        ]
    plain = found.tables["Results of Task A"][1]
    assert plain[:4] == ["method 1 Plain 100 %", "99.00 ±0.00", "90.00 ±2.48", "3"]
    assert found.tables["Cost of Task A"][1] == [
        "method 1 Plain 100 %", "90.00 ±2.48", "1.0", "102", "321",
    ]  # fmt: skip


def test_what_was_published_is_told_with_the_records_of_a_row(suite: Suite, store: Store) -> None:
    assert "<p>Published: final 93; as Plain; Table 1.</p>" in page.to_html(gather(suite, store))


def test_the_top_counts_rows_by_what_became_of_them(suite: Suite, store: Store) -> None:
    found = gather(suite, store)

    assert dict(found.counts) == {
        "measured": 2,
        "reproduced": 0,
        "below": 1,
        "nothing published": 1,
        "incomplete": 1,
        "with a failure": 1,
        "without a result": 1,
        "excluded": 1,
    }


def test_a_row_whose_seeds_have_failed_in_two_ways_is_counted_once(
    suite: Suite, store: Store
) -> None:
    store.put(records.bad(suite.rows[1].cells[2], "timed-out"))

    assert gather(suite, store).counts["with a failure"] == 1


def test_what_is_reproduced_by_its_interval_alone_is_counted_apart(
    suite: Suite, store: Store
) -> None:
    for config, last in zip(suite.rows[0].cells, (75.0, 85.0, 92.0), strict=True):
        store.put(full(config, last))

    found = gather(suite, store).counts

    assert (found["reproduced"], found["reproduced by its interval alone"]) == (0, 1)


def test_the_matrix_is_the_mean_over_seeds_and_coloured_from_0_to_100(
    suite: Suite, store: Store
) -> None:
    found = gather(suite, store)

    heat = found.parts[0].groups[0].figures[0].body
    assert isinstance(heat, Heat)
    assert heat.cells[0] == (("99.0", 0.98), ("50.0", 0.0), ("50.0", 0.0))
    rows = Html(page.to_html(found)).tables["Accuracy matrices of Task A, Plain 100 %"]
    assert rows[0] == ["after learning task", "on task 1", "on task 2", "on task 3"]
    assert rows[3] == ["3", "85.5", "85.5", "99.0"]  # (3 x 90 - 99) / 2


def test_plots_say_what_they_show(suite: Suite, store: Store) -> None:
    found = Html(page.to_html(gather(suite, store)))

    assert (
        "accuracy of each task, Plain 100 %. task 1: from 99 to 85.5; task 2: from 99 to 85.5; "
        "task 3: from 99 to 99"
    ) in found.plots
    assert (
        "training accuracy, Plain 100 %. task 1: from 60 to 90; task 2: from 60 to 90; "
        "task 3: from 60 to 90"
    ) in found.plots
    assert (
        "active_h1: fraction of activity that is not 0. Plain 100 %: from 0.5 to 0.9; "
        "<script>alert(1)</script>: from 0.5 to 0.8"
    ) in found.plots
    assert "task embeddings, Plain 100 %. 1: -5, 0; 2: 0, 0; 3: 5, 0" in found.plots
    assert "component 1, 100 % of variance" in found.words


def test_several_seeds_have_a_band_and_one_has_none(suite: Suite, store: Store) -> None:
    three = page.to_html(gather(suite, store))
    one = page.to_html(gather(suite, store, seeds=(1,)))

    assert 'class="band"' in three
    assert 'class="band"' not in one
    assert 'class="line"' in one


def test_what_failed_is_missing_or_is_excluded_stands_there_with_its_reason(
    suite: Suite, store: Store
) -> None:
    found = Html(page.to_html(gather(suite, store)))

    words = " ".join(found.words.split())
    assert "seed 2: failed, ValueError: 1 < 2" in words
    assert 'File "x" & <module>' in words
    assert "Excluded by the suite: 1 <script>alert(1)</script>: undefined & odd there" in words
    head, _, other = found.tables["Results of Task A"]
    (nothing,) = found.tables["Results of Task B"][1:]
    verdict = head.index("verdict")
    assert other[verdict] == "1 of 3 seeds, others failed: ValueError, missing"
    assert nothing[verdict] == "missing"


def test_where_records_are_from_and_how_they_were_made_stands_there(
    suite: Suite, store: Store
) -> None:
    found = Html(page.to_html(gather(suite, store)))

    first = suite.rows[0].cells[0]
    assert found.tables["Records of Task A, Plain 100 %"][1] == [
        *("1", "42", first.id, "ok", "60", "1.0", "2026-01-02T03:04:05+00:00"),
        *("0123456789, changed", "A processor", "cpu, 1", "toy a/plain"),
    ]
    assert "seed 1: a checkpoint could not be read" in found.words
    assert "learning_rate: 0.1" in found.words
    assert "torch 2.13.0" in found.words


def test_software_is_told_once_whatever_the_order_of_its_packages(
    suite: Suite, store: Store
) -> None:
    entry = gather(suite, store).parts[0].shown[0]
    both = {"numpy": "2.0", "torch": "2.13.0"}
    orders = (both, dict(reversed(both.items())))
    made = [
        records.good().model_copy(update={"provenance": records.provenance(packages=packages)})
        for packages in orders
    ]

    software = replace(entry, records=dict(enumerate(made))).software

    assert software == ["Linux\nPython 3.11.7\nnumpy 2.0\ntorch 2.13.0"]


def test_nothing_from_a_suite_or_a_record_becomes_code(suite: Suite, store: Store) -> None:
    text = page.to_html(gather(suite, store))
    found = Html(text)

    assert found.tags.count("script") == 1
    assert "b" not in found.tags
    assert "module" not in found.tags
    assert "Which is <b>best</b>?" in found.words
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", "", text)


def test_the_page_refers_to_nothing_outside_itself(suite: Suite, store: Store) -> None:
    text = page.to_html(gather(suite, store))

    assert {link for link in Html(text).links if not link.startswith("#")} == {"data:,"}
    assert "://" not in text
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in text


def test_a_method_keeps_its_number_and_colour_from_section_to_section(tmp_path: Path) -> None:
    methods = "".join(f"  m{k}: {{learner: plain}}\n" for k in range(1, 11))
    both = "tasks:\n  a: {label: A, family: pictures}\n  b: {label: A, family: pictures, num_tasks: 2}\n"
    head = TEXT.split("tasks:")[0]
    text = f"{head}{both}methods:\n{methods}exclude:\n  - {{method: m1, task: a, why: x}}\n"
    suite = suite_files.load(tmp_path, text)

    (part,) = gather(suite, Store(tmp_path / "results")).parts

    first, tenth, only, again = (part.shown[k] for k in (0, 8, 9, 11))
    assert (first.mark, first.colour, first.dash) == ("2", "var(--k1)", 0)
    assert (tenth.mark, tenth.colour, tenth.dash) == ("10", "var(--k1)", 1)
    assert (only.line.key, only.mark, only.dash) == ("b/m1", "1", 0)
    assert (again.line.key, again.mark, again.dash) == ("b/m3", "3b", 1)


def test_a_reduced_budget_is_said_in_the_title(suite: Suite, store: Store) -> None:
    quick = suite.rows[0].cells[0].model_copy(update={"budget": 0.1})
    store.put(full(quick, 70.0))

    found = Html(page.to_html(gather(suite, store, budget=0.1)))

    assert "A toy suite: 10 % budget, a quick look" in found.words
    row = found.tables["Results of Task A"][1]
    assert row[1:4] == ["99.00", "70.00", "1"]
    matrix = found.tables["Accuracy matrices of Task A, Plain 100 %"]
    assert matrix[3] == ["3", "55.5", "55.5", "99.0"]  # (3 x 70 - 99) / 2
    assert found.tables["Records of Task A, Plain 100 %"][1][2:4] == [quick.id, "ok"]


def test_an_empty_results_folder_gives_a_page_of_missing_rows(suite: Suite, tmp_path: Path) -> None:
    found = Html(page.to_html(gather(suite, Store(tmp_path / "nothing"))))

    head, *rows = found.tables["Results of Task A"]
    assert [row[head.index("verdict")] for row in rows] == ["missing", "missing"]
    assert found.plots == []


def test_lower_is_better_makes_small_scores_strong_on_a_logarithmic_scale(
    suite: Suite, tmp_path: Path
) -> None:
    store = Store(tmp_path / "results")
    matrix = ((0.001, 1.0), (0.1, 0.001))
    metric = MetricInfo(name="mse", unit="", better="lower")
    config = suite.rows[0].cells[0]
    store.put(full(config, 90.0, R=matrix, initial=(1.0, 1.0), metric=metric))

    found = gather(suite, store, seeds=(1,))

    part = found.parts[0]
    heat = part.groups[0].figures[0].body
    assert isinstance(heat, Heat)
    assert [text for text, _ in heat.cells[0]] == ["0.001", "1"]
    assert [place for _, place in heat.cells[0]] == pytest.approx([1.0, 0.0])
    assert heat.cells[1][0][1] == pytest.approx(1 / 3)
    (span,) = part.spans
    assert span.change == "+0.04950"
    assert span.start < span.end
    assert "mse, logarithmic" in Html(page.to_html(found)).words


def test_streams_show_online_scores_and_no_matrix(tmp_path: Path) -> None:
    text = (
        suite_files.of_toys("""\
tasks:
  a: {label: Task A, family: pictures}
methods:
  plain: {label: Plain, learner: plain}
""")
        .replace("task-il", "task-free")
        .replace("iterations", "batch_size: 1, iterations")
    )
    suite, store = suite_files.load(tmp_path, text), Store(tmp_path / "results")
    online = Online(loss=(2.0, 1.0), score=(10.0, 30.0), plasticity=(0.5, 0.25))
    empty = ((None, None), (None, None))
    for config in suite.rows[0].cells:
        norms = {"weight_l2": (4.0, 5.0)}
        changes = {"R": empty, "initial": empty[0], "statistics": norms, "artefacts": {}}
        store.put(full(config, 90.0, online=online, **changes))

    found = Html(page.to_html(gather(suite, store)))

    assert found.plots == [
        "online accuracy. Plain: from 10 to 30",
        "online loss. Plain: from 2 to 1",
        "plasticity. Plain: from 0.5 to 0.25",
        "weight_l2: norm of the weights. Plain: from 4 to 5",
    ]
    assert found.tables["Cost of Task A"][1][1] == "20.00 ±0.00"
    assert list(found.tables) == ["Results of Task A", "Cost of Task A", "Records of Task A, Plain"]


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_it_without_complaints_on_a_phone_and_by_keyboard(
    suite: Suite, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page.to_html(gather(suite, store)), encoding="utf-8")

    with browser.page(tmp_path / "profile") as shown:
        shown.open(path, width=390, scheme="dark")
        shown.run("document.getElementById('unfold').click()")
        widths = shown.run("[document.documentElement.scrollWidth, innerWidth]")
        dark = shown.run("getComputedStyle(document.body).backgroundColor")
        shown.press("Tab")
        focus = shown.run("document.activeElement.id")
        shown.press("Enter", "\r")
        pressed = shown.run("document.activeElement.getAttribute('aria-pressed')")
        light = shown.run("getComputedStyle(document.body).backgroundColor")
        shown.press(" ", " ")
        again = shown.run("getComputedStyle(document.body).backgroundColor")

    assert widths[0] <= widths[1] == 390
    assert (focus, pressed) == ("theme", "false")
    assert dark == again != light
    assert shown.complaints == []
