"""A results table as rich, SVG, markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from clbench import columns
from clbench.columns import BEST, DEFAULT, Column, View, percent
from clbench.metrics import SUMMARIES, Aggregate
from clbench.tables import Line, ResultsTable

WIDE = 170
"""Columns of a terminal in which any table shows intervals and further metrics."""

_NAME, _WORDS = 24, 14
"""Characters that columns leave for the names of rows, and that a column of words may be left."""

PICTURE = 114
"""Columns of the terminal in a picture: as few as a table with published values takes."""

_COLOURS = {"reproduced": "green", "better": "cyan", "below": "red", "not comparable": "yellow"}


def to_rich(table: ResultsTable, width: int, view: View = DEFAULT) -> RenderableType:
    """For a terminal of `width` columns: a list where it has no room for the columns asked for."""
    by_itself = [columns.wide(table), columns.narrow(table), columns.narrow(table, 2)]
    shown_columns = _fullest(table, by_itself, width) if view.columns is None else view.columns
    is_narrow = view.columns is None and shown_columns is not by_itself[0]
    is_list = view.columns is not None and not _has_room(table, view.columns, width)
    parts: list[RenderableType] = [Text(title(table), style="bold")]
    for section in table.sections:
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
        grid.add_column(section.heading, overflow="fold", header_style="bold", max_width=46)
        for column in shown_columns:
            grid.add_column(
                column.heading,
                justify="left" if column.is_text else "right",
                overflow="fold",
                header_style="dim",
                no_wrap=not column.is_text,
            )
        shown = [line for line in section.lines if not line.status.startswith("excluded")]
        for line in shown:
            cells = [
                _coloured(column.text(line), "bold" if view.is_best(line, column) else "")
                for column in shown_columns
            ]
            grid.add_row(Text(line.label), *cells)
        listed = _listed(section.heading, shown, shown_columns, view) if is_list else grid
        parts += [Text(""), listed]
        excluded: dict[str, list[str]] = {}
        for line in section.lines:
            if line not in shown:
                excluded.setdefault(line.status, []).append(line.label)
        for status, labels in excluded.items():
            parts.append(Text(f"{', '.join(dict.fromkeys(labels))}: {status}", style="dim"))
    parts += [
        Text(""),
        *(Text(note, style="dim") for note in notes(table, shown_columns, view, is_narrow)),
    ]
    return Group(*parts)


def _fullest(
    table: ResultsTable, candidates: Sequence[Sequence[Column]], width: int
) -> Sequence[Column]:
    """The first of some sets of columns for which there is room; the last needs none."""
    found = (shown for shown in candidates if _has_room(table, shown, width))
    return next(found, candidates[-1])


def _has_room(table: ResultsTable, shown: Sequence[Column], width: int) -> bool:
    """Whether no number of these columns would be cut off."""
    lines = table.lines
    name = min(_NAME, max((len(line.label) for line in lines), default=0))

    def room(column: Column) -> int:
        longest = max((len(column.text(line)) for line in lines), default=0)
        return max(len(column.heading), min(longest, _WORDS) if column.is_text else longest)

    return name + sum(2 + room(column) for column in shown) <= width


def _listed(
    heading: str, lines: Sequence[Line], shown: Sequence[Column], view: View
) -> RenderableType:
    """The rows under a heading one below the other, each with what stands in its columns."""
    grid = Table.grid()
    grid.add_row(Text(heading, style="bold"))
    for line in lines:
        texts = [(column, column.text(line)) for column in shown]
        told = [
            Text.assemble(
                f"{column.heading} ", _coloured(text, "bold" if view.is_best(line, column) else "")
            )
            for column, text in texts
            if text
        ]
        grid.add_row(Text(line.label))
        grid.add_row(Padding(Text(", ").join(told), (0, 0, 0, 2)))
    return grid


def to_svg(table: ResultsTable, view: View = DEFAULT) -> str:
    """A picture of a terminal that shows the table; it refers to no other file, fonts included."""
    console = Console(
        width=PICTURE,
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(to_rich(table, PICTURE, view))
    picture = console.export_svg(title="clbench")
    return re.sub(r"\s*@font-face \{[^}]*\}", "", picture) + "\n"


def _coloured(text: str, otherwise: str) -> Text:
    first = text.split(" (")[0]
    if "by its interval" in text:
        return Text(text, style="yellow")
    style = _COLOURS.get(
        first, "red" if first.startswith(("failed", "timed-out", "out-of")) else otherwise
    )
    return Text(text, style=style)


def title(table: ResultsTable) -> str:
    """The table's title, with its budget where that is reduced."""
    if table.budget == 1:
        return table.title
    return f"{table.title}: {percent(table.budget)} budget, a quick look"


