"""The commands that compare and describe: one short function per command, as in `clbench.cli`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from clbench import terminal
from clbench.terminal import Results, SuiteFile

if TYPE_CHECKING:
    from clbench.comparison import Finding

app = typer.Typer()

Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Metric to compare, such as final_accuracy; repeatable."),
]
Margin = Annotated[
    float | None,
    typer.Option("--margin", min=0, help="Smaller differences do not matter: test equivalence."),
]
FindingsFormat = Annotated[str, typer.Option("--format", help="rich or json.")]


@app.command()
def compare(
    suite: SuiteFile,
    a: Annotated[str, typer.Argument(help="Method (on all tasks), or task/method.")],
    b: Annotated[str, typer.Argument(help="The other one.")],
    metric: Metrics = None,
    margin: Margin = None,
    results: Results = Path("results"),
    format: FindingsFormat = "rich",
) -> None:
    """Compare two methods of a suite, paired by seed.

    Methods answer different questions, so the suite says which belong together. Two folders answer
    the same questions and need no suite: for these there is compare-results.
    """
    from clbench import comparison
    from clbench.store import Store

    registry, store = terminal.registry(), Store(results)
    pairings = comparison.of_methods(terminal.load(suite, registry), store, a, b)
    sides = [side for pairing in pairings for side in (pairing.first, pairing.second)]
    configs = [record.config for side in sides for record in side.values()]
    terminal.tell_changed(configs, store, registry)
    _print_findings(comparison.compare(pairings, metric, margin), a, b, format)


@app.command("compare-results")
def compare_results(
    a: Annotated[Path, typer.Argument(help="A folder of records.")],
    b: Annotated[Path, typer.Argument(help="Another one.")],
    metric: Metrics = None,
    margin: Margin = None,
    format: FindingsFormat = "rich",
) -> None:
    """Compare the records of two folders, question by question, paired by seed.

    Records of equal questions belong together whatever versions they were made with, so there is no
    suite to name. For two methods of one suite there is compare.
    """
    from clbench import comparison
    from clbench.store import Store

    pairings = comparison.of_folders(Store(a), Store(b))
    _print_findings(comparison.compare(pairings, metric, margin), str(a), str(b), format)


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write instead of printing.")
    ] = None,
) -> None:
    """Print the JSON schema of suite files, with all that is registered, for editors."""
    import json

    from clbench.schema import of_suites

    found = of_suites(terminal.registry(), terminal.warn)
    text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    if output is None:
        sys.stdout.write(text)
    else:
        terminal.write(output, text)
        terminal.notices.print(f"{output}: written")


def _print_findings(findings: list[Finding], a: str, b: str, format: str) -> None:
    from clbench import comparison

    if format == "json":
        sys.stdout.write(comparison.to_json(findings))
    elif format == "rich":
        width = terminal.width()
        terminal.console(width).print(comparison.to_rich(findings, a, b, width))
    else:
        from clbench.errors import UnknownNameError

        raise UnknownNameError("format", format, ["rich", "json"])
