"""Records that others are compared with: those of the same question, or else of the same row.

A question is a configuration without versions. Where a row's configuration has changed, nobody has
answered its new question, and the records made for the same row of the same suite serve: otherwise
a change of the configuration would take the row out of every comparison. Only good full-budget
records count, and of several the latest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        full.sort(key=lambda record: record.provenance.started if record.provenance else "")
        answers: dict[str, tuple[Record, ...]] = {}
        rows: dict[tuple[str, str, int], tuple[Record, ...]] = {}
        for record in full:
            question = record.config.question
            answers[question] = (*answers.get(question, ()), record)
            if record.provenance is not None:
                made_for = record.provenance.suite, record.provenance.row, record.config.seed
                rows[made_for] = (*rows.get(made_for, ()), record)
        return cls(answers, rows)

    def answer(
        self, config: CellConfig, *, but: str = "", suits: Callable[[Record], bool] = lambda _: True
    ) -> Record | None:
        """The latest record of the same question that suits, other than the one of the id `but`."""
        return _latest(self.answers.get(config.question, ()), but, suits)

    def of_seed(
        self,
        suite: str,
        row: str,
        seed: int,
        *,
        but: str = "",
        suits: Callable[[Record], bool] = lambda _: True,
    ) -> Record | None:
        """The latest record of a row and seed that suits, whatever was asked."""
        return _latest(self.rows.get((suite, row, seed), ()), but, suits)

    def of_row(self, suite: str, row: str) -> list[Record]:
        """The latest record of each seed of a row, whatever was asked."""
        return [found[-1] for made_for, found in self.rows.items() if made_for[:2] == (suite, row)]


def _latest(
    records: tuple[Record, ...], but: str, suits: Callable[[Record], bool]
) -> Record | None:
    others = [record for record in records if record.id != but and suits(record)]
    return others[-1] if others else None
