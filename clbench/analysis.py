"""Records -> tidy values for analysis: what `clbench.load` gives."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from clbench.config import CellConfig, digest
from clbench.errors import ClbenchError, suggestion
from clbench.metrics import SUMMARIES, Aggregate, aggregate
from clbench.records import Record, Result
from clbench.store import Store

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SHOWN = 50
"""Outcomes that a notebook shows of a set."""


@dataclass(frozen=True)
class Outcome:
    """One cell: a method on a task with a seed, and what came of it.

    Attributes:
        suite: Name of the suite; empty where the record does not tell.
        task: Key of the task in the suite; the family where the record does not tell.
        method: Key of the method in the suite; the learner where the record does not tell.
        config: All that determines the result.
        record: What came of it; None where there is no record.
    """

    suite: str
    task: str
    method: str
    config: CellConfig
    record: Record | None

    @property
    def seed(self) -> int:
        """The model seed."""
        return self.config.seed

    @property
    def status(self) -> str:
        """That of the record, or ``missing``."""
        return self.record.status if self.record else "missing"

    @property
    def result(self) -> Result | None:
        """What was measured; None where the status is not ``ok``."""
        return self.record.result if self.record else None

    @property
    def configuration(self) -> str:
        """Eight hexadecimal digits that cells have in common which differ in their seeds alone."""
        return digest(self.config.model_dump(mode="json", exclude={"seed", "data_seed"}))[:8]

    @property
    def R(self) -> NDArray[np.float64]:  # noqa: N802 - the symbol of the field
        """(K, K): score on task j after learning task i; NaN where it was not measured.

        Raises:
            ClbenchError: The cell has no result.
        """
        import numpy as np

        if self.result is None:
            raise ClbenchError(f"{self.task}/{self.method} seed {self.seed} is {self.status}")
        return np.array(self.result.R, dtype=np.float64)  # None becomes NaN

    @cached_property
    def summaries(self) -> dict[str, float | None]:
        """Every metric by name, in its unit; None where it was not measured."""
        result = self.result
        return {name: None if result is None else f(result) for name, f in SUMMARIES.items()}

    def tidy(self) -> dict[str, Any]:
        """One flat row: names, status, every metric, minutes and trained parameters."""
        timing = self.record.timing if self.record else None
        return {
            "suite": self.suite,
            "task": self.task,
            "method": self.method,
            "seed": self.seed,
            "data_seed": self.config.data_seed,
            "budget": self.config.budget,
            "configuration": self.configuration,
            "status": self.status,
            **self.summaries,
            "minutes": timing.total / 60 if timing else None,
            "parameters": self.result.num_parameters["trained"] if self.result else None,
        }


@dataclass(frozen=True, slots=True)
class Group:
    """Outcomes that differ in their seed alone.

    Attributes:
        suite, task, method, configuration, budget: Of all of them.
        data_seed: Of all of them; None where it is each one's model seed.
        num_seeds: Those with a result.
        summaries: Metric -> mean over seeds with its interval; None where it was not measured.
    """

    suite: str
    task: str
    method: str
    configuration: str
    data_seed: int | None
    budget: float
    num_seeds: int
    summaries: dict[str, Aggregate | None]


@dataclass(frozen=True)
class ResultSet:
    """Outcomes of cells: iterate, count, index, `filter`, sum up or make a frame of them.

    Attributes:
        outcomes: One per cell.
    """

    outcomes: tuple[Outcome, ...]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...

    @overload
    def __getitem__(self, index: slice) -> ResultSet: ...

    def __getitem__(self, index: int | slice) -> Outcome | ResultSet:
        if isinstance(index, slice):
            return ResultSet(self.outcomes[index])
        return self.outcomes[index]

    def filter(
        self,
        *,
        suite: str = "*",
        task: str = "*",
        method: str = "*",
        seed: int | Sequence[int] | None = None,
        status: str = "*",
        budget: float | None = None,
    ) -> ResultSet:
        """The outcomes that meet every condition.

        Args:
            suite: Name or glob.
            task: Name or glob.
            method: Name or glob.
            seed: Model seed, or several.
            status: ``ok``, ``missing``, ``failed``, ... or a glob.
            budget: Fraction of the full budget.

        Raises:
            ClbenchError: No suite, task or method here has that name.
        """
        for what, glob in (("suite", suite), ("task", task), ("method", method)):
            names = sorted({getattr(outcome, what) for outcome in self})
            if names and not any(fnmatchcase(name, glob) for name in names):
                raise ClbenchError(
                    f"no {what} matches '{glob}'{suggestion(glob, names)}\n"
                    f"    known: {', '.join(names)}"
                )
        seeds = [seed] if isinstance(seed, int) else seed
        return ResultSet(
            tuple(
                one
                for one in self
                if fnmatchcase(one.suite, suite)
                and fnmatchcase(one.task, task)
                and fnmatchcase(one.method, method)
                and fnmatchcase(one.status, status)
                and (seeds is None or one.seed in seeds)
                and (budget is None or math.isclose(one.config.budget, budget))
            )
        )

    def summaries(self) -> tuple[Group, ...]:
        """Means over model seeds, never over cells that differ in anything else.

        Cells of one configuration that have different data seeds belong together where each data
        seed is the model seed.
        """
        groups: dict[tuple[str, str, str, str], list[Outcome]] = {}
        for one in self:
            key = (one.suite, one.task, one.method, one.configuration)
            groups.setdefault(key, []).append(one)
        return tuple(
            Group(
                *key,
                data_seed=members[0].config.data_seed if len(_data_seeds(members)) == 1 else None,
                budget=members[0].config.budget,
                num_seeds=sum(one.result is not None for one in members),
                summaries={name: _aggregate(name, members) for name in SUMMARIES},
            )
            for key, together in groups.items()
            for members in _by_data_seed(together)
        )

    def to_frame(self) -> pd.DataFrame:
        """A pandas frame with the rows of `Outcome.tidy`, NaN where nothing was measured.

        Raises:
            ClbenchError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            text = "a frame needs pandas; install it with\n    pip install 'clbench[frame]'"
            raise ClbenchError(text) from error
        columns = ["suite", "task", "method", "seed", "data_seed", "budget", "configuration"]
        columns += ["status", *SUMMARIES, "minutes", "parameters"]
        frame = pd.DataFrame([one.tidy() for one in self], columns=columns)
        return frame.astype(dict.fromkeys([*SUMMARIES, "minutes", "parameters"], "float64"))

    def __repr__(self) -> str:
        good = sum(one.status == "ok" for one in self)
        return f"<ResultSet of {len(self)} cells, {good} of them ok>"

    def _repr_html_(self) -> str:
        """For notebooks: a plain table of the first outcomes."""
        headings = ["suite", "task", "method", "seed", "budget", "status"]
        measured = [
            name for name in SUMMARIES if any(one.summaries[name] is not None for one in self)
        ]
        lines = [
            "".join(f"<th>{escape(name)}</th>" for name in (*headings, *measured)),
            *(
                "".join(
                    f"<td>{escape(_cell(one.tidy()[name]))}</td>" for name in (*headings, *measured)
                )
                for one in self[:SHOWN]
            ),
        ]
        rows = "\n".join(f"<tr>{line}</tr>" for line in lines)
        more = f"<p>and {len(self) - SHOWN} more</p>" if len(self) > SHOWN else ""
        return f"<p>{escape(repr(self)[1:-1])}</p>\n<table>\n{rows}\n</table>{more}"


