"""The arrows of the architecture are the import directions, and nothing happens at import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

STAGES = [  # a module may import modules of the stages above its own, and of its own
    {"errors", "params", "scenario", "hookspecs", "metrics", "significance", "sources"}
    | {"student", "grids", "cache", "files"},
    {"config", "registry", "promises", "yaml12", "devices", "data"},
    {"records", "protocols", "checks", "families"},
    {"thresholds", "compatibility", "images", "statistics", "published"},
    {"suite", "store", "randomness"},
    {"matrix", "batching", "optimisation", "weight_learner", "sample_gradients", "mixing"}
    | {"penalties"}
    | {"curves", "replicas", "moving", "graphs", "samples", "scoring"},
    {"observing"},
    {"executor", "tracking", "provenance", "references", "gate", "tables", "checkpoints"}
    | {"groups", "staleness"},
    {"columns", "comparison", "explain", "schema", "analysis", "claims"} | {"resolved"},
    {"cell_run", "lessons", "regimes", "runner", "render", "progress"},
    {
        "executor_contract",
        "regularizer_contract",
        "states",
        "markers",
        "tracker_contract",
        "dataset_contract",
        "testing",
        "tape",
        "local",
        "worker",
        "local_pool",
        "engines",
        "session",
    },
    {"listing", "scaffold", "completion", "report", "pytest_plugin", "terminal"},
    {"cli_analysis", "cli_plugins"},
    {"cli"},
    {"__main__"},
]
"""Stage by stage; the order is that of the design's one direction."""


def _module_files() -> list[Path]:
    return sorted((ROOT / "clbench").rglob("*.py"))


def _imports(path: Path) -> set[str]:
    """Names of the clbench modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if node.module == "clbench":
                names = [f"clbench.{alias.name}" for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith("clbench.")}
    return found


def _name(path: Path) -> str:
    """``protocols`` for all modules of that package."""
    return path.relative_to(ROOT / "clbench").with_suffix("").parts[0]


def _stage(module: str) -> int:
    (stage,) = [i for i, stage in enumerate(STAGES) if module in stage]
    return stage


def test_every_module_has_a_stage() -> None:
    modules = {_name(path) for path in _module_files()} - {"__init__"}

    assert modules == set().union(*STAGES)


@pytest.mark.parametrize(
    "path", [p for p in _module_files() if _name(p) != "__init__"], ids=lambda path: path.stem
)
def test_imports_go_one_way(path: Path) -> None:
    wrong = {name for name in _imports(path) if _stage(name) > _stage(_name(path))}

    assert wrong == set()


def test_the_harness_imports_no_method_and_no_task() -> None:
    for path in _module_files():
        text = path.read_text()
        assert "import clbench_" not in text
        assert "from clbench_" not in text


def test_plugins_do_not_import_the_command_line_or_the_engine() -> None:
    allowed = set().union(*STAGES[:6]) | {"executor", "tracking"}
    engines = {"worker", "local_pool", "checkpoints"}  # what engines are made of
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        is_engine = path.parent.name in ("clbench_ray", "clbench_slurm")
        assert _imports(path) <= (allowed | engines if is_engine else allowed), path


@pytest.mark.parametrize(
    "modules",
    [
        "clbench.suite, clbench.matrix, clbench.store, clbench.tables, clbench.gate, clbench.cli",
        "clbench_copytask, clbench_regularization, clbench.local",
    ],
)
def test_reading_and_listing_imports_no_torch(modules: str) -> None:
    code = f"import sys; import {modules}; sys.exit('torch' in sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_module_is_longer_than_one_job() -> None:
    files = [*_module_files(), *(ROOT / "plugins").rglob("*.py")]

    assert [path for path in files if len(path.read_text().splitlines()) > 450] == []


def test_global_generators_are_never_seeded() -> None:
    for path in [*_module_files(), *(ROOT / "plugins").rglob("*.py")]:
        if path.stem == "testing":  # seeds them to see whether anything depends on them
            continue
        nodes = ast.walk(ast.parse(path.read_text()))
        names = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
        assert not names & {"torch.manual_seed", "np.random.seed", "random.seed"}, path
