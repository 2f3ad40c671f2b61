"""The HTML report: its numbers are the table's, it stands alone, and nothing in it is code."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import browser
import pytest
import records
import toys
from typer.testing import CliRunner

from clbench import columns, published, tables
from clbench.cli import app
from clbench.config import CellConfig
from clbench.errors import ClbenchError
from clbench.records import Curve, Failure, MetricInfo, Online, Provenance, Record
from clbench.report import contents, page, plots, summaries
from clbench.report.contents import Contents
from clbench.report.figures import Heat
from clbench.report.plots import Series
from clbench.store import Store
from clbench.suite import Suite, load

TEXT = """\
suite: toy
title: A toy suite
question: Which is <b>best</b>?
source: A paper & its code
scenario: task-il
seeds: [1, 2, 3]
defaults:
  model: linear
  training: {iterations: 10, learning_rate: 0.1}
tasks:
  a: {label: Task A, family: pictures}
  b: {label: Task B, family: echoes}
methods:
  plain: {label: Plain 100 %, learner: plain}
  other: {label: "<script>alert(1)</script>", learner: generated}
exclude:
  - {method: other, task: b, why: undefined & odd there}
"""

LEDGER = published.Ledger.model_validate(
    {
        "source": "A paper",
        "margin": 1.0,
        "rows": {"a/plain": {"label": "Plain", "final": {"value": 93.0}, "where": "Table 1"}},
    }
)

ROOT = Path(__file__).parent.parent


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    path = tmp_path / "toy.yaml"
    path.write_text(TEXT)
    return load(path, toys.registry())


@pytest.fixture
def store(tmp_path: Path, suite: Suite) -> Store:
    """Three good seeds of a/plain; one good, one failed and none of a/other; none of b/plain."""
    store = Store(tmp_path / "results")
    plain, other = suite.rows[0], suite.rows[1]
    for config, last in zip(plain.cells, (89.0, 90.0, 91.0), strict=True):
        store.put(_full(config, last))
    store.put(_full(other.cells[0], 80.0))
    failure = Failure(type="ValueError", message="1 < 2", traceback='File "x" & <module>')
    store.put(Record(status="failed", config=other.cells[1], failure=failure))
    return store


def _full(config: CellConfig, last: float, **changes: Any) -> Record:
    """A record with whatever a report shows."""
    curve = {"iterations": (5, 10), "loss": (1.0, 0.5), "score": (60.0, last)}
    values = {
        "curves": tuple(Curve(task=k, **curve) for k in range(3)),
        "statistics": {"active_h1": (0.5, 0.25, last / 100)},
        "artefacts": {"task_embeddings": ((0.0, 0.0, 0.0), (3.0, 0.0, 4.0), (6.0, 0.0, 8.0))},
    }
    record = records.good(config, last=last)
    assert record.result is not None
    return record.model_copy(
        update={
            "result": record.result.model_copy(update=values | changes),
            "provenance": Provenance(
                suite="toy",
                row="a/plain",
                started="2026-01-02T03:04:05+00:00",
                commit="0123456789abcdef",
                dirty=True,
                packages={"torch": "2.13.0"},
                python="3.12",
                platform="Linux",
                cpu="A processor",
                device="cpu",
                threads=1,
                peak_memory_mib=321.0,
                notes=("a checkpoint could not be read",),
            ),
        }
    )


def _gather(
    suite: Suite, store: Store, seeds: Sequence[int] = (1, 2, 3), budget: float = 1.0
) -> Contents:
    table = tables.collect(suite, store, LEDGER, seeds=seeds, budget=budget)
    return contents.gather(suite, suite.rows, seeds, table, store)


@dataclass
class Html(HTMLParser):
    """What a browser would make of a page, as far as the tests ask.

    Attributes:
        tables: Caption -> rows -> texts of the cells.
        captions: Of the figures, in order.
        plots: What is said of each plot to those who cannot see it.
        tags: Names of all elements.
        links: What the page refers to.
        words: All text but style and script.
    """

    text: str
    tables: dict[str, list[list[str]]] = field(default_factory=dict)
    captions: list[str] = field(default_factory=list)
    plots: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    words: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._rows: list[list[str]] = []
        self._open: list[tuple[str, list[str]]] = []
        self.feed(self.text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append(tag)
        self.links += [values[name] for name in ("href", "src", "action", "data") if name in values]
        if tag == "svg":
            self.plots.append(values["aria-label"])
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in ("th", "td", "caption", "figcaption", "style", "script"):
            self._open.append((tag, []))

    def handle_data(self, data: str) -> None:
        for _, parts in self._open:
            parts.append(data)
        if not any(tag in ("style", "script") for tag, _ in self._open):
            self.words += data

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open[-1][0] != tag:
            return
        text = " ".join("".join(self._open.pop()[1]).split())
        if tag in ("th", "td"):
            self._rows[-1].append(text)
        elif tag == "caption":
            self.tables[text] = self._rows
        elif tag == "figcaption":
            self.captions.append(text)


def test_the_numbers_of_the_page_are_those_of_the_table(suite: Suite, store: Store) -> None:
    found = Html(page.to_html(_gather(suite, store)))

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


def test_the_top_counts_rows_by_what_became_of_them(suite: Suite, store: Store) -> None:
    found = _gather(suite, store)

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


def test_the_matrix_is_the_mean_over_seeds_and_coloured_from_0_to_100(
    suite: Suite, store: Store
) -> None:
    found = _gather(suite, store)

    heat = found.parts[0].groups[0].figures[0].body
    assert isinstance(heat, Heat)
    assert heat.cells[0] == (("99.0", 0.98), ("50.0", 0.0), ("50.0", 0.0))
    rows = Html(page.to_html(found)).tables["Accuracy matrices of Task A, Plain 100 %"]
    assert rows[0] == ["after learning task", "on task 1", "on task 2", "on task 3"]
    assert rows[3] == ["3", "85.5", "85.5", "99.0"]  # (3 x 90 - 99) / 2


def test_plots_say_what_they_show(suite: Suite, store: Store) -> None:
    found = Html(page.to_html(_gather(suite, store)))

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
    three = page.to_html(_gather(suite, store))
    one = page.to_html(_gather(suite, store, seeds=(1,)))

    assert 'class="band"' in three
    assert 'class="band"' not in one
    assert 'class="line"' in one


def test_what_failed_is_missing_or_is_excluded_stands_there_with_its_reason(
    suite: Suite, store: Store
) -> None:
    found = Html(page.to_html(_gather(suite, store)))

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
    found = Html(page.to_html(_gather(suite, store)))

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
    entry = _gather(suite, store).parts[0].shown[0]
    both = {"numpy": "2.0", "torch": "2.13.0"}
    orders = (both, dict(reversed(both.items())))
    made = [
        records.good().model_copy(update={"provenance": records.provenance(packages=packages)})
        for packages in orders
    ]

    software = replace(entry, records=dict(enumerate(made))).software

    assert software == ["Linux\nPython 3.11.7\nnumpy 2.0\ntorch 2.13.0"]


def test_nothing_from_a_suite_or_a_record_becomes_code(suite: Suite, store: Store) -> None:
    text = page.to_html(_gather(suite, store))
    found = Html(text)

    assert found.tags.count("script") == 1
    assert "b" not in found.tags
    assert "module" not in found.tags
    assert "Which is <b>best</b>?" in found.words
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "alert(1)" not in re.sub(r"&lt;script&gt;alert\(1\)&lt;/script&gt;", "", text)


def test_the_page_refers_to_nothing_outside_itself(suite: Suite, store: Store) -> None:
    text = page.to_html(_gather(suite, store))

    assert {link for link in Html(text).links if not link.startswith("#")} == {"data:,"}
    assert "://" not in text
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in text


def test_a_method_keeps_its_number_and_colour_from_section_to_section(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    methods = "".join(f"  m{k}: {{learner: plain}}\n" for k in range(1, 11))
    both = "tasks:\n  a: {label: A, family: pictures}\n  b: {label: A, family: pictures, num_tasks: 2}\n"
    head = TEXT.split("tasks:")[0]
    path.write_text(
        f"{head}{both}methods:\n{methods}exclude:\n  - {{method: m1, task: a, why: x}}\n"
    )
    suite = load(path, toys.registry())

    (part,) = _gather(suite, Store(tmp_path / "results")).parts

    first, tenth, only, again = (part.shown[k] for k in (0, 8, 9, 11))
    assert (first.mark, first.colour, first.dash) == ("2", "var(--k1)", 0)
    assert (tenth.mark, tenth.colour, tenth.dash) == ("10", "var(--k1)", 1)
    assert (only.line.key, only.mark, only.dash) == ("b/m1", "1", 0)
    assert (again.line.key, again.mark, again.dash) == ("b/m3", "3b", 1)


def test_a_reduced_budget_is_said_in_the_title(suite: Suite, store: Store) -> None:
    quick = suite.rows[0].cells[0].model_copy(update={"budget": 0.1})
    store.put(_full(quick, 70.0))

    found = Html(page.to_html(_gather(suite, store, budget=0.1)))

    assert "A toy suite: 10 % budget, a quick look" in found.words
    row = found.tables["Results of Task A"][1]
    assert row[1:4] == ["99.00", "70.00", "1"]
    matrix = found.tables["Accuracy matrices of Task A, Plain 100 %"]
    assert matrix[3] == ["3", "55.5", "55.5", "99.0"]  # (3 x 70 - 99) / 2
    assert found.tables["Records of Task A, Plain 100 %"][1][2:4] == [quick.id, "ok"]


def test_an_empty_results_folder_gives_a_page_of_missing_rows(suite: Suite, tmp_path: Path) -> None:
    found = Html(page.to_html(_gather(suite, Store(tmp_path / "nothing"))))

    head, *rows = found.tables["Results of Task A"]
    assert [row[head.index("verdict")] for row in rows] == ["missing", "missing"]
    assert found.plots == []


def test_lower_is_better_makes_small_scores_strong_on_a_logarithmic_scale(tmp_path: Path) -> None:
    path = tmp_path / "toy.yaml"
    path.write_text(TEXT)
    suite, store = load(path, toys.registry()), Store(tmp_path / "results")
    matrix = ((0.001, 1.0), (0.1, 0.001))
    metric = MetricInfo(name="mse", unit="", better="lower")
    config = suite.rows[0].cells[0]
    store.put(_full(config, 90.0, R=matrix, initial=(1.0, 1.0), metric=metric))

    found = _gather(suite, store, seeds=(1,))

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
    path = tmp_path / "stream.yaml"
    path.write_text(
        TEXT.split("methods:")[0]
        .replace("task-il", "task-free")
        .replace("  b: {label: Task B, family: echoes}\n", "")
        + "methods:\n  plain: {label: Plain, learner: plain}\n"
    )
    suite, store = load(path, toys.registry()), Store(tmp_path / "results")
    online = Online(loss=(2.0, 1.0), score=(10.0, 30.0), plasticity=(0.5, 0.25))
    empty = ((None, None), (None, None))
    for config in suite.rows[0].cells:
        norms = {"weight_l2": (4.0, 5.0)}
        changes = {"R": empty, "initial": empty[0], "statistics": norms, "artefacts": {}}
        store.put(_full(config, 90.0, online=online, **changes))

    found = Html(page.to_html(_gather(suite, store)))

    assert found.plots == [
        "online accuracy. Plain: from 10 to 30",
        "online loss. Plain: from 2 to 1",
        "plasticity. Plain: from 0.5 to 0.25",
        "weight_l2: norm of the weights. Plain: from 4 to 5",
    ]
    assert found.tables["Cost of Task A"][1][1] == "20.00 ±0.00"
    assert list(found.tables) == ["Results of Task A", "Cost of Task A", "Records of Task A, Plain"]


@pytest.mark.parametrize(
    ("values", "unit", "low", "high", "is_log", "ticks"),
    [
        ([20.0, 99.0], "%", 0, 100, False, [0, 20, 40, 60, 80, 100]),
        ([51.0, 99.0], "%", 50, 100, False, [50, 60, 70, 80, 90, 100]),
        ([0.0, 3.7], "", 0, 4, False, [0, 1, 2, 3, 4]),
        ([0.02, 30.0], "", 0.01, 100, True, [0.01, 0.1, 1, 10, 100]),
        ([2.0, 2.0], "", 0, 2, False, [0, 0.5, 1, 1.5, 2]),
        ([0.0], "", 0, 1, False, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        ([-1.0, -1.0], "", -1, 0, False, [-1, -0.8, -0.6, -0.4, -0.2, 0]),
    ],
)
def test_axes_are_round_and_logarithmic_where_values_differ_widely(
    values: list[float], unit: str, low: float, high: float, is_log: bool, ticks: list[float]
) -> None:
    axis = plots.axis(values, unit)

    assert (axis.low, axis.high, axis.is_log) == (pytest.approx(low), pytest.approx(high), is_log)
    assert axis.ticks() == pytest.approx(ticks)


def test_a_logarithmic_axis_has_equal_steps_for_equal_ratios() -> None:
    axis = plots.axis([0.01, 100.0])

    assert [axis.fraction(value) for value in (0.01, 1, 100)] == pytest.approx([0, 0.5, 1])


@pytest.mark.parametrize(
    ("value", "text"),
    [(20_000, "20k"), (1.5e6, "1.5M"), (0.05, "0.05"), (0, "0"), (1e-17, "0"), (-3.0, "-3")],
)
def test_numbers_at_axes_are_short(value: float, text: str) -> None:
    assert plots.number(value) == text


def test_marks_at_the_ends_of_lines_are_kept_apart_and_inside() -> None:
    ends = (99.0, 99.0, 99.0, 1.0, 1.0)
    series = [
        Series(f"line {k}", f"<{k}>", "red", 0, ((1.0, 50.0), (2.0, y))) for k, y in enumerate(ends)
    ]

    svg = plots.lines(series, title="t", x_label="x", y_label="y", y_axis=plots.axis(ends, "%"))

    marks = re.findall(r'class="mark" x="[\d.]+" y="([\d.]+)">&lt;(\d)&gt;', svg)
    heights = [float(y) for y, _ in marks]
    assert sorted(name for _, name in marks) == ["0", "1", "2", "3", "4"]
    assert min(b - a for a, b in pairwise(heights)) >= plots.MARK_HEIGHT - 0.1
    assert min(heights) >= plots.TOP
    assert max(heights) <= plots.HEIGHT - plots.BOTTOM + 4


def test_of_very_many_lines_some_marks_are_left_out() -> None:
    series = [Series("s", str(k), "red", 0, ((1.0, float(k)),)) for k in range(100)]

    svg = plots.lines(
        series, title="t", x_label="x", y_label="y", y_axis=plots.axis([0.0, 99.0], "%")
    )

    assert 10 <= svg.count('class="mark"') <= 15


def test_points_over_seeds_are_means_with_the_range_where_all_seeds_have_them() -> None:
    points, band = summaries.over_points([{1: 2.0, 2: 4.0, 3: 9.0}, {2: 8.0, 1: 0.0}])

    assert points == ((1, 1.0), (2, 6.0))
    assert band == ((1, 0.0, 2.0), (2, 4.0, 8.0))
    assert summaries.over_points([{1: 2.0}]) == (((1, 2.0),), ())
    assert summaries.over_points([]) == ((), ())


def test_means_of_matrices_need_every_seed() -> None:
    assert summaries.matrix_means([((1.0, None),), ((3.0, 4.0),)]) == [[2.0, None]]


def test_the_principal_plane_keeps_distances_of_what_lies_in_a_plane() -> None:
    points, shares = summaries.principal_plane([(0, 0, 0), (6, 0, 8), (3, 1, 4), (3, -1, 4)])

    assert points == [
        pytest.approx(point, abs=1e-9) for point in [(-5, 0), (5, 0), (0, 1), (0, -1)]
    ]
    assert shares == pytest.approx((50 / 52, 2 / 52))


def test_fewer_than_three_embeddings_have_a_plane_too() -> None:
    assert summaries.principal_plane([(1.0,)]) == ([(0.0, 0.0)], (0.0, 0.0))


def _tiny(folder: Path) -> Path:
    path = folder / "tiny.yaml"
    path.write_text((ROOT / "suites/guard.yaml").read_text().replace("suite: guard", "suite: tiny"))
    return path


def test_the_command_writes_a_page_named_after_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _tiny(tmp_path)
    monkeypatch.chdir(tmp_path)

    first = CliRunner().invoke(app, ["report", str(path), "--only", "si"])
    second = CliRunner().invoke(app, ["report", str(path), "-o", "other.html"])

    assert first.exit_code == second.exit_code == 0, first.output
    head, *rows = Html(Path("tiny-report.html").read_text()).tables["Results of permuted"]
    assert [row[0] for row in rows] == ["method 4 si"]
    assert len(Html(Path("other.html").read_text()).tables["Results of permuted"]) == 10
    assert head[0] == "method"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["report", str(_tiny(tmp_path)), "-o", str(tmp_path)])

    assert isinstance(result.exception, ClbenchError)
    assert str(result.exception) == f"cannot write {tmp_path}: Is a directory"


def test_without_the_template_engine_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.delitem(sys.modules, "clbench.report.page")
    monkeypatch.delattr("clbench.report.page")

    result = CliRunner().invoke(app, ["report", str(_tiny(tmp_path))])

    assert isinstance(result.exception, ClbenchError)
    assert str(result.exception) == (
        "a report needs jinja2, which is not installed: pip install 'clbench[report]'"
    )


@pytest.mark.skipif(browser.CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_it_without_complaints_on_a_phone_and_by_keyboard(
    suite: Suite, store: Store, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    page.write(path, page.to_html(_gather(suite, store)))

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