_MEANINGS = {
    "during_accuracy": "during: mean score{unit} right after learning each task",
    "final_accuracy": "final: after learning all",
    "online_accuracy": "online: mean score{unit} of the predictions before each update",
    "plasticity": "plasticity: mean part of the loss that an update takes away",
    "online_forgetting": "forgetting: first two tasks less last two",
}
"""Name of a column -> what it holds."""


INTERVAL = (
    " by its interval alone: it is not within the margin, and seeds that scatter widen intervals."
)
"""What that means, for the notes under a table that says it."""


def notes(
    table: ResultsTable, shown: Sequence[Column], view: View = DEFAULT, is_narrow: bool = False
) -> list[str]:
    """What a reader must know of the columns and the verdicts.

    Args:
        table: What is shown.
        shown: Its columns.
        view: How.
        is_narrow: Whether intervals and further metrics are left out for want of room.
    """
    unit = f" in {table.unit}" if table.unit else ""
    names = [column.name for column in shown]
    meanings = [text.format(unit=unit) for name, text in _MEANINGS.items() if name in names]
    interval = "± is the half-width of the 95 % confidence interval over n seeds."
    if is_narrow:
        interval = "A wider terminal shows intervals and further metrics."
    meaning = f"{'; '.join(meanings)}. " if meanings else ""
    found = [f"{meaning}{interval}"]
    if table.budget < 1:
        found.append(
            f"Made with {percent(table.budget)} of the training steps: not comparable with "
            "published values, and no evidence for thresholds."
        )
    if table.margin is not None:
        found.append(
            f"Published: {table.source}. reproduced: the published value is inside our interval or "
            f"within {table.margin:g} of our mean{_own_margins(table)}; better or below: neither, "
            "and our mean is better or worse than it; of two published values the worse verdict "
            "counts." + (INTERVAL if any(line.is_by_interval for line in table.lines) else "")
        )
        found += [f"not comparable: {text}." for text in _obstacles(table)]
    return found if view.best is None else [*found, BEST]


def _obstacles(table: ResultsTable) -> list[str]:
    """Why rows cannot be compared with what is published; of several reasons each with its rows."""
    why: dict[str, list[str]] = {}
    for line in table.lines:
        if line.not_comparable and line.num_seeds:
            why.setdefault(line.not_comparable, []).append(line.key)
    if len(why) == 1:
        return list(why)  # the verdicts say of which rows
    return [f"{', '.join(keys)}: {text}" for text, keys in why.items()]


def _own_margins(table: ResultsTable) -> str:
    found = ", ".join(f"{key} {margin:g}" for key, margin in table.own_margins.items())
    return f" (rows with a margin of their own: {found})" if found else ""


def to_markdown(table: ResultsTable, view: View = DEFAULT) -> str:
    """One table per heading that has rows, with the notes under them."""
    texts = [_budget(table)] if table.budget < 1 else []
    shown = columns.written(table) if view.columns is None else view.columns
    for section in table.sections:
        lines = [line for line in section.lines if not line.status.startswith("excluded")]
        if not lines:
            continue

        def cell(line: Line, column: Column) -> str:
            text = _cell(column.text(line))
            return f"**{text}**" if view.is_best(line, column) else text

        grid = tabulate(
            [[_cell(line.label), *(cell(line, column) for column in shown)] for line in lines],
            headers=[_cell(section.heading), *(column.heading for column in shown)],
            tablefmt="pipe",
            disable_numparse=True,
            colalign=_alignment(shown),
        )
        texts.append(grid)
    return "\n\n".join([*texts, *notes(table, shown, view)]) + "\n"


def _budget(table: ResultsTable) -> str:
    return f"Budget: {percent(table.budget)} of the published one."


def _cell(text: str) -> str:
    """Text in a table of Markdown."""
    return text.replace("|", "\\|")


def _alignment(shown: Sequence[Column]) -> list[str]:
    return ["left", *("left" if column.is_text else "right" for column in shown)]


def to_latex(table: ResultsTable, view: View = DEFAULT) -> str:
    """Tables for LaTeX's booktabs package, one per heading that has rows."""
    texts = [f"% {title(table)}"] + ([] if view.best is None else [f"% {BEST}"])
    if table.budget < 1:
        texts.append(f"{_tex(_budget(table))}\n")
    shown = columns.written(table) if view.columns is None else view.columns

    def cell(line: Line, column: Column) -> str:
        text = _tex(column.text(line))
        return f"\\textbf{{{text}}}" if view.is_best(line, column) else text

    for section in table.sections:
        lines = [line for line in section.lines if not line.status.startswith("excluded")]
        if not lines:
            continue
        headings = [section.heading, *(column.heading for column in shown)]
        texts.append(
            tabulate(
                [[_tex(line.label), *(cell(line, column) for column in shown)] for line in lines],
                headers=[_tex(heading) for heading in headings],
                tablefmt="latex_raw",
                disable_numparse=True,
                colalign=_alignment(shown),
            )
            .replace("\\hline", "\\toprule", 1)
            .replace("\\hline", "\\midrule", 1)
            .replace("\\hline", "\\bottomrule", 1)
        )
    return "\n\n".join(texts) + "\n"


