"""A results table as rich, markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

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
    parts: list[RenderableType] = [Text(title(table), style="bold")]
    for section in table.sections:
        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=False)
        columns = wide_columns(table) if width >= WIDE else _narrow_columns(table)
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
    parts += [Text(""), *(Text(note, style="dim") for note in notes(table))]
    return Group(*parts)


def _coloured(text: str) -> Text:
    first = text.split(" (")[0]
    style = _COLOURS.get(
        first, "red" if first.startswith(("failed", "timed-out", "out-of")) else ""
    )
    return Text(text, style=style)


def title(table: ResultsTable) -> str:
    """The table's title, with its budget where that is reduced."""
    if table.budget == 1:
        return table.title
    return f"{table.title}: {_percent(table.budget)} budget, a quick look"


def _percent(budget: float) -> str:
    return f"{100 * budget:g} %"


def notes(table: ResultsTable) -> list[str]:
    """What a reader must know of the columns and the verdicts."""
    unit = f" in {table.unit}" if table.unit else ""
    meaning = f"during: mean score{unit} right after learning each task; final: after learning all."
    if table.is_stream:
        meaning = (
            f"online: mean score{unit} of the predictions before each update; plasticity: mean "
            "part of the loss that an update takes away; forgetting: first two tasks less last two."
        )
    notes = [f"{meaning} ± is the half-width of the 95 % confidence interval over n seeds."]
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


Cell: TypeAlias = Callable[[Line], str]


def _narrow_columns(table: ResultsTable) -> dict[str, Cell]:
    def mean(name: str) -> Cell:
        return lambda line: _mean(line.summaries[name], _decimals(table, name))

    return {heading: mean(name) for heading, name in _main(table).items()} | {
        "n": lambda line: str(line.num_seeds),
        "published": lambda line: _published(line, table),
        "verdict": _verdict,
    }


def wide_columns(table: ResultsTable) -> dict[str, Cell]:
    """Heading -> text of a line, of every column that there is."""

    def interval(name: str) -> Cell:
        return lambda line: _interval(line.summaries[name], _decimals(table, name))

    def mean(name: str) -> Cell:
        return lambda line: _mean(line.summaries[name], _decimals(table, name))

    columns: dict[str, Cell] = {heading: interval(name) for heading, name in _main(table).items()}
    columns |= {
        "n": lambda line: str(line.num_seeds),
        "published": lambda line: _published(line, table),
        "verdict": _verdict,
    }
    further = _OF_STREAMS if table.is_stream else _OF_TASKS
    columns |= {heading: mean(name) for heading, name in further.items()}
    return columns | {
        "minutes": lambda line: "–" if line.minutes is None else f"{line.minutes:.1f}",
        "parameters": lambda line: "–" if line.parameters is None else f"{line.parameters:,}",
    }


def _main(table: ResultsTable) -> Mapping[str, str]:
    """Heading -> summary, of the columns that every table has."""
    if table.is_stream:
        return {
            "online": "online_accuracy",
            "last task": "last_task_accuracy",
            "plasticity": "plasticity",
            "forgetting": "online_forgetting",
        }
    return {"during": "during_accuracy", "final": "final_accuracy"}


_OF_TASKS = {
    "backward": "backward_transfer",
    "forward": "forward_transfer",
    "forgetting": "forgetting",
}
_OF_STREAMS = {
    "off by one": "online_accuracy_off_by_one",
    "loss of plasticity": "loss_of_plasticity",
}


def _decimals(table: ResultsTable, name: str) -> int:
    return 4 if name in ("plasticity", "loss_of_plasticity") else table.decimals


def _mean(found: Aggregate | None, decimals: int) -> str:
    return "–" if found is None else f"{found.mean:.{decimals}f}"


def _interval(found: Aggregate | None, decimals: int) -> str:
    if found is None or found.high is None:
        return _mean(found, decimals)
    return f"{found.mean:.{decimals}f} ±{found.high - found.mean:.{decimals}f}"


def _published(line: Line, table: ResultsTable) -> str:
    """``99.93 / 98.66``, during and final; of streams, online."""
    if not line.published:
        return ""
    wanted = ("online",) if table.is_stream else ("during", "final")
    return " / ".join(_number(line.published.get(name), table.decimals) or "–" for name in wanted)


def _number(number: Number | None, decimals: int) -> str:
    if number is None:
        return ""
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
        rows = [[line.label, *_cells(line, table)] for line in lines]
        grid = tabulate(
            [[cell.replace("|", "\\|") for cell in row] for row in rows],
            headers=[section.heading, *_headings(table)],
            tablefmt="pipe",
            disable_numparse=True,
            colalign=_alignment(table),
        )
        texts.append(grid)
    return "\n\n".join([*texts, *notes(table)]) + "\n"


def _headings(table: ResultsTable) -> list[str]:
    published = ["online"] if table.is_stream else ["during", "final"]
    return [*_main(table), "n", *(f"published {name}" for name in published), "verdict"]


def _cells(line: Line, table: ResultsTable) -> list[str]:
    published = ["online"] if table.is_stream else ["during", "final"]
    return [
        *(_interval(line.summaries[n], _decimals(table, n)) for n in _main(table).values()),
        str(line.num_seeds),
        *(_number(line.published.get(name), table.decimals) for name in published),
        _verdict(line),
    ]


def _alignment(table: ResultsTable) -> list[str]:
    return ["left", *["right"] * (len(_headings(table)) - 1), "left"]


def to_latex(table: ResultsTable) -> str:
    """Tables for LaTeX's booktabs package, one per heading."""
    texts = [f"% {title(table)}"]
    for section in table.sections:
        lines = [line for line in section.lines if not line.status.startswith("excluded")]
        rows = [[line.label, *_cells(line, table)] for line in lines]
        texts.append(
            tabulate(
                [[_tex(cell) for cell in row] for row in rows],
                headers=[_tex(heading) for heading in (section.heading, *_headings(table))],
                tablefmt="latex_raw",
                disable_numparse=True,
                colalign=_alignment(table),
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
            published = {name: number.value for name, number in line.published.items()}
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
                    "published_during": published.get("during"),
                    "published_final": published.get("final"),
                    "verdict": line.verdict,
                    "status": line.status,
                    "budget": line.budget,
                }
                | (_stream_values(line, interval) if table.is_stream else {})
            )
    return found


def _stream_values(
    line: Line, interval: Callable[[Aggregate | None], list[float] | None]
) -> dict[str, Any]:
    """What rows of streams have besides."""
    means = {name: found.mean if found else None for name, found in line.summaries.items()}
    online = line.published.get("online")
    return {
        "online_accuracy": means["online_accuracy"],
        "online_ci": interval(line.summaries["online_accuracy"]),
        "online_accuracy_off_by_one": means["online_accuracy_off_by_one"],
        "last_task_accuracy": means["last_task_accuracy"],
        "plasticity": means["plasticity"],
        "online_forgetting": means["online_forgetting"],
        "loss_of_plasticity": means["loss_of_plasticity"],
        "published_online": online.value if online else None,
    }


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
