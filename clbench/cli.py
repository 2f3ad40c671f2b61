"""The command line: one short function per command; errors become text and exit codes here.

Exit codes: 0 all is well, 1 a cell failed or a threshold is not reached, 2 bad input, 130 stopped
by Ctrl-C or SIGTERM. Tables and listings go to stdout; progress and notices to stderr. The heavy
modules are imported by the commands that need them, so that listing starts at once.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from clbench import cli_analysis, cli_plugins, completion
from clbench.errors import ClbenchError
from clbench.registry import KINDS, Registry
from clbench.terminal import Results, SuiteFile, notices, out, tell_changed, write_plainly
from clbench.terminal import check_folder as _check_folder
from clbench.terminal import check_published as _check_published
from clbench.terminal import console as _console
from clbench.terminal import load as _load
from clbench.terminal import registry as _registry
from clbench.terminal import warn as _warn
from clbench.terminal import width as _width
from clbench.terminal import write as _write

if TYPE_CHECKING:
    from clbench.columns import View
    from clbench.session import Plan
    from clbench.suite import Suite
    from clbench.tables import ResultsTable

app = typer.Typer(
    help="Continual-learning benchmarks: run a suite, read the table, guard the accuracy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_analysis.app)  # without a name: its commands are commands of clbench
app.add_typer(cli_plugins.data_app, name="data")
app.add_typer(cli_plugins.plugin_app, name="plugin")

Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        help="Glob of task/method, of a task or of a method; repeatable.",
        autocompletion=completion.rows,
    ),
]
Seeds = Annotated[str | None, typer.Option("--seeds", help="Some of the suite's seeds: '0-4,7'.")]
Budget = Annotated[
    str, typer.Option("--budget", help="Fraction of the training steps, or one the suite names.")
]


def main() -> None:
    """Entry point of the ``clbench`` command."""
    write_plainly()
    try:
        app()
    except (ClbenchError, OSError) as error:  # a full disk, a folder one may not enter
        notices.print(Text.assemble(("error:", "red"), f" {error}"), soft_wrap=True)
        sys.exit(2)
    finally:
        gc.freeze()  # the process ends: to look through all of torch for cycles takes half a second


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"clbench {version('clbench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    suites: Annotated[list[Path], typer.Argument(help="Suite files.")],
    only: Only = None,
    seeds: Seeds = None,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", min=1, help="Worker processes (all cores, or all GPUs)."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            "--device",
            help="Where cells compute: cpu, cuda, or auto: cuda where it is (cpu).",
            autocompletion=completion.devices,
        ),
    ] = None,
    executor: Annotated[
        str,
        typer.Option(
            "--executor", help="Engine that runs cells.", autocompletion=completion.executors
        ),
    ] = "local",
    options: Annotated[
        list[str] | None,
        typer.Option("-x", metavar="KEY=VALUE", help="Parameter of the executor; repeatable."),
    ] = None,
    track: Annotated[
        list[str] | None,
        typer.Option(
            "--track",
            metavar="NAME[:KEY=VALUE]",
            help="Tracker to tell of the run, or a parameter of one; repeatable.",
            autocompletion=completion.trackers,
        ),
    ] = None,
    budget: Budget = "1",
    results: Results = Path("results"),
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0, help="Seconds that a cell may take.")
    ] = None,
    checkpoint_seconds: Annotated[
        float | None,
        typer.Option("--checkpoint-seconds", min=0, help="Time between a cell's checkpoints (60)."),
    ] = None,
    lockstep: Annotated[
        str,
        typer.Option(
            "--lockstep", help="Seeds of a row as one program: off, at most N, or auto (streams)."
        ),
    ] = "off",
    force: Annotated[
        bool, typer.Option("--force", help="Run cells that have a record or a checkpoint too.")
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first failure.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and stop.")
    ] = False,
) -> None:
    """Run the cells of suites that have no record yet, and print the table."""
    from clbench import devices, engines, groups, session

    if device is not None:
        devices.check(device)
    registry, width = _registry(), groups.parse_width(lockstep)
    given = {"jobs": jobs, "device": device, "timeout": timeout}
    given |= {"checkpoint_seconds": checkpoint_seconds}
    engine = engines.engine(registry, executor, engines.read_options(options or (), given))
    trackers = engines.trackers(registry, track or ())
    loaded = [_load(path, registry, anew=not dry_run) for path in suites]
    plans = [_plan(suite, only, seeds, budget, results, force) for suite in loaded]
    for suite in loaded:  # rather now than after hours of work
        _check_published(suite, results)
    for plan in plans:
        if not force:
            tell_changed([cell.config for cell in plan.cells], plan.store, registry)
    if dry_run:
        for plan in plans:
            out.print(session.describe(plan))
            sys.stdout.write(session.preview(plan, engine, notices, registry, width))
        return
    good = True
    for plan in plans:
        try:
            good &= session.execute(plan, engine, notices, fail_fast, registry, width, trackers)
        except KeyboardInterrupt:
            notices.print("stopped; finished cells are kept, the same command runs the rest")
            raise typer.Exit(130) from None
        _print_table(session.table(plan), "rich")
        if fail_fast and not good:
            break
    raise typer.Exit(0 if good else 1)


@app.command()
def table(
    suite: SuiteFile,
    format: Annotated[
        str, typer.Option("--format", help="rich, svg, markdown, latex, csv or json.")
    ] = "rich",
    only: Only = None,
    seeds: Seeds = None,
    budget: Budget = "1",
    results: Results = Path("results"),
    update: Annotated[
        Path | None, typer.Option("--update", help="Put the table between this file's markers.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Exit 1 if this file's table is not current.")
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", help="Names such as 'final_accuracy,forgetting'.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", help="Column to sort by under each heading; '-NAME': descending."),
    ] = None,
    mark_best: Annotated[
        bool,
        typer.Option("--mark-best", help="Mark what a test shows to be better than all others."),
    ] = False,
) -> None:
    """Print the results of a suite beside the published values."""
    from clbench import columns as columns_
    from clbench import markers, session

    if update and check:
        raise ClbenchError("--update and --check exclude each other")
    if (update or check) and format not in ("rich", "markdown"):
        raise ClbenchError(f"--update and --check are of Markdown tables, not of {format}")
    registry = _registry()
    loaded = _load(suite, registry)
    _check_folder(results)
    _check_published(loaded, results)
    plan = _plan(loaded, only, seeds, budget, results)
    found = session.table(plan)
    whole = session.table(_plan(loaded, None, seeds, budget, results)) if mark_best else found
    tell_changed([cell.config for cell in plan.cells], plan.store, registry)
    names = [name.strip() for name in columns.split(",")] if columns is not None else None
    view = columns_.View(
        columns_.choose(found, names) if names is not None else None,
        columns_.best(whole) if mark_best else None,
    )
    if sort is not None:
        found = columns_.arranged(found, sort)
    if update is not None:
        changed = markers.update(update, found, view)
        notices.print(f"{update}: {'updated' if changed else 'already current'}")
    elif check is not None:
        if not markers.is_current(check, found, view):
            notices.print(f"{check}: its table of '{loaded.name}' is not that of {results}")
            raise typer.Exit(1)
    else:
        _print_table(found, format, view)


@app.command()
def check(
    suite: SuiteFile,
    only: Only = None,
    results: Results = Path("results"),
    against: Annotated[
        Path | None,
        typer.Option("--against", help="Folder of reference records, to be no worse than."),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write the outcome to this file for a CI.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say of what does not hold what has changed.")
    ] = False,
    format: Annotated[
        str, typer.Option("--format", help="rich, or github: annotations of a workflow besides.")
    ] = "rich",
) -> None:
    """Judge the thresholds of a suite against the records: exit 0 if all hold, 1 if not."""
    from clbench import explain as explaining
    from clbench import gate, matrix, published
    from clbench.errors import UnknownNameError
    from clbench.store import Store

    if format not in ("rich", "github"):
        raise UnknownNameError("format", format, ["rich", "github"])
    registry = _registry()
    loaded = _load(suite, registry)
    rows, store = matrix.select(loaded, only or ("*",)), Store(results)
    checks = gate.judge(rows, store, registry)
    alone: list[str] = []
    if against is not None:
        ledger = published.find(results, loaded.path, loaded.published)
        compared = gate.compare(loaded.name, rows, store, Store(against), ledger, registry)
        alone = gate.uncompared(rows, compared)
        checks += compared
    if not checks:
        raise ClbenchError(
            f"{suite}: none of the {len(rows)} rows has a threshold; `expect` sets them in the "
            "suite, and --against takes them from other records"
        )
    told: dict[str, str] = {}
    if explain:
        found = explaining.explain(loaded, checks, store, Store(against) if against else None)
        told = {one.row: "\n".join(one.lines()) for one in found}
    if junit is not None:
        _write(junit, gate.to_junit(loaded.name, checks, told))
    width = _width()
    _console(width).print(gate.to_rich(checks, width))
    if alone:
        text = f"not compared, as {against} has no full-budget record of them: {', '.join(alone)}"
        out.print(f"\n{text}", soft_wrap=True)
    if what_to_do := gate.advice(suite, rows, checks, store):
        out.print(f"\n{what_to_do}", soft_wrap=True)
    judged = {check.row for check in checks}
    cells = [config for row in rows if row.key in judged for config in row.cells]
    tell_changed(cells, store, registry)
    for text in told.values():
        out.print(f"\n{text}", soft_wrap=True)
    if format == "github":
        sys.stdout.write(gate.to_github(suite, checks, told))
    raise typer.Exit(0 if all(one.status == "holds" for one in checks) else 1)


@app.command()
def report(
    suite: SuiteFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file (<suite>-report.html).")
    ] = None,
    only: Only = None,
    seeds: Seeds = None,
    budget: Budget = "1",
    results: Results = Path("results"),
) -> None:
    """Write tables, matrices, curves and configurations of a suite into one HTML file."""
    from clbench import session

    try:
        from clbench.report import contents, page
    except ModuleNotFoundError as error:
        raise ClbenchError(
            f"a report needs {error.name}, which is not installed: pip install 'clbench[report]'"
        ) from error

    registry = _registry()
    loaded = _load(suite, registry)
    _check_folder(results)
    plan = _plan(loaded, only, seeds, budget, results)
    found = contents.gather(loaded, plan.rows, plan.seeds, session.table(plan), plan.store)
    tell_changed([cell.config for cell in plan.cells], plan.store, registry)
    path = output or Path(f"{loaded.name}-report.html")
    _write(path, page.to_html(found))
    notices.print(f"wrote {path}", soft_wrap=True)


@app.command()
def validate(
    suites: Annotated[list[Path], typer.Argument(help="Suite files.")],
    results: Results = Path("results"),
) -> None:
    """Check suite files whole, with their published values, without running anything."""
    from clbench.errors import FileError

    registry, bad = _registry(), 0
    for path in suites:
        try:
            loaded = _load(path, registry, anew=True)
            _check_published(loaded, results)
        except FileError as error:
            bad += 1
            notices.print(str(error), soft_wrap=True)
            continue
        cells = sum(len(row.cells) for row in loaded.rows)
        typer.echo(f"{path}: suite '{loaded.name}', {len(loaded.rows)} rows, {cells} cells")
    raise typer.Exit(2 if bad else 0)


@app.command("list")
def list_(
    what: Annotated[
        str | None,
        typer.Argument(
            help="tasks, models, learners, regularizers, executors, trackers, datasets or plugins.",
            autocompletion=completion.listings,
        ),
    ] = None,
) -> None:
    """List what plugins register, or the plugins themselves."""
    from clbench import listing

    known = [*(f"{kind}s" for kind in KINDS), "plugins"]
    if what is not None and what not in known:
        from clbench.errors import UnknownNameError

        raise UnknownNameError("listing", what, known)
    out.print(listing.to_rich(Registry.discover(), what), soft_wrap=not out.is_terminal)


@app.command()
def show(
    what: Annotated[
        str,
        typer.Argument(
            help="A registered name, a kind such as regularizer, or a suite file.",
            autocompletion=completion.names,
        ),
    ],
    results: Results = Path("results"),
) -> None:
    """Show the matrix of a suite, the parameters of a name, or what a kind of plugin must have."""
    from clbench import listing, session

    registry = _registry()
    path = Path(what)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        suite = _load(path, registry)
        plan = _plan(suite, None, None, "1", results)
        out.print(session.describe(plan))
    else:
        shown = listing.describe(registry, what, _warn)
        out.print(shown, soft_wrap=isinstance(shown, Text))  # code stays as it is


def _plan(
    suite: Suite,
    only: list[str] | None,
    seeds: str | None,
    budget: str,
    results: Path,
    force: bool = False,
) -> Plan:
    from clbench import matrix, session

    return session.plan(
        suite,
        only or ("*",),
        matrix.parse_seeds(seeds) if seeds is not None else None,
        matrix.parse_budget(budget, suite),
        results,
        force,
    )


def _print_table(found: ResultsTable, format: str, view: View | None = None) -> None:
    from clbench import render
    from clbench.columns import DEFAULT

    view = view or DEFAULT

    if format == "rich":
        width = _width()
        _console(width).print(render.to_rich(found, width, view))
        return
    if format not in render.FORMATS:
        from clbench.errors import UnknownNameError

        raise UnknownNameError("format", format, ["rich", *render.FORMATS])
    sys.stdout.write(render.FORMATS[format](found, view))
