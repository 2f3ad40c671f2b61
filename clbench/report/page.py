"""Contents -> the text of an HTML file, and the file."""

from __future__ import annotations

from importlib.metadata import version

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from clbench import columns, render
from clbench.report.contents import Contents
from clbench.report.figures import Heat
from clbench.tables import Line


def to_html(contents: Contents) -> str:
    """One page that needs nothing from elsewhere; whatever comes from records is escaped."""
    environment = Environment(
        loader=PackageLoader("clbench", "report/templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["heat"] = lambda body: isinstance(body, Heat)
    environment.filters["tone"] = tone
    environment.filters["yaml"] = lambda value: yaml.safe_dump(value, sort_keys=False)
    return environment.get_template("page.html").render(
        page=contents,
        suite=contents.suite,
        table=contents.table,
        columns=contents.columns,
        title=render.title(contents.table),
        notes=render.notes(contents.table, columns.wide(contents.table)),
        version=version("clbench"),
    )


def tone(line: Line) -> str:
    """How a row's verdict is coloured: the class of the style sheet; the words stand beside it."""
    if line.num_seeds == 0:
        failed = line.status.startswith(("failed", "timed-out", "out-of-memory"))
        return "bad" if failed else "open"
    if line.is_by_interval:
        return "open"
    tones = {"reproduced": "good", "better": "best", "below": "bad"}
    return tones.get(line.verdict or "", "open")
