"""The tutorial and the plugin guide do what they show, and name all there is."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from installing import Environment

from clbench import executor, hookspecs, protocols, tracking
from clbench.cell_run import CONSOLIDATION_BATCH
from clbench.registry import Registry
from clbench.scaffold import new_project

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs" / "plugins.md").read_text()
PAGE = (ROOT / "docs" / "regularizer.md").read_text()


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of every fenced block."""
    yield from re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _commands(block: str) -> Iterator[tuple[str, int, list[str]]]:
    """Command, expected exit code, and the output that is shown."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        first, *shown = part.splitlines()
        command, _, code = first.partition("  # exit code ")
        yield command, int(code or 0), shown


def _fits(output: str, shown: list[str]) -> bool:
    """Whether the lines shown are those of the output.

    A line ``...`` stands for any number of lines, ``...`` in a line for any text; spaces count as
    one.
    """
    pattern = ""
    for line in shown:
        words = " ".join(line.split())
        if words == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += (
                r" ?.*? ?".join(re.escape(part.strip()) for part in words.split("...")) + r"\n"
            )
    found = "".join(" ".join(line.split()) + "\n" for line in output.splitlines() if line.strip())
    return re.fullmatch(pattern, found) is not None


def _apply(diff: str, folder: Path) -> None:
    """Replace lines of a file by others; the first line of the diff names it.

    Lines between those that change are the same in both.
    """
    head, *lines = diff.splitlines()
    path = folder / head.removeprefix("--- ")
    old, new = (
        "".join(f"{line[1:]}\n" for line in lines if line[0] in (sign, " ")) for sign in "-+"
    )
    text = path.read_text()
    assert text.count(old) == 1, f"{path} does not have\n{old}"
    path.write_text(text.replace(old, new))


@pytest.mark.slow
@pytest.mark.parametrize("page", ["tutorial.md", "plugins.md", "tracking.md"])
def test_a_page_does_what_it_shows(page: str, tmp_path: Path) -> None:
    environment = Environment.create(tmp_path / "venv")
    folder = tmp_path / "work"
    shutil.copytree(ROOT / "suites", folder / "suites")
    count = 0

    for language, content in _blocks((ROOT / "docs" / page).read_text()):
        if language == "diff":
            _apply(content, folder)
        elif language == "console":
            for command, code, shown in _commands(content):
                count += 1
                if command.startswith("cd "):
                    folder /= command.removeprefix("cd ")
                    continue
                done = environment.run(command, folder)
                assert done.returncode == code, f"{command}\n{done.stdout}"
                assert _fits(done.stdout, shown), f"{command}\n{done.stdout}"

    assert count >= 5


def test_the_regularizer_on_its_page_keeps_its_contract_and_runs(tmp_path: Path) -> None:
    project = new_project("ema-anchor", "regularizer", tmp_path, Registry.discover())
    for language, content in _blocks(PAGE):
        head, _, text = content.partition("\n")
        if head.startswith("# "):
            file = project / head.removeprefix("# ")
            assert file.exists(), f"a new project has no {language} file {file}"
            file.write_text(text)
    suite = project / "suites" / "ema-anchor.yaml"
    row, threshold = [text for language, text in _blocks(PAGE) if language == "yaml"]
    name = row.splitlines()[0]
    text, replaced = re.subn(rf"^{name}\n(?: {{4}}\w.*\n)+", row, suite.read_text(), flags=re.M)
    text, filled = re.subn(r"^ +# expect: .*\n", threshold, text, flags=re.M)
    assert (replaced, filled) == (1, 1)
    suite.write_text(text)
    info = project / "clbench_ema_anchor-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: clbench-ema-anchor\nVersion: 0.1.0\n"
    )
    (info / "entry_points.txt").write_text("[clbench]\nema-anchor = clbench_ema_anchor\n")

    tested, run = (
        subprocess.run(
            [Path(sys.executable).with_name(program), *arguments],
            cwd=project,
            env=os.environ | {"PYTHONPATH": f"{project}:{os.environ.get('PYTHONPATH', '')}"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for program, *arguments in (
            ("pytest", "-q", "-p", "no:cacheprovider"),
            ("clbench", "run", "suites/ema-anchor.yaml", "--seeds", "0", "--budget", "0.02"),
        )
    )

    assert "6 passed" in tested.stdout, tested.stdout
    assert run.returncode == 0, run.stdout
    assert "permuted/ema-anchor seed 0: ok in" in run.stdout


SIGNATURES = [
    *((PAGE, name) for name in ("Regularizer", "WatchesTaskGradient", "WatchesStep")),
    (PAGE, "Consolidation"),
    *((GUIDE, name) for name in ("Learner", "TaskFamily", "Task", "Objective", "BatchStream")),
    (GUIDE, "MainNet"),
]


@pytest.mark.parametrize(("page", "name"), SIGNATURES, ids=[name for _, name in SIGNATURES])
def test_a_page_shows_the_signatures_of_a_protocol(page: str, name: str) -> None:
    (shown,) = [found for _, text in _blocks(page) if (found := _members(text, name))]
    source = inspect.getsource(sys.modules[getattr(protocols, name).__module__])

    assert shown == _members(source, name)


def test_pages_say_how_large_batches_are_when_a_task_ends() -> None:
    size = f"of at most {CONSOLIDATION_BATCH}"

    assert size in PAGE
    assert size in GUIDE
    assert size in str(protocols.Consolidation.batches.__doc__)


def _members(code: str, name: str) -> list[str]:
    """Attributes and signatures of a protocol's class, without what is between them."""
    try:
        body = ast.parse(code).body
    except SyntaxError:
        return []
    classes = [node for node in body if isinstance(node, ast.ClassDef) and node.name == name]
    return [
        ast.unparse(member)
        if isinstance(member, ast.AnnAssign)
        else f"{member.name}({ast.unparse(member.args)}) -> {ast.unparse(member.returns)}"
        for node in classes
        for member in node.body
        if isinstance(member, ast.AnnAssign)
        or (isinstance(member, ast.FunctionDef) and member.returns is not None)
    ]