_TEX = {
    **{"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_"},
    **{"{": r"\{", "}": r"\}", "~": r"$\sim$", "^": r"\^{}", "±": r"$\pm$", "–": "--"},
    **{"<": r"$<$", ">": r"$>$"},
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(character, character) for character in text)


def objects(table: ResultsTable, view: View = DEFAULT) -> list[dict[str, Any]]:
    """One object per row, None where a value is unknown.

    With the columns of a view: ``row``, then these, metrics with their intervals, the verdict with
    whether it rests on the interval alone, and a reduced budget. Where values are to be marked,
    ``best`` lists the metrics in which the row is.
    """
    rows = _documented(table) if view.columns is None else _chosen(table, view.columns)
    if view.best is not None:
        for values in rows:
            values["best"] = sorted(name for key, name in view.best if key == values["row"])
    return rows


def _interval(found: Aggregate | None) -> list[float] | None:
    if found is None or found.low is None or found.high is None:
        return None
    return [found.low, found.high]


def _chosen(table: ResultsTable, chosen: Sequence[Column]) -> list[dict[str, Any]]:
    rows = []
    for line in table.lines:
        values: dict[str, Any] = {"row": line.key}
        for column in chosen:
            values[column.name] = column.value(line)
            if column.name in SUMMARIES:
                interval = _interval(line.summaries[column.name])
                values[f"{column.name.removesuffix('_accuracy')}_ci"] = interval
            if column is columns.VERDICT:
                values["by_interval"] = line.is_by_interval
        if table.budget < 1:
            values["budget"] = line.budget
        rows.append(values)
    return rows


def _documented(table: ResultsTable) -> list[dict[str, Any]]:
    found = []
    for section in table.sections:
        for line in section.lines:
            during = line.summaries["during_accuracy"]
            final = line.summaries["final_accuracy"]
            published = {name: number.value for name, number in line.published.items()}
            found.append(
                {
                    "suite": table.suite,
                    "row": line.key,
                    "task": line.task,
                    "method": line.method,
                    "n_seeds": line.num_seeds,
                    "during_accuracy": during.mean if during else None,
                    "during_ci": _interval(during),
                    "final_accuracy": final.mean if final else None,
                    "final_ci": _interval(final),
                    "published_during": published.get("during"),
                    "published_final": published.get("final"),
                    "verdict": line.verdict,
                    "by_interval": line.is_by_interval,
                    "status": line.status,
                    "budget": line.budget,
                }
                | (_stream_values(line) if table.is_stream else {})
            )
    return found


def _stream_values(line: Line) -> dict[str, Any]:
    """What rows of streams have besides."""
    means = {name: found.mean if found else None for name, found in line.summaries.items()}
    online = line.published.get("online")
    return {
        "online_accuracy": means["online_accuracy"],
        "online_ci": _interval(line.summaries["online_accuracy"]),
        "online_accuracy_off_by_one": means["online_accuracy_off_by_one"],
        "last_task_accuracy": means["last_task_accuracy"],
        "plasticity": means["plasticity"],
        "online_forgetting": means["online_forgetting"],
        "loss_of_plasticity": means["loss_of_plasticity"],
        "published_online": online.value if online else None,
    }


def to_json(table: ResultsTable, view: View = DEFAULT) -> str:
    """A list of objects, one per row."""
    return json.dumps(objects(table, view), indent=1, ensure_ascii=False) + "\n"


def to_csv(table: ResultsTable, view: View = DEFAULT) -> str:
    """One line per row; intervals as two columns."""
    output = io.StringIO()
    rows = [_flat(values) for values in objects(table, view)]
    writer = csv.DictWriter(output, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return output.getvalue()


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key.endswith("_ci"):
            low, high = value or (None, None)
            flat |= {f"{key}_low": low, f"{key}_high": high}
        elif key == "best":
            flat[key] = " ".join(value)
        else:
            flat[key] = value
    return flat


class Renderer(Protocol):
    """A format that is text."""

    def __call__(self, table: ResultsTable, view: View = DEFAULT) -> str:
        """The table as text."""


FORMATS: Mapping[str, Renderer] = {
    "svg": to_svg,
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}
"""Name -> renderer, of the formats that are text."""
