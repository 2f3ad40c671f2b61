"""Everything clbench raises on purpose; only `cli.py` turns these into text and exit codes."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or an empty text.

    Case, ``-`` and ``_`` do not matter to the comparison.
    """
    by_folded = {k.casefold().replace("_", "-"): k for k in known}
    near = difflib.get_close_matches(name.casefold().replace("_", "-"), by_folded, n=1, cutoff=0.5)
    return f"; did you mean '{by_folded[near[0]]}'?" if near else ""


class ClbenchError(Exception):
    """A mistake that a user or a plugin can cause; its text is what the user reads."""


class UnknownNameError(ClbenchError):
    """A name that no plugin registers.

    Attributes:
        kind: What was looked for, such as ``"regularizer"``.
        name: The name as it was written.
        known: The names that exist, sorted.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], note: str = "") -> None:
        self.kind, self.name, self.known = kind, name, sorted(known)
        text = f"unknown {kind} '{name}'{suggestion(name, self.known)}"
        text += f"\n    known: {', '.join(self.known) or 'none'}"
        super().__init__(text + (f"\n    {note}" if note else ""))


class PluginError(ClbenchError):
    """A plugin that could not be imported or does not keep its promises."""


def in_one_line(error: BaseException) -> str:
    """Its type, and the first line of what it says."""
    return f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(": ")


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a file.

    Attributes:
        line: 1-based line, or None where the file as a whole is meant.
        where: Dotted path of the value, such as ``methods.si.learner``; empty for the file.
        what: What is wrong, what was expected, and the nearest valid name.
    """

    line: int | None
    where: str
    what: str

    def __str__(self) -> str:
        place = ", ".join(
            part for part in (f"line {self.line}" if self.line else "", self.where) if part
        )
        return f"{place}: {self.what}" if place else self.what


class FileError(ClbenchError):
    """All mistakes found in one file.

    Attributes:
        path: The file.
        mistakes: In the order of their lines.
    """

    def __init__(self, path: Path, mistakes: Sequence[Mistake]) -> None:
        self.path = path
        self.mistakes = tuple(sorted(mistakes, key=lambda m: m.line or 0))
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        super().__init__("\n".join([f"{path} has {count}:", *(f"  {m}" for m in self.mistakes)]))


class SuiteError(FileError):
    """A suite file that cannot be used."""


class RecordError(ClbenchError):
    """A record file that is truncated, edited by hand, or from another version.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(f"{path}: {what}")


class UnavailableError(ClbenchError):
    """A cell cannot run here (data absent, for example); it becomes a skipped record."""
