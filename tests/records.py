"""Records made up for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import toys

from clbench.config import CellConfig
from clbench.records import Failure, MetricInfo, Provenance, Record, Result, Timing
from clbench.store import Store


def good(config: CellConfig | None = None, diagonal: float = 99.0, last: float = 90.0) -> Record:
    """A record of three tasks with a during accuracy and a final accuracy."""
    rows = ((diagonal, 50.0, 50.0), (70.0, diagonal, 50.0))
    total = 3 * last - diagonal
    return Record(
        status="ok",
        config=config or toys.config(),
        result=Result(
            metric=MetricInfo(name="accuracy", unit="%", better="higher"),
            R=(*rows, (total / 2, total / 2, diagonal)),
            initial=(50.0, 50.0, 50.0),
            curves=(),
            num_parameters={"trained": 102, "main_net": 102},
            iterations=60,
        ),
        timing=Timing(data=0.1, train=60.0, consolidate=0.0, evaluate=0.0, total=60.1),
    )


def bad(
    config: CellConfig | None = None,
    status: Any = "failed",
    where: str = "",
    message: str = "no reason",
) -> Record:
    """A record without a result."""
    failure = Failure(type="ValueError", message=message, traceback="Traceback ...", where=where)
    return Record(status=status, config=config or toys.config(), failure=failure)


def put(
    store: Store, cells: Iterable[CellConfig], *last: float, made: Callable[..., Record] = good
) -> None:
    """Keep good records of the first of these cells, with these final accuracies."""
    for config, value in zip(cells, last, strict=False):
        store.put(made(config, last=value))


def provenance(**changes: Any) -> Provenance:
    """Made for a/plain of a suite called toy."""
    values: dict[str, Any] = {
        "suite": "toy",
        "row": "a/plain",
        "started": "2026-01-01T00:00:00+00:00",
        "commit": "0123456789abcdef",
        "dirty": False,
        "packages": {"torch": "2.13.0"},
        "python": "3.11.7",
        "platform": "Linux",
        "cpu": "One",
        "device": "cpu",
        "threads": 1,
        "peak_memory_mib": 1.0,
    }
    return Provenance(**(values | changes))
