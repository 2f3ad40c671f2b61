"""What a row says of its records, and how it is coloured."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import records
from reports import gather

from clbench.report import contents, page
from clbench.store import Store
from clbench.suite import Suite


def test_the_memory_of_a_row_is_that_of_its_largest_worker(suite: Suite, store: Store) -> None:
    entry = gather(suite, store).parts[0].shown[0]
    made = [records.provenance(peak_memory_mib=mib) for mib in (100.0, 300.0, None, 200.0)]
    found = [records.good().model_copy(update={"provenance": one}) for one in (*made, None)]

    assert replace(entry, records=dict(enumerate(found))).peak_memory == 300.0
    assert replace(entry, records=dict(enumerate(found[2:3]))).peak_memory is None


@pytest.mark.parametrize(
    ("changes", "tone"),
    [
        ({"verdict": "reproduced"}, "good"),
        ({"verdict": "reproduced", "is_by_interval": True}, "open"),
        ({"verdict": "better"}, "best"),
        ({"verdict": "below"}, "bad"),
        ({"verdict": "not comparable"}, "open"),
        ({"verdict": None}, "open"),
        ({"num_seeds": 0, "status": "missing"}, "open"),
        ({"num_seeds": 0, "status": "failed: OSError"}, "bad"),
        ({"num_seeds": 0, "status": "timed-out"}, "bad"),
        ({"num_seeds": 0, "status": "out-of-memory, missing"}, "bad"),
    ],
)
def test_a_row_is_coloured_by_its_verdict_or_by_what_keeps_it_from_one(
    changes: dict[str, Any], tone: str, suite: Suite, store: Store
) -> None:
    line = gather(suite, store).table.lines[0]

    assert page.tone(replace(line, **changes)) == tone


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, "+0.50"), (-0.5, "−0.50"), (0.004, "0.00"), (-0.004, "0.00")]
)
def test_a_difference_has_a_sign_unless_it_rounds_to_nothing(value: float, text: str) -> None:
    assert contents._difference(value, 2) == text