@pytest.mark.parametrize(
    ("output", "shown", "expected"),
    [
        ("a\nb\n", ["a", "b"], True),
        ("a  1\n", ["a 1"], True),
        ("a\nb\nc\n", ["a", "...", "c"], True),
        ("a\nc\n", ["a", "...", "c"], True),
        ("mean 3.14 of 2\n", ["mean ... of 2"], True),
        ("", [], True),
        ("a\nb\n", ["a"], False),
        ("a\n", ["a", "b"], False),
        ("mean 3.14 of 3\n", ["mean ... of 2"], False),
    ],
)
def test_shown_lines_are_compared_but_for_dots(
    output: str, shown: list[str], expected: bool
) -> None:
    assert _fits(output, shown) is expected


@pytest.mark.parametrize("page", ["tutorial.md", "ci.md"])
def test_pages_install_the_torch_that_constraints_pin(page: str) -> None:
    pinned = re.findall(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

    assert re.findall(r"pip install (torch\S*)", (ROOT / "docs" / page).read_text()) == pinned


def test_the_guide_shows_the_signature_of_every_hook() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("clbench_")]

    assert len(hooks) == 7
    assert [name for name in hooks if f"def {name}() -> Iterable[Entry]" not in GUIDE] == []


@pytest.mark.parametrize(
    "protocol",
    [
        *(getattr(protocols, name) for name in ("Learner", "Regularizer", "TaskFamily", "MainNet")),
        *(
            getattr(protocols, name)
            for name in ("Task", "Objective", "Consolidation", "HasWeights")
        ),
        *(protocols.LearnerContext, protocols.SequenceSpec, executor.Executor, executor.Listener),
        *(tracking.Tracker, tracking.Start, tracking.Point, tracking.Evaluation),
    ],
    ids=lambda protocol: protocol.__name__,
)
def test_the_guide_names_every_part_of_a_protocol(protocol: type) -> None:
    parts = {*vars(protocol), *protocol.__annotations__}
    public = [name for name in parts if not name.startswith("_")]

    assert public
    assert [name for name in public if not re.search(rf"\b{name}\b", GUIDE)] == []
