"""The commands for data and for plugins: one short function per command, as in `clbench.cli`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from clbench import completion
from clbench.terminal import console, notices, registry, width

data_app = typer.Typer(
    help="The datasets' files: what is here, and fetching.", no_args_is_help=True
)


@data_app.command()
def status() -> None:
    """Say of every dataset which files are here, and check them."""
    from clbench import listing

    columns = width()
    found = listing.data_status(registry(), columns)
    console(columns).print(found, soft_wrap=True)


@data_app.command()
def fetch(
    datasets: Annotated[
        list[str],
        typer.Argument(
            help="Names of datasets, such as mnist.", autocompletion=completion.datasets
        ),
    ],
) -> None:
    """Download the missing files of datasets, with checksums, into the first data home."""
    from clbench import data

    known = registry()
    found = [known.find("dataset", name).load() for name in datasets]
    for dataset in found:
        new = data.fetch(dataset)
        for path in new:
            notices.print(f"fetched {path}", soft_wrap=True)
        if not new:
            notices.print(f"{dataset.name}: nothing is missing")


plugin_app = typer.Typer(help="Plugins of one's own.", no_args_is_help=True)


@plugin_app.command("new")
def new_plugin(
    name: Annotated[str, typer.Argument(help="What suites will call it, such as gentle-pull.")],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="learner, regularizer, task, dataset, executor or tracker.",
            autocompletion=completion.kinds,
        ),
    ] = "learner",
    into: Annotated[Path, typer.Option("--into", help="Folder of the new project.")] = Path(),
) -> None:
    """Write a pip-installable project with a plugin that already runs."""
    from clbench import scaffold

    project = scaffold.new_project(name, kind, into, registry())
    typer.echo(f"wrote {project}; next:")
    typer.echo(f"  cd {shlex.quote(str(project))}")
    typer.echo("  pip install --editable '.[dev]'")
    typer.echo("  pytest")
    typer.echo(f"  clbench run suites/{name}.yaml{scaffold.run_options(name, kind)}")
