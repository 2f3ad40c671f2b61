"""Records that others are compared with: those of the same question, or else of the same row.

A question is a configuration without versions. Where a row's configuration has changed, nobody has
answered its new question, and the records made for the same row of the same suite serve: otherwise
a change of the configuration would take the row out of every comparison. Only good full-budget
records count. Means are over records that differ in their seeds alone: a mean over two versions, or
two configurations, would be of neither, and their difference would pass for scatter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from clbench.config import CellConfig
from clbench.records import Record
from clbench.store import Store


@dataclass(frozen=True, slots=True)
class References:
    """The good full-budget records of a store.

    Attributes:
        answers: Question -> its records, the latest last.
        rows: Suite, row and seed -> the records made for them, the latest last.
    """

    answers: Mapping[str, tuple[Record, ...]]
    rows: Mapping[tuple[str, str, int], tuple[Record, ...]]

    @classmethod
    def read(cls, store: Store) -> References:
        """Those of a store.

        Raises:
            RecordError: A record is damaged.
        """
        records, damaged = store.scan()
        if damaged:
            raise damaged[0]
        full = [r for r in records if r.status == "ok" and r.config.budget == 1]
        full.sort(key=started)
        answers: dict[str, tuple[Record, ...]] = {}
        rows: dict[tuple[str, str, int], tuple[Record, ...]] = {}
        for record in full:
            question = record.config.question
            answers[question] = (*answers.get(question, ()), record)
            if record.provenance is not None:
                made_for = record.provenance.suite, record.provenance.row, record.config.seed
                rows[made_for] = (*rows.get(made_for, ()), record)
        return cls(answers, rows)

    def sets_of(
        self,
        suite: str,
        row: str,
        configs: Iterable[CellConfig],
        suits: Callable[[Record], bool] = lambda _: True,
    ) -> tuple[list[dict[int, Record]], bool]:
        """The records that suit, as `sets`: of these questions, or else of the row.

        Returns:
            The sets, and whether they answer the questions.
        """
        found = [r for one in configs for r in self.answers.get(one.question, ()) if suits(r)]
        if found:
            return sets(found), True
        of_row = [made for key, made in self.rows.items() if key[:2] == (suite, row)]
        return sets(record for made in of_row for record in made if suits(record)), False


def alike(one: CellConfig, other: CellConfig, *, versions: bool) -> bool:
    """Whether two cells differ in seeds alone; `versions`: these count too."""
    follows = {one.data_seed - one.seed, other.data_seed - other.seed} == {0}
    if not follows and one.data_seed != other.data_seed:
        return False
    seeds = {"seed": 0, "data_seed": 0}
    first, second = one.model_copy(update=seeds), other.model_copy(update=seeds)
    return first == second if versions else first.question == second.question


def sets(records: Iterable[Record]) -> list[dict[int, Record]]:
    """Records of one row, put into sets whose cells differ in seeds alone.

    Returns:
        Seed -> record; first the set of most seeds, and of equal ones the latest.
    """
    found: list[dict[int, Record]] = []
    for record in records:
        for one in found:
            if all(alike(r.config, record.config, versions=True) for r in one.values()):
                one[record.config.seed] = record
                break
        else:
            found.append({record.config.seed: record})
    return sorted(found, key=lambda one: (len(one), max(map(started, one.values()))), reverse=True)


def started(record: Record) -> str:
    """When it was made; empty where it does not say."""
    return record.provenance.started if record.provenance else ""
