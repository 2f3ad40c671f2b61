"""What the command line tells of what is installed: names, plugins, suites, files of data."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import toys
from command import CLBENCH, TINY, clbench
from rich.console import Console

from clbench import listing
from clbench.hookspecs import Entry, hookimpl
from clbench.registry import KINDS, Kind, Registry

ROOT = Path(__file__).parent.parent


def test_listing_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['clbench', 'list']\n"
        "from clbench.cli import app\n"
        "try: app()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'scipy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert "online-ewc" in done.stdout


def test_names_and_suites_can_be_shown(tiny: Path) -> None:
    name = clbench("show", "online-ewc", cwd=tiny.parent, COLUMNS="200")
    variant = clbench("show", "chunked-hypernetwork", cwd=tiny.parent, COLUMNS="200")
    suite = clbench("show", tiny, cwd=tiny.parent)
    toy = clbench("show", ROOT / "suites/toy_regression.yaml", cwd=tiny.parent)

    assert "ewc_lambda number required Strength of the penalty." in " ".join(name.stdout.split())
    assert "fisher_samples whole number or all all" in " ".join(name.stdout.split())
    assert "source: Schwarz et al. 2018 (arXiv:1805.06370)" in name.stdout
    assert "look_ahead true or false false Whether" in " ".join(variant.stdout.split())
    assert "`" not in variant.stdout
    assert "suite 'tiny': 4 cells, 4 to run, 80 training steps in all\n" in suite.stdout
    assert "0 training steps in all, without those at '?'" in " ".join(toy.stdout.split())


def test_a_kind_is_shown_as_what_its_plugins_must_have(tmp_path: Path) -> None:
    shown = clbench("show", "regularizer", cwd=tmp_path, COLUMNS="40")

    lines = shown.stdout.splitlines()
    assert lines[:2] == [
        "class Regularizer(Protocol):",
        '    """A penalty that keeps parameters near values that served earlier tasks.',
    ]
    assert "    def consolidate(self, consolidation: Consolidation) -> None:" in lines
    assert "class Consolidation(Protocol):" in lines


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("task", "class TaskFamily(Protocol):"),
        ("model", "class MainNet(Protocol):"),
        ("learner", "class Learner(Protocol):"),
        ("regularizer", "class Regularizer(Protocol):"),
        ("executor", "class Executor(Protocol):"),
        ("tracker", "class Tracker(Protocol):"),
        ("dataset", "class Dataset(Protocol):"),
    ],
)
def test_every_kind_has_a_protocol_to_show(kind: Kind, first: str) -> None:
    shown = listing.describe(Registry.discover(), kind)

    assert kind in KINDS
    assert str(shown).splitlines()[0] == first


def test_a_broken_plugin_is_warned_of_and_does_not_stop_the_rest(tiny: Path) -> None:
    site = tiny.parent / "site"
    info = site / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clbench]\nbroken = broken_plugin\n")
    (site / "broken_plugin.py").write_text("raise RuntimeError('rotten')\n")

    listed = clbench("list", "plugins", cwd=tiny.parent, PYTHONPATH=str(site), COLUMNS="200")
    everything = clbench("list", cwd=tiny.parent, PYTHONPATH=str(site))
    validated = clbench("validate", tiny, cwd=tiny.parent, PYTHONPATH=str(site))
    tiny.write_text(TINY.replace("learner: fine-tuning,", "learner: rotten,"))
    needed = clbench("run", tiny, cwd=tiny.parent, PYTHONPATH=str(site))

    cause = f"import failed: RuntimeError: rotten ({site / 'broken_plugin.py'}, line 1)"
    assert "import failed: RuntimeError: rotten (" in listed.stdout
    assert "1 plugin has errors; see 'clbench list plugins'" in everything.stdout
    assert "regularization" in listed.stdout
    assert validated.returncode == 0
    assert f"warning: plugin 'broken' (broken): {cause}" in validated.stderr
    assert needed.returncode == 2
    assert "unknown learner 'rotten'" in needed.stderr
    assert f"plugin 'broken' (broken 1.0): {cause}" in needed.stderr


