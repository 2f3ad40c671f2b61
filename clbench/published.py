"""The ledger of published numbers, and the verdict on ours.

The rule, on one number: with the published value p, our mean m over the seeds with a full-budget
record, its 95 % confidence interval (from two seeds on) and the ledger's margin,

* ``reproduced``: p is inside our interval, or ``|m - p| <= margin``;
* ``better`` / ``below``: otherwise, m is on the better / worse side of p;
* ``not comparable``: our record was made with a reduced budget, or the ledger says why it cannot be
  compared (other data, for example);
* ``missing``: there is no record of ours.

A row with several published numbers gets the worst verdict of them: below, reproduced, better. A
row that is reproduced by its interval and not by the margin says so (`is_by_interval`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from pydantic import PositiveFloat, ValidationError, model_validator

from clbench.checks import Checker
from clbench.errors import FileError, Mistake, suggestion
from clbench.metrics import Aggregate
from clbench.params import Params, read
from clbench.registry import Registry
from clbench.yaml12 import read as read_yaml

Verdict = Literal["reproduced", "better", "below", "not comparable", "missing"]


class Number(Params):
    """One published number."""

    value: float
    """In the unit of the metric."""
    claim: Literal["exact", "around"] = "exact"
    """How exact the source says it is."""
    spread: PositiveFloat | None = None
    """What stands behind the plus-minus sign, if anything does."""
    spread_is: Literal["standard error", "standard deviation", "unstated"] | None = None
    """What that is."""
    n: int | None = None
    """Number of seeds, if stated."""

    @model_validator(mode="after")
    def _check(self) -> Number:
        if (self.spread is None) != (self.spread_is is None):
            raise ValueError("give spread and spread_is together")
        return self

    def __str__(self) -> str:
        """``~99.12 ± 0.11 (standard error, n = 20)``."""
        about: list[str] = [self.spread_is] if self.spread_is else []
        about += [f"n = {self.n}"] if self.n is not None else []
        text = f"{'~' if self.claim == 'around' else ''}{self.value:g}"
        text += f" ± {self.spread:g}" if self.spread is not None else ""
        return text + (f" ({', '.join(about)})" if about else "")


class Entry(Params):
    """What was published for one row."""

    label: str
    """As the source calls the row."""
    during: Number | None = None
    """Mean of the diagonal of R."""
    final: Number | None = None
    """Mean of the last row of R."""
    online: Number | None = None
    """Mean online score of a stream."""
    margin: PositiveFloat | None = None
    """In place of the ledger's, for this row."""
    not_comparable: str = ""
    """Why our records of this row cannot be compared with it, if they cannot."""
    where: str
    """Section or table of the source."""
    note: str = ""
    """What a reader must know to compare."""

    @property
    def numbers(self) -> dict[str, Number]:
        """Those that are published, by ``during``, ``final`` and ``online``."""
        found = {"during": self.during, "final": self.final, "online": self.online}
        return {name: number for name, number in found.items() if number is not None}

    @property
    def told(self) -> str:
        """What a reader must know of the numbers: scatter, place, notes."""
        parts = [f"{name} {number}" for name, number in self.numbers.items()]
        parts += [f"as {self.label}", self.where, self.note]
        parts += [f"not comparable: {self.not_comparable}"] if self.not_comparable else []
        return "; ".join(part.rstrip(".") for part in parts if part)


class Ledger(Params):
    """The published numbers of one source."""

    source: str
    """Paper or repository, with the revision."""
    margin: PositiveFloat
    """How far a mean may be from a published value and still reproduce it, in the metric's unit."""
    rows: dict[str, Entry]
    """By ``task/method`` of the suite that reproduces the source."""


def load(path: Path) -> Ledger:
    """The ledger in a file.

    Raises:
        FileError: With every mistake of the file, each with its line.
    """
    root, mistakes = read_yaml(path)
    if not mistakes:
        try:
            return read(Ledger, root.plain())
        except ValidationError as error:
            checker = Checker(Registry(), {})
            checker.translate(error, Ledger, root, "key")
            mistakes = list(checker.mistakes)
    raise FileError(path, mistakes)


def verdict(
    ours: Mapping[str, Aggregate | None],
    entry: Entry | None,
    margin: float,
    better: str,
    budget: float,
) -> Verdict | None:
    """The verdict on a row; None where nothing is published.

    Args:
        ours: ``during``, ``final`` and ``online``.
        entry: What was published.
        margin: Of the ledger; a margin of the row's own comes first.
        better: ``higher`` or ``lower``.
        budget: Of our records, 1 for the full one.
    """
    numbers = {name: number.value for name, number in entry.numbers.items()} if entry else {}
    if entry is None or not numbers:
        return None
    if all(ours[name] is None for name in numbers):
        return "missing"
    if budget < 1 or entry.not_comparable:
        return "not comparable"
    margin = entry.margin or margin
    found = [_one(ours[name], value, margin, better) for name, value in numbers.items()]
    order: tuple[Verdict, ...] = ("missing", "below", "reproduced", "better")
    return min(found, key=order.index)


def is_by_interval(
    ours: Mapping[str, Aggregate | None], entry: Entry | None, margin: float
) -> bool:
    """Whether a published value is inside our interval and farther than the margin from our mean.

    Then `reproduced` rests on the width of the interval, which scatter alone makes wide.
    """
    if entry is None:
        return False
    margin = entry.margin or margin
    pairs = [(ours[name], number.value) for name, number in entry.numbers.items()]
    return any(
        mine is not None and _is_inside(mine, value) and abs(mine.mean - value) > margin
        for mine, value in pairs
    )


def _one(ours: Aggregate | None, value: float, margin: float, better: str) -> Verdict:
    if ours is None:
        return "missing"
    if _is_inside(ours, value) or abs(ours.mean - value) <= margin:
        return "reproduced"
    return "better" if (ours.mean > value) == (better == "higher") else "below"


def _is_inside(ours: Aggregate, value: float) -> bool:
    return ours.low is not None and ours.high is not None and ours.low <= value <= ours.high


def strangers(ledger: Ledger, rows: Collection[str]) -> list[str]:
    """What a reader must know of the rows of a ledger that a suite does not have, one text each."""
    unknown = [key for key in ledger.rows if key not in rows]
    return [f"the suite has no row '{key}'{suggestion(key, rows)}" for key in unknown]


def find(results: Path, suite: Path, name: str | None) -> Ledger | None:
    """The ledger that a suite names, if it names one.

    It is looked for under ``<results>/published``, and then beside the suite, under
    ``<folder of the suite>/../results/published``.

    Raises:
        FileError: It is in neither place, or has mistakes.
    """
    if name is None:
        return None
    folders = [results, suite.resolve().parent.parent / "results"]
    paths = [folder / "published" / f"{name}.yaml" for folder in folders]
    for path in paths:
        if path.exists():
            return load(path)
    looked = "\n".join(f"      {path}" for path in dict.fromkeys(paths))
    what = f"there is no ledger '{name}'; looked for\n{looked}"
    raise FileError(suite, [Mistake(None, "published", what)])
