"""Third-party plugins, really installed: the example, and a new project of every kind."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from installing import Environment

from clbench.scaffold import SKELETONS, run_options

pytestmark = pytest.mark.slow

AGEM = Path(__file__).parent.parent / "examples" / "clbench-agem"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment.create(tmp_path_factory.mktemp("installed") / "venv")


def _do(environment: Environment, cwd: Path, command: str) -> str:
    done = environment.run(command, cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def test_the_example_installs_runs_and_passes_its_tests(
    environment: Environment, tmp_path: Path
) -> None:
    project = tmp_path / "clbench-agem"
    ignored = shutil.ignore_patterns("__pycache__", ".*_cache", "results")
    shutil.copytree(AGEM, project, ignore=ignored)
    suite = "suites/permuted_copy.yaml"

    _do(environment, project, "pip install --editable .")
    listed = _do(environment, project, "clbench list learners")
    _do(environment, project, "clbench validate suites/split_mnist.yaml")
    run = _do(environment, project, f"clbench run {suite} --budget smoke --seeds 0 --jobs 1")
    _do(environment, project, "pytest -q")
    _do(environment, project, "ruff check --no-cache . && ruff format --no-cache --check .")

    for name in ("a-gem", "er"):
        (line,) = [line for line in listed.splitlines() if line.split()[1:2] == [name]]
        assert "[clbench-agem 0.1.0]" in line
    assert run.count(" seed 0: ok in ") == 5


@pytest.mark.parametrize("kind", SKELETONS)
def test_a_new_project_installs_runs_holds_and_passes_its_tests(
    environment: Environment, tmp_path: Path, kind: str
) -> None:
    name = f"new-{kind}"
    project = tmp_path / f"clbench-{name}"
    suite, options = f"suites/{name}.yaml", run_options(name, kind)
    jobs = "" if kind == "executor" else " --jobs 1"

    written = _do(environment, tmp_path, f"clbench plugin new {name} --kind {kind}")
    _do(environment, project, "pip install --editable '.[dev]'")
    listed = _do(environment, project, f"clbench list {kind}s")
    _do(environment, project, f"clbench run {suite}{options} --seeds 0{jobs}")
    _do(environment, project, f"clbench check {suite}")
    _do(environment, project, "pytest -q")

    assert written == (
        f"wrote clbench-{name}; next:\n"
        f"  cd clbench-{name}\n"
        "  pip install --editable '.[dev]'\n"
        "  pytest\n"
        f"  clbench run {suite}{options}\n"
    )
    assert f"[clbench-{name} 0.1.0]" in listed
