"""The rows of a table that have no record of their own."""

from __future__ import annotations

from pathlib import Path

import records
import suite_files

from clbench import columns, tables
from clbench.published import Entry, Ledger, Number
from clbench.records import MetricInfo
from clbench.store import Store

TEXT = suite_files.of_toys("""\
tasks:
  b: {family: echoes}
methods:
  plain: {learner: plain}
  other: {learner: generated}
""")


def test_a_row_without_a_record_has_digits_and_direction_of_those_that_have_one(
    tmp_path: Path,
) -> None:
    suite, store = suite_files.load(tmp_path, TEXT), Store(tmp_path / "results")
    record = records.good(suite.rows[0].cells[0], diagonal=0.0042, last=0.0042)
    assert record.result is not None
    metric = MetricInfo(name="mse", unit="", better="lower")
    result = record.result.model_copy(update={"metric": metric})
    store.put(record.model_copy(update={"result": result}))
    entry = Entry(label="x", final=Number(value=0.004), where="")

    table = tables.collect(suite, store, Ledger(source="x", margin=1.0, rows={"b/other": entry}))

    line = table.lines[1]
    (published,) = columns.choose(table, ["published_final"])
    assert (line.key, line.status) == ("b/other", "missing")
    assert (line.decimals, line.better, published.text(line)) == (5, "lower", "0.00400")