def _data_seeds(members: Sequence[Outcome]) -> list[int]:
    return list(dict.fromkeys(one.config.data_seed for one in members))


def _by_data_seed(members: Sequence[Outcome]) -> list[list[Outcome]]:
    if all(one.config.data_seed == one.seed for one in members):
        return [list(members)]
    return [
        [one for one in members if one.config.data_seed == seed] for seed in _data_seeds(members)
    ]


def _aggregate(name: str, members: Sequence[Outcome]) -> Aggregate | None:
    values = [one.summaries[name] for one in members]
    return aggregate([value for value in values if value is not None])


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def read(results: Path, suite: Path | None) -> ResultSet:
    """The outcomes of a folder, or of the cells of a suite.

    Warns of a plugin whose code has changed since it made the records of the suite's cells.

    Raises:
        ClbenchError: The folder has no records, one of them is damaged, or the suite has mistakes.
    """
    store = Store(results)
    records, damaged = store.scan()
    if damaged:
        raise damaged[0]
    if suite is not None:
        return ResultSet(tuple(_of_suite(suite, {record.id: record for record in records}, store)))
    if not records:
        raise ClbenchError(f"{results} has no records")
    outcomes = [_of_record(record) for record in records]
    outcomes.sort(key=lambda one: (one.suite, one.task, one.method, one.config.budget, one.seed))
    return ResultSet(tuple(outcomes))


def _of_suite(path: Path, records: dict[str, Record], store: Store) -> Iterator[Outcome]:
    from clbench import staleness
    from clbench.registry import Registry
    from clbench.suite import load

    registry = Registry.discover()
    suite = load(path, registry)
    configs = [config for row in suite.rows for config in row.cells]
    for notice in staleness.notices(configs, store, registry):
        warnings.warn(notice, stacklevel=4)  # where `clbench.load` is called
    for row in suite.rows:
        for config in row.cells:
            yield Outcome(suite.name, row.task, row.method, config, records.get(config.id))


def _of_record(record: Record) -> Outcome:
    made = record.provenance
    task, _, method = made.row.partition("/") if made else ("", "", "")
    return Outcome(
        suite=made.suite if made else "",
        task=task or record.config.task.name,
        method=method or record.config.learner.name,
        config=record.config,
        record=record,
    )
