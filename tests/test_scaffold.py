"""A new plugin project: its files, and what is refused."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from clbench.errors import ClbenchError
from clbench.registry import Registry
from clbench.scaffold import MAX_LENGTH, SKELETONS, new_project

RUFF = str(Path(sys.executable).with_name("ruff"))
ROOT = Path(__file__).parent.parent


def test_a_project_has_these_files(tmp_path: Path) -> None:
    project = new_project("gentle-pull", "regularizer", tmp_path / "new", Registry())

    assert project == tmp_path / "new" / "clbench-gentle-pull"
    found = sorted(str(p.relative_to(project)) for p in project.rglob("*") if p.is_file())
    assert found == [
        ".gitignore",
        "README.md",
        "clbench_gentle_pull/__init__.py",
        "clbench_gentle_pull/regularizer.py",
        "pyproject.toml",
        "suites/gentle-pull.yaml",
        "tests/test_regularizer.py",
    ]


@pytest.mark.parametrize("kind", SKELETONS)
def test_what_the_author_has_to_say_is_marked(kind: str, tmp_path: Path) -> None:
    project = new_project("gentle-pull", kind, tmp_path, Registry())

    marked = {p.name for p in project.rglob("*") if p.is_file() and "TODO: say" in p.read_text()}

    assert marked == {"README.md", "__init__.py"}


def test_the_author_of_a_dataset_is_told_where_its_version_comes_from(tmp_path: Path) -> None:
    readme = (new_project("gentle-pull", "dataset", tmp_path, Registry()) / "README.md").read_text()

    assert "must raise `version` in `pyproject.toml`, and be installed again:" in readme


@pytest.mark.parametrize("name", ["x", "a" * MAX_LENGTH, "ab-" * 9 + "abc"])
@pytest.mark.parametrize("kind", SKELETONS)
def test_the_code_is_clean_whatever_the_length_of_the_name(
    kind: str, name: str, tmp_path: Path
) -> None:
    project = new_project(name, kind, tmp_path, Registry())

    checked, formatted = (
        subprocess.run(
            [RUFF, *arguments, "--isolated", "--no-cache", "."],
            cwd=project,
            capture_output=True,
            text=True,
        )
        for arguments in (["check"], ["format", "--check", "--diff"])
    )

    assert checked.returncode == 0, checked.stdout
    assert formatted.returncode == 0, formatted.stdout


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        *(
            (
                bad,
                "learner",
                "expected a name of lower-case words joined by '-', at most 30 characters, "
                f"such as 'gentle-pull'; found '{bad}'",
            )
            for bad in ("Gentle", "gentle_pull", "-x", "x-", "a--b", "2d", "", "../x", "a" * 31)
        ),
        *(
            (word, "learner", f"name '{word}' will not do: in a suite it is no text")
            for word in ("true", "false", "null")
        ),
        (
            "online-ewc",
            "regularizer",
            "name 'online-ewc' is taken: clbench 0.1.0 registers a regularizer under it",
        ),
        (
            "fine-tuning",
            "regularizer",
            "name 'fine-tuning' is taken: clbench 0.1.0 registers a learner under it",
        ),
        (
            "vision",
            "learner",
            "name 'vision' will not do: a package 'clbench_vision' is installed already",
        ),
        (
            "good",
            "lerner",
            "unknown kind of plugin 'lerner'; did you mean 'learner'?\n"
            "    known: dataset, executor, learner, regularizer, task, tracker",
        ),
    ],
)
def test_what_will_not_do_is_refused_and_nothing_is_written(
    name: str, kind: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ClbenchError) as caught:
        new_project(name, kind, tmp_path, Registry.discover())

    assert str(caught.value) == message
    assert list(tmp_path.iterdir()) == []


def test_the_learner_serves_no_regime_without_earlier_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(new_project("eases-off", "learner", tmp_path, Registry()))

    learner = importlib.import_module("clbench_eases_off.learner").EasesOffLearner

    assert learner.regimes == {"sequential", "cumulative"}


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "clbench-good").mkdir()

    with pytest.raises(ClbenchError) as caught:
        new_project("good", "learner", tmp_path, Registry())

    assert str(caught.value) == f"{tmp_path}/clbench-good exists already"
    assert list((tmp_path / "clbench-good").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ClbenchError) as caught:
        new_project("good", "learner", tmp_path / "file", Registry())

    assert str(caught.value) == f"cannot write {tmp_path}/file/clbench-good: Not a directory"


def test_the_templates_are_in_the_wheel(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".tmpl")}

    folder = ROOT / "clbench" / "scaffold"
    assert names == {str(path.relative_to(ROOT)) for path in folder.rglob("*.tmpl")}
    assert len(names) == 4 + 3 * len(SKELETONS)
