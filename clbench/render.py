"""A results table as rich, markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from tabulate import tabulate

from clbench.errors import ClbenchError
from clbench.metrics import Aggregate
from clbench.published import Number
from clbench.tables import Line, ResultsTable

WIDE = 150
"""Columns of a terminal from which intervals and further metrics are shown."""

_COLOURS = {"reproduced": "green", "better": "cyan", "below": "red", "not comparable": "yellow"}


def to_rich(table: ResultsTable, width: int) -> RenderableType:
    """For a terminal of `width` columns."""
    parts: list[RenderableType] = [Text(_title(table), style="bold")]
    for section in table.sections:
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
        columns = _wide_columns(table) if width >= WIDE else _narrow_columns(table)
        grid.add_column(section.heading, overflow="fold", header_style="bold", max_width=46)
        for heading in columns:
            is_text = heading in ("verdict", "status")
            grid.add_column(
                heading,
                justify="left" if is_text else "right",
                overflow="fold",
                header_style="dim",
                no_wrap=not is_text,
            )
        shown = [line for line in section.lines if not line.status.startswith("excluded")]
        for line in shown:
            cells = [_coloured(cell(line)) for cell in columns.values()]
            grid.add_row(Text(line.label), *cells)
        parts += [Text(""), grid]
        excluded = [line for line in section.lines if line not in shown]
        for line in excluded:
            parts.append(Text(f"{line.label}: {line.status}", style="dim"))
    parts += [Text(""), *(Text(note, style="dim") for note in _notes(table))]
    return Group(*parts)


def _coloured(text: str) -> Text:
    first = text.split(" (")[0]
    style = _COLOURS.get(
        first, "red" if first.startswith(("failed", "timed-out", "out-of")) else ""
    )
    return Text(text, style=style)


def _title(table: ResultsTable) -> str:
    if table.budget == 1:
        return table.title
    return f"{table.title}: {_percent(table.budget)} budget, a quick look"


def _percent(budget: float) -> str:
    return f"{100 * budget:g} %"


def _notes(table: ResultsTable) -> list[str]:
    unit = f" in {table.unit}" if table.unit else ""
    notes = [
        f"during: mean score{unit} right after learning each task; final: after learning all. "
        "± is the half-width of the 95 % confidence interval over n seeds."
    ]
    if table.budget < 1:
        notes.append(
            f"Made with {_percent(table.budget)} of the training steps: not comparable with "
            "published values, and no evidence for thresholds."
        )
    if table.margin is not None:
        notes.append(
            f"Published: {table.source}. reproduced: the published value is inside our interval or "
            f"within {table.margin:g} of our mean; better or below: it is not, and ours is on that "
            "side; of two published values the worse verdict counts."
        )
    return notes


def _narrow_columns(table: ResultsTable) -> dict[str, Callable[[Line], str]]:
    return {
        "during": lambda line: _mean(line.summaries["during_accuracy"], table.decimals),
        "final": lambda line: _mean(line.summaries["final_accuracy"], table.decimals),
        "n": lambda line: str(line.num_seeds),
        "published": lambda line: _published(line, table.decimals),
        "verdict": _verdict,
    }


def _wide_columns(table: ResultsTable) -> dict[str, Callable[[Line], str]]:
    def summary(name: str) -> Callable[[Line], str]:
        return lambda line: _interval(line.summaries[name], table.decimals)

    return {
        "during": summary("during_accuracy"),
        "final": summary("final_accuracy"),
        "n": lambda line: str(line.num_seeds),
        "published": lambda line: _published(line, table.decimals),
        "verdict": _verdict,
        "backward": lambda line: _mean(line.summaries["backward_transfer"], table.decimals),
        "forward": lambda line: _mean(line.summaries["forward_transfer"], table.decimals),
        "forgetting": lambda line: _mean(line.summaries["forgetting"], table.decimals),
        "minutes": lambda line: "–" if line.minutes is None else f"{line.minutes:.1f}",
        "parameters": lambda line: "–" if line.parameters is None else f"{line.parameters:,}",
    }


def _mean(found: Aggregate | None, decimals: int) -> str:
    return "–" if found is None else f"{found.mean:.{decimals}f}"


def _interval(found: Aggregate | None, decimals: int) -> str:
    if found is None or found.high is None:
        return _mean(found, decimals)
    return f"{found.mean:.{decimals}f} ±{found.high - found.mean:.{decimals}f}"


def _published(line: Line, decimals: int) -> str:
    """``99.93 / 98.66``, during and final."""
    if line.during is None and line.final is None:
        return ""
    return f"{_number(line.during, decimals)} / {_number(line.final, decimals)}"


def _number(number: Number | None, decimals: int) -> str:
    if number is None:
        return "–"
    return f"{'~' if number.claim == 'around' else ''}{number.value:.{decimals}f}"


def _verdict(line: Line) -> str:
    """The verdict, and whatever is not in order."""
    if line.num_seeds == 0:
        return line.status
    parts: list[str] = [line.verdict] if line.verdict else []
    if line.budget < 1 and line.verdict != "not comparable":
        parts.append(f"{_percent(line.budget)} budget")
    if line.status != "ok":
        parts.append(line.status)
    return parts[0] + (f" ({'; '.join(parts[1:])})" if parts[1:] else "") if parts else ""


def to_markdown(table: ResultsTable) -> str:
    """One table per heading, with the notes under them."""
    texts = [f"Budget: {_percent(table.budget)} of the published one."] if table.budget < 1 else []
    for section in table.sections:
        lines = [line for line in section.lines if not line.status.startswith("excluded")]
        rows = [[line.label, *_cells(line, table.decimals)] for line in lines]
        grid = tabulate(
            [[cell.replace("|", "\\|") for cell in row] for row in rows],
            headers=[section.heading, *_HEADINGS],
            tablefmt="pipe",
            disable_numparse=True,
            colalign=["left", "right", "right", "right", "right", "right", "left"],
        )
        texts.append(grid)
    return "\n\n".join([*texts, *_notes(table)]) + "\n"


_HEADINGS = ["during", "final", "n", "published during", "published final", "verdict"]


def _cells(line: Line, decimals: int) -> list[str]:
    return [
        _interval(line.summaries["during_accuracy"], decimals),
        _interval(line.summaries["final_accuracy"], decimals),
        str(line.num_seeds),
        _number(line.during, decimals) if line.during else "",
        _number(line.final, decimals) if line.final else "",
        _verdict(line),
    ]


def to_latex(table: ResultsTable) -> str:
    """Tables for LaTeX's booktabs package, one per heading."""
    texts = [f"% {_title(table)}"]
    for section in table.sections:
        lines = [line for line in section.lines if not line.status.startswith("excluded")]
        rows = [[line.label, *_cells(line, table.decimals)] for line in lines]
        texts.append(
            tabulate(
                [[_tex(cell) for cell in row] for row in rows],
                headers=[_tex(heading) for heading in (section.heading, *_HEADINGS)],
                tablefmt="latex_raw",
                disable_numparse=True,
                colalign=["left", "right", "right", "right", "right", "right", "left"],
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


def objects(table: ResultsTable) -> list[dict[str, Any]]:
    """One object per row, None where a value is unknown."""

    def interval(found: Aggregate | None) -> list[float] | None:
        if found is None or found.low is None or found.high is None:
            return None
        return [found.low, found.high]

    found = []
    for section in table.sections:
        for line in section.lines:
            during = line.summaries["during_accuracy"]
            final = line.summaries["final_accuracy"]
            found.append(
                {
                    "suite": table.suite,
                    "row": line.key,
                    "task": line.task,
                    "method": line.method,
                    "n_seeds": line.num_seeds,
                    "during_accuracy": during.mean if during else None,
                    "during_ci": interval(during),
                    "final_accuracy": final.mean if final else None,
                    "final_ci": interval(final),
                    "published_during": line.during.value if line.during else None,
                    "published_final": line.final.value if line.final else None,
                    "verdict": line.verdict,
                    "status": line.status,
                    "budget": line.budget,
                }
            )
    return found


def to_json(table: ResultsTable) -> str:
    """A list of objects, one per row."""
    return json.dumps(objects(table), indent=1, ensure_ascii=False) + "\n"


def to_csv(table: ResultsTable) -> str:
    """One line per row; intervals as two columns."""
    output = io.StringIO()
    rows = [_flat(values) for values in objects(table)]
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
        else:
            flat[key] = value
    return flat


FORMATS: Mapping[str, Callable[[ResultsTable], str]] = {
    "markdown": to_markdown,
    "latex": to_latex,
    "csv": to_csv,
    "json": to_json,
}
"""Name -> renderer, of the formats that are text."""


def between_markers(text: str, suite: str, path: Path) -> tuple[int, int]:
    """Where a generated table stands in a file: after its begin marker, before its end marker.

    Raises:
        ClbenchError: A marker is missing, there twice, or in the wrong order.
    """
    places = []
    for word in ("begin", "end"):
        marker = f"<!-- clbench:{word} {suite} -->"
        count = text.count(marker)
        if count != 1:
            raise ClbenchError(
                f"{path}: expected the marker '{marker}' once, found it {count} times"
            )
        places.append(text.index(marker) + (len(marker) if word == "begin" else 0))
    if places[0] > places[1]:
        raise ClbenchError(f"{path}: the markers of '{suite}' are in the wrong order")
    return places[0], places[1]


def is_current(path: Path, table: ResultsTable) -> bool:
    """Whether a file has this table between its markers.

    Raises:
        ClbenchError: The file cannot be read, or its markers are not in order.
    """
    text = _text(path)
    begin, end = between_markers(text, table.suite, path)
    return text[begin:end].strip() == to_markdown(table).strip()


def update(path: Path, table: ResultsTable) -> bool:
    """Put this table between the markers of a file; whether that changed anything.

    Raises:
        ClbenchError: The file cannot be read or written, or its markers are not in order.
    """
    if is_current(path, table):
        return False
    text = _text(path)
    begin, end = between_markers(text, table.suite, path)
    path.write_text(f"{text[:begin]}\n\n{to_markdown(table)}\n{text[end:]}", encoding="utf-8")
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ClbenchError(f"{path}: cannot be read ({error})") from error
