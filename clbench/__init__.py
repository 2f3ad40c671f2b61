"""clbench: a plugin-registry benchmark suite for continual learning.

The Python API is `load`; everything else is the command line's and the plugins'.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clbench.analysis import ResultSet

__all__ = ["load"]


def load(results: str | Path = "results", suite: str | Path | None = None) -> ResultSet:
    """The records of a results folder, for analysis.

    Args:
        results: The folder.
        suite: A suite file: then only its cells, in its order, with those that have no record,
            and a warning where a plugin's code has changed since it made some of their records.
            Without it all records of the folder, under the suite and row that they were made for.

    Returns:
        One outcome per cell (`clbench.analysis.ResultSet`).

    Raises:
        ClbenchError: The folder has no records, one of them is damaged, or the suite has mistakes.
    """
    from clbench.analysis import read

    return read(Path(results), None if suite is None else Path(suite))
