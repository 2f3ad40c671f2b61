"""What all commands share: the consoles, common arguments, and how plugins and suites come in."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from clbench.errors import ClbenchError
from clbench.registry import Registry

if TYPE_CHECKING:
    from clbench.config import CellConfig
    from clbench.store import Store
    from clbench.suite import Suite

SuiteFile = Annotated[Path, typer.Argument(help="A suite file, such as suites/copy_task.yaml.")]
Results = Annotated[Path, typer.Option("--results", help="Folder of the records.")]


def console(width: int | None = None, *, stderr: bool = False) -> Console:
    """A console that shows texts as they are: names and paths may have brackets and colons."""
    return Console(width=width, stderr=stderr, markup=False, emoji=False, highlight=False)


out = console()
notices = console(stderr=True)

_PLAIN = {"–": "-", "±": "+-", "…": "..."}
"""What tables are written with beyond ASCII."""


def write_plainly() -> None:
    """Let stdout and stderr replace characters that their encoding lacks, instead of raising.

    A dash, ``±`` and letters with accents get plain ones in their place, all others ``?``.
    """
    codecs.register_error("clbench-plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not where somebody has put another thing
            stream.reconfigure(errors="clbench-plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = [_PLAIN.get(one) or _letter(one) for one in error.object[error.start : error.end]]
    return "".join(found), error.end


def _letter(character: str) -> str:
    """A letter without its accent; ``?`` where that is none of ASCII."""
    letter = unicodedata.normalize("NFKD", character)[0]
    return letter if character.isalpha() and letter.isascii() else "?"


def warn(text: str) -> None:
    """A warning on stderr."""
    notices.print(Text.assemble(("warning:", "yellow"), f" {text}"), soft_wrap=True)


def registry() -> Registry:
    """All that plugins register; a warning for each plugin that does not work."""
    found = Registry.discover()
    for plugin in found.plugins:
        if plugin.errors:
            warn(
                f"plugin '{plugin.name}' ({plugin.distribution}): {plugin.errors[0]}; "
                "see 'clbench list plugins'"
            )
    return found


def load(path: Path, registry: Registry, *, anew: bool = False) -> Suite:
    """The suite in a file; `anew`: resolved whatever the cache has of it."""
    from clbench import resolved

    return resolved.load(path, registry, anew=anew)


def check_published(suite: Suite, results: Path) -> None:
    """Read the published values that a suite names; a warning for each row that it lacks.

    Raises:
        FileError: They are not there, or have mistakes.
    """
    from clbench import published

    ledger = published.find(results, suite.path, suite.published)
    for text in published.strangers(ledger, [row.key for row in suite.rows]) if ledger else ():
        warn(f"{suite.path}: published '{suite.published}': {text}")


def check_folder(results: Path) -> None:
    """A warning where the folder of the records is not there."""
    if not results.is_dir():
        warn(f"there is no folder {results}, so every record is missing")


def tell_changed(configs: Iterable[CellConfig], store: Store, registry: Registry) -> None:
    """A warning for each plugin whose code has changed since it made the records of these cells."""
    from clbench import staleness

    for notice in staleness.notices(configs, store, registry):
        warn(notice)


def width() -> int:
    """Columns of the terminal; what goes to a file or a pipe is wide enough for every column."""
    from clbench import render

    return out.width if out.is_terminal else max(out.width, render.WIDE)


def write(path: Path, text: str) -> None:
    """Write a file that somebody asked for.

    Raises:
        ClbenchError: It cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClbenchError(f"cannot write {path}: {error.strerror}") from error
