"""The README says what is so."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command import CLBENCH

from clbench import gate
from clbench.registry import KINDS, Registry
from clbench.store import Store
from clbench.suite import load

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TABLES = [
    (page, command, suite)
    for page in PAGES
    for command, suite in re.findall(
        r"^(?:<!-- (clbench table .*) -->\n)?<!-- clbench:begin ([a-z-]+) -->$",
        page.read_text(),
        re.MULTILINE,
    )
]


PICTURES = [
    (command, ROOT / picture)
    for page in PAGES
    for command, picture in re.findall(
        r"^<!-- (clbench table .*) > (\S+) -->$", page.read_text(), re.MULTILINE
    )
]


@pytest.mark.parametrize(
    ("page", "command", "suite"), TABLES, ids=[f"{page.stem}-{suite}" for page, _, suite in TABLES]
)
def test_generated_tables_are_those_of_the_records(page: Path, command: str, suite: str) -> None:
    """The command above a table made it, and would make it again."""
    program, *arguments = shlex.split(command)
    where = str(page.relative_to(ROOT))

    assert (program, arguments[1]) == ("clbench", f"suites/{suite.replace('-', '_')}.yaml")
    assert arguments[-2:] == ["--update", where]
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments[:-2], "--check", where],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("command", "picture"), PICTURES)
def test_pictures_of_tables_are_those_of_the_records(command: str, picture: Path) -> None:
    program, *arguments = shlex.split(command)
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == picture.read_text()


def test_it_shows_a_picture_of_the_table() -> None:
    assert [picture.name for _, picture in PICTURES] == ["permuted-copy.svg"]
    assert "](docs/permuted-copy.svg)" in README


def test_it_shows_the_results_of_the_main_suite() -> None:
    assert (ROOT / "README.md", "copy-task") in [(page, suite) for page, _, suite in TABLES]


def test_the_thresholds_that_do_not_hold_are_told_on_the_page_of_the_suite() -> None:
    suite = load(ROOT / "suites" / "copy_task.yaml", Registry.discover())
    page = (ROOT / "docs" / "suites" / "copy-task.md").read_text()
    (section,) = re.findall(r"^## Thresholds that do not hold$(.*?)^## ", page, re.M | re.S)

    checks = gate.judge(suite.rows, Store(ROOT / "results"))

    failing = {check.row for check in checks if check.status != "holds"}
    assert set(re.findall(r"`(\w[\w-]*/[\w-]+)`", section)) == failing


def test_it_names_everything_that_first_party_plugins_register() -> None:
    registry = Registry.discover()

    for kind in KINDS:
        for found in registry.table(kind).values():
            if found.plugin.distribution == "clbench":
                assert f"`{found.name}`" in README


@pytest.mark.parametrize("path", PAGES, ids=str)
def test_links_within_the_repository_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text())

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_learner_and_regularizer_has_its_page() -> None:
    registry = Registry.discover()
    pages = {path.stem for path in (ROOT / "docs/methods").glob("*.md")}

    for kind in ("learner", "regularizer"):
        names = {
            found.name
            for found in registry.table(kind).values()
            if found.plugin.distribution == "clbench"
        }
        assert names <= pages


NETS = {
    name: found
    for name, found in Registry.discover().table("model").items()
    if found.plugin.distribution == "clbench"
}


@pytest.mark.parametrize("name", NETS)
def test_every_main_net_has_a_page_with_all_its_parameters(name: str) -> None:
    texts = [path.read_text() for path in (ROOT / "docs/nets").glob("*.md")]
    fields = NETS[name].load().Params.model_fields

    (text,) = [text for text in texts if f"`{name}`" in text.splitlines()[0]]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", text, re.MULTILINE))
    for parameter, field in fields.items():
        shown = rows[parameter].replace("`", "")
        of_each = dict(re.findall(r"(\w+): (\([^)]*\))", shown))
        default = "absent" if field.default is None else str(field.default).lower()
        assert of_each.get(name, shown) == default, parameter


def test_the_plugin_in_it_works(tmp_path: Path) -> None:
    """Its three files make a wheel, whose content is put on the path."""
    blocks = re.findall(r"```(?:python|toml)\n# ([\w/]+\.\w+)\n(.*?)```", README, re.DOTALL)
    (tmp_path / "project" / "my_plugin").mkdir(parents=True)
    for name, content in blocks:
        (tmp_path / "project" / name).write_text(content)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=tmp_path / "project", check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    suite = tmp_path / "mine.yaml"
    suite.write_text(
        "suite: mine\nscenario: task-il\nseeds: [0]\n"
        "defaults: {model: {name: elman, hidden_size: 8}, training: {iterations: 5}}\n"
        "tasks: {a: {family: permuted-copy, num_tasks: 2, num_train: 50, num_test: 10}}\n"
        "methods:\n  mine:\n    learner: fine-tuning\n"
        "    regularizers: {weight-decay-to-start: {strength: 0.1}}\n"
    )
    done = subprocess.run(
        [CLBENCH, "run", "mine.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )

    files = ["my_plugin/__init__.py", "my_plugin/decay.py", "pyproject.toml"]
    assert [name for name, _ in blocks] == files
    assert done.returncode == 0, done.stderr
    assert "a/mine seed 0: ok in" in done.stderr
