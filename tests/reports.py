"""Reports of a toy suite, and what stands on their pages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import records
import suite_files

from clbench import published, tables
from clbench.config import CellConfig
from clbench.records import Curve, Record
from clbench.report import contents
from clbench.report.contents import Contents
from clbench.store import Store
from clbench.suite import Suite

TEXT = suite_files.of_toys("""\
title: A toy suite
question: Which is <b>best</b>?
source: A paper & its code
tasks:
  a: {label: Task A, family: pictures}
  b: {label: Task B, family: echoes}
methods:
  plain: {label: Plain 100 %, learner: plain}
  other: {label: "<script>alert(1)</script>", learner: generated}
exclude:
  - {method: other, task: b, why: undefined & odd there}
""")

LEDGER = published.Ledger.model_validate(
    {
        "source": "A paper",
        "margin": 1.0,
        "rows": {"a/plain": {"label": "Plain", "final": {"value": 93.0}, "where": "Table 1"}},
    }
)


def full(config: CellConfig, last: float, **changes: Any) -> Record:
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
            "provenance": records.provenance(
                started="2026-01-02T03:04:05+00:00",
                dirty=True,
                cpu="A processor",
                peak_memory_mib=321.0,
                notes=("a checkpoint could not be read",),
            ),
        }
    )


def gather(
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