def test_plugins_are_listed_with_what_is_wrong_with_their_classes() -> None:
    class Hooks:
        @hookimpl
        def clbench_learners(self) -> list[Entry]:
            return [Entry("gone", "no_such_package:Gone", "is nowhere"), Entry("Bad", "", "")]

        @hookimpl
        def clbench_regularizers(self) -> list[Entry]:
            return [Entry("half", "pathlib:Path", "is something else")]

    registry = toys.registry()
    registry.register(Hooks(), "hooks", "hooks-dist", "2.0")
    shown = io.StringIO()

    Console(file=shown, width=60).print(listing.to_rich(registry, "plugins"), soft_wrap=True)

    assert [line.rstrip() for line in shown.getvalue().splitlines()] == [
        "plugin  distribution  version  status",
        "toys    toys          0.1      ok",
        "hooks   hooks-dist    2.0      3 errors",
        "",
        "hooks:",
        "  learner 'Bad': a name is lower-case words joined by '-'",
        "  learner 'gone' of plugin 'hooks' (hooks-dist 2.0) cannot be imported: "
        "ModuleNotFoundError: No module named 'no_such_package'",
        "  regularizer 'half' of plugin 'hooks' (hooks-dist 2.0) lacks the attribute 'Params'",
    ]


def test_the_files_of_datasets_are_listed_and_a_fetch_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / "cifar10-jpeg.zip").write_bytes(b"")
    environment = os.environ | {"CLBENCH_DATA": str(tmp_path), "COLUMNS": "200"}

    listed, fetched, unknown = (
        subprocess.run(
            [CLBENCH, "data", *arguments],
            capture_output=True,
            text=True,
            env=environment
            | {"http_proxy": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"},
        )
        for arguments in (["status"], ["fetch", "mnist"], ["fetch", "mnst"])
    )

    assert listed.returncode == 0
    assert "train-images-idx3-ubyte.gz  missing" in listed.stdout
    assert str(tmp_path / "cifar10-jpeg.zip") in listed.stdout
    assert fetched.returncode == unknown.returncode == 2
    assert fetched.stderr.startswith("error: cannot download https://")
    assert unknown.stderr.startswith("error: unknown dataset 'mnst'; did you mean 'mnist'?")


@pytest.mark.parametrize(
    ("variable", "arguments"),
    [
        ("CLBENCH_DATA", ["data", "status"]),
        ("CLBENCH_CACHE", ["run", "tiny.yaml"]),
        ("OTHER", ["run", "tiny.yaml", "--track", "tensorboard:folder=~nobody-here/x"]),
        ("OTHER", ["run", "tiny.yaml", "--executor", "slurm", "-x", "folder=~nobody-here/x"]),
    ],
)
def test_a_home_directory_that_does_not_exist_is_told(
    variable: str, arguments: list[str], tiny: Path
) -> None:
    done = clbench(*arguments, cwd=tiny.parent, **{variable: "~nobody-here/x"})

    assert done.stderr == "error: ~nobody-here/x: there is no such home directory\n"
    assert done.returncode == 2


def test_reasons_may_have_brackets(tiny: Path) -> None:
    text = tiny.read_text()
    tiny.write_text(
        f"{text}exclude:\n- {{method: online-ewc, task: '*', why: 'see [/1] [b]x[/b]'}}\n"
    )

    done = clbench("run", tiny, "--dry-run", cwd=tiny.parent)

    assert "excluded: see [/1] [b]x[/b]" in done.stdout
    assert done.returncode == 0


def test_seeds_that_are_empty_are_not_all_seeds(tiny: Path) -> None:
    done = clbench("run", tiny, "--dry-run", "--seeds", "", cwd=tiny.parent)

    assert done.stderr == "error: expected seeds such as '0-4,7', found ''\n"


def test_a_full_disk_is_told_in_a_line(tiny: Path) -> None:
    (tiny.parent / "results").mkdir()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [CLBENCH, "table", tiny, "--format", "csv"],
            cwd=tiny.parent,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )

    assert done.stderr == "error: [Errno 28] No space left on device\n"
    assert done.returncode == 2


def test_no_path_of_a_dataset_is_broken_whatever_the_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a folder with spaces" / ("deep" * 12)
    home.mkdir(parents=True)
    (home / "cifar10-jpeg.zip").write_bytes(b"")
    monkeypatch.setenv("CLBENCH_DATA", str(home))

    narrow, wide = (
        clbench("data", "status", cwd=tmp_path, COLUMNS=columns).stdout.splitlines()
        for columns in ("80", "400")
    )

    assert narrow[2:5] == [
        "cifar10-jpeg", "  cifar10-jpeg.zip: ok", f"    {home / 'cifar10-jpeg.zip'}",
    ]  # fmt: skip
    assert narrow[-1] == wide[-1] == f"looked in {home} (CLBENCH_DATA names other folders)"
    assert " ".join(wide[2].split()) == (
        f"cifar10-jpeg cifar10-jpeg.zip ok {home / 'cifar10-jpeg.zip'}"
    )
