"""A plugin of one's own to begin with: a pip-installable project that already runs.

The files are rendered from the text templates of this folder, those of ``common`` and those of
the kind. The project is called ``clbench-NAME`` and its package ``clbench_NAME``, so that no name
can hide a module of Python's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from string import Template

from clbench.errors import ClbenchError, UnknownNameError
from clbench.registry import KINDS, Kind, Registry

MAX_LENGTH = 30
"""Characters of a name, so that lines with it stay short."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What the templates of a kind say of it.

    Attributes:
        suffix: End of the class's name; a dataset is an object, and has none.
        summary: What the skeleton does, for `clbench list`.
    """

    suffix: str
    summary: str


SKELETONS: dict[Kind, Skeleton] = {
    "learner": Skeleton("Learner", "slows down in hidden layers from task to task"),
    "regularizer": Skeleton("Regularizer", "pulls weights to where the last task left them"),
    "task": Skeleton("Tasks", "asks on which side of a line a point lies"),
    "dataset": Skeleton("", "shows stripes whose direction is the class"),
    "executor": Skeleton("Executor", "runs cells one by one in this process"),
    "tracker": Skeleton("Tracker", "writes what it is told of a cell to a file, line by line"),
}


def new_project(name: str, kind: str, into: Path, registry: Registry) -> Path:
    """Write the project ``clbench-NAME`` into a folder, which is made where it is missing.

    Returns:
        The folder of the project.

    Raises:
        ClbenchError: The kind or the name will not do, the name is registered already, or the
            folder exists or cannot be written.
    """
    found = next((known for known in SKELETONS if known == kind), None)
    if found is None:
        raise UnknownNameError("kind of plugin", kind, SKELETONS)
    _check_name(name, registry)
    project = into / f"clbench-{name}"
    if project.exists():
        raise ClbenchError(f"{project} exists already")
    try:
        for path, text in _render(name, found).items():
            (project / path).parent.mkdir(parents=True, exist_ok=True)
            (project / path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClbenchError(f"cannot write {project}: {error.strerror}") from error
    return project


def run_options(name: str, kind: str) -> str:
    """What ``clbench run`` needs besides the suite of a new project, with a space before it."""
    options = {"executor": "--executor", "tracker": "--track"}
    return f" {options[kind]} {name}" if kind in options else ""


def _check_name(name: str, registry: Registry) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name) or len(name) > MAX_LENGTH:
        raise ClbenchError(
            f"expected a name of lower-case words joined by '-', at most {MAX_LENGTH} characters, "
            f"such as 'gentle-pull'; found '{name}'"
        )
    if name in ("true", "false", "null"):
        raise ClbenchError(f"name '{name}' will not do: in a suite it is no text")
    for kind in KINDS:
        taken = registry.table(kind).get(name)
        if taken is not None:
            by = f"{taken.plugin.distribution} {taken.plugin.version}"
            raise ClbenchError(f"name '{name}' is taken: {by} registers a {kind} under it")
    package = _package(name)
    if find_spec(package) is not None:
        raise ClbenchError(f"name '{name}' will not do: a package '{package}' is installed already")


def _package(name: str) -> str:
    return f"clbench_{name.replace('-', '_')}"


def _render(name: str, kind: Kind) -> dict[str, str]:
    """Path in the project -> text."""
    skeleton, package = SKELETONS[kind], _package(name)
    is_object = kind == "dataset"
    cls = "".join(map(str.capitalize, name.split("-"))) + skeleton.suffix
    values = {
        "name": name,
        "kind": kind,
        "module": kind,
        "distribution": f"clbench-{name}",
        "package": package,
        "cls": name.replace("-", "_").upper() if is_object else cls,
        "version_where": "in `pyproject.toml`, and be installed again" if is_object else "there",
        "clbench_version": version("clbench"),
        "summary": f"It {skeleton.summary}.",
        "summary_in_list": skeleton.summary,
        "run_options": run_options(name, kind),
    }
    sources = {
        "pyproject.toml": "common/pyproject.toml.tmpl",
        "README.md": "common/README.md.tmpl",
        ".gitignore": "common/gitignore.tmpl",
        f"{package}/__init__.py": "common/__init__.py.tmpl",
        f"{package}/{kind}.py": f"{kind}/{kind}.py.tmpl",
        f"suites/{name}.yaml": f"{kind}/suite.yaml.tmpl",
        f"tests/test_{kind}.py": f"{kind}/test_{kind}.py.tmpl",
    }
    folder = files("clbench.scaffold")
    return {
        path: Template(folder.joinpath(source).read_text(encoding="utf-8")).substitute(values)
        for path, source in sources.items()
    }
