"""Thresholds of suites as tests of a project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import records
import suite_files
import toys

from clbench.registry import Registry
from clbench.store import Store
from clbench.suite import load

pytest_plugins = ["pytester"]

TOY = suite_files.of_toys("""\
tasks:
  a: {family: pictures}
methods:
  plain: {learner: plain, expect: {during_accuracy: '>= 98', final_accuracy: '>= 89.5'}}
  other: {learner: generated, expect: {during_accuracy: '>= 50'}}
  free: {learner: plain, training: {iterations: 20}}
""")

TINY = suite_files.of_copies("""\
seeds: [0]
methods:
  fine-tuning: {learner: fine-tuning, expect: {during_accuracy: '>= 1 %'}}
  si: {learner: fine-tuning, regularizers: {si: {si_lambda: 1}}, expect: {during_accuracy: '>= 100'}}
""").replace("iterations: 10", "iterations: 5")


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a suite, a good record of a row that is too bad, and a file that is no suite."""
    monkeypatch.setattr(Registry, "discover", toys.registry)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # others are slow to come in
    monkeypatch.setenv("PYTEST_PLUGINS", "clbench.pytest_plugin")
    (pytester.path / "suites").mkdir()
    suite = suite_files.load(pytester.path / "suites", TOY)
    (pytester.path / "suites" / "compose.yaml").write_text("services: {}\n")
    Store(pytester.path / "results").put(records.good(suite.rows[0].cells[0], last=80.0))
    pytester.makepyfile(test_own="def test_own(): pass")
    return pytester


def test_each_threshold_is_a_test_and_failures_are_short(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("suites/toy.yaml", "-v", "-rf")

    result.assert_outcomes(passed=1, failed=2)
    result.stdout.re_match_lines([r"suites/toy.yaml::a/plain::during_accuracy >= 98 PASSED.*"])
    lines = result.stdout.lines
    start, end = (
        next(i for i, line in enumerate(lines) if word in line)
        for word in ("= FAILURES =", "= short test summary")
    )
    assert [line.strip("_ ") for line in lines[start + 1 : end]] == [
        "a/plain: final_accuracy >= 89.5",
        "observed 80 (1 of 3 seeds), wanted final_accuracy >= 89.5",
        "a/other: during_accuracy >= 50",
        "no full-budget record of a/other; make it with",
        "    clbench run suites/toy.yaml --only a/other --results results".strip(),
    ]


def test_tests_are_named_row_by_row_and_can_be_chosen(project: pytest.Pytester) -> None:
    row = project.runpytest_inprocess("suites/toy.yaml::a/plain", "--collect-only", "-q")
    one = project.runpytest_inprocess("suites/toy.yaml::a/plain::during_accuracy >= 98")

    assert row.stdout.lines[:2] == [
        "suites/toy.yaml::a/plain::during_accuracy >= 98",
        "suites/toy.yaml::a/plain::final_accuracy >= 89.5",
    ]
    one.assert_outcomes(passed=1)


def test_records_of_another_folder_and_of_a_reduced_budget(project: pytest.Pytester) -> None:
    row = load(project.path / "suites/toy.yaml", toys.registry()).rows[1]
    quick = [config.model_copy(update={"budget": 0.5}) for config in row.cells]
    Store(project.path / "fresh").put(records.good(quick[0]))
    Store(project.path / "fresh").put(records.bad(row.cells[1], "skipped"))

    result = project.runpytest_inprocess("suites/toy.yaml", "--clbench-results", "fresh")

    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["no full-budget record of a/other (seed 2: skipped); make it with"]
    )


def test_what_has_no_record_is_skipped_on_request_only(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess("suites/toy.yaml", "--clbench-missing", "skip")

    result.assert_outcomes(passed=1, failed=1, skipped=1)


def test_a_row_of_which_every_seed_has_failed_is_not_missing(project: pytest.Pytester) -> None:
    for config in load(project.path / "suites/toy.yaml", toys.registry()).rows[1].cells:
        Store(project.path / "results").put(records.bad(config))

    result = project.runpytest_inprocess("suites/toy.yaml", "--clbench-missing", "skip")

    result.assert_outcomes(passed=1, failed=2)
    seeds = "0 of 3 seeds; seed 1: failed; seed 2: failed; seed 3: failed"
    result.stdout.fnmatch_lines([f"observed – ({seeds}), wanted during_accuracy >= 50"])


@pytest.mark.parametrize(
    ("ini", "arguments", "passed", "failed"),
    [
        ("", [], 1, 0),  # a plain pytest sees no suite
        ("", ["."], 1, 0),
        ("", ["suites"], 0, 0),
        ("", ["suites/toy.yaml"], 1, 2),
        ("clbench_suites = suites/t*.yaml", [], 2, 2),
        ("clbench_suites = other/*.yaml", [], 1, 0),
    ],
)
def test_only_suites_that_are_named_are_collected(
    ini: str, arguments: list[str], passed: int, failed: int, project: pytest.Pytester
) -> None:
    project.makeini(f"[pytest]\naddopts = --strict-config\n{ini}\n")

    result = project.runpytest_inprocess(*arguments)

    result.assert_outcomes(passed=passed, failed=failed)


def test_a_yaml_file_that_says_nothing_of_a_suite_is_left_to_others(
    project: pytest.Pytester,
) -> None:
    project.makeconftest(
        "import pytest\n"
        "class Item(pytest.Item):\n"
        "    def runtest(self): pass\n"
        "class File(pytest.File):\n"
        "    def collect(self): return [Item.from_parent(self, name='x')]\n"
        "def pytest_collect_file(file_path, parent):\n"
        "    if file_path.name == 'compose.yaml': return File.from_parent(parent, path=file_path)\n"
    )

    result = project.runpytest_inprocess("suites/compose.yaml")

    result.assert_outcomes(passed=1)


def test_mistakes_of_a_suite_are_told_without_a_traceback(project: pytest.Pytester) -> None:
    (project.path / "suites" / "toy.yaml").write_text(TOY.replace("learner: plain,", "lerner: x,"))

    result = project.runpytest_inprocess("suites/toy.yaml")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*line 10, methods.plain.lerner: unknown key 'lerner'; did you*"])
    assert "Traceback" not in result.stdout.str()


def test_a_damaged_record_fails_its_row_and_is_named(project: pytest.Pytester) -> None:
    (path,) = (project.path / "results" / "records").glob("*.json")
    path.write_text("{")

    result = project.runpytest_inprocess("suites/toy.yaml::a/plain")

    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines([f"results/records/{path.name}: not JSON, perhaps truncated*"])


def test_records_of_other_code_are_warned_of(project: pytest.Pytester) -> None:
    store = Store(project.path / "results")
    ((record,), _) = store.scan()
    made = records.provenance(code={"toys": "0" * 16})
    store.put(record.model_copy(update={"provenance": made}))
    name = "suites/toy.yaml::a/plain::during_accuracy >= 98"

    warned = project.runpytest_inprocess(name, "-W", "default::pytest.PytestWarning")
    strict = project.runpytest_inprocess(name, "-W", "error::pytest.PytestWarning")

    warned.assert_outcomes(passed=1, warnings=1)
    warned.stdout.fnmatch_lines(
        ["*PytestWarning: toys: its code has changed since 1 record was made, *"]
    )
    strict.assert_outcomes(failed=1)


def test_missing_records_of_the_selected_rows_are_made_on_request(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "clbench.pytest_plugin")
    (pytester.path / "tiny.yaml").write_text(TINY)
    arguments = ("tiny.yaml", "--clbench-run", "--clbench-jobs", "1", "--clbench-results", "out")

    first = pytester.runpytest_subprocess(*arguments, "-k", "fine-tuning")
    made, _ = Store(pytester.path / "out").scan()

    first.assert_outcomes(passed=1, deselected=1)
    assert [
        (record.provenance and record.provenance.row, record.config.budget) for record in made
    ] == [("permuted/fine-tuning", 1.0)]
    first.stderr.fnmatch_lines(["*1/1* permuted/fine-tuning seed 0: ok in *"])


def test_each_suite_runs_once_with_its_own_selected_rows(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.path / "suites" / "new.yaml").write_text(TOY.replace("  a:", "  z:"))
    (project.path / "suites" / "toy.yaml").write_text(TOY)
    plans, engines = [], []
    monkeypatch.setattr("clbench.session.execute", lambda plan, *rest, **named: plans.append(plan))
    monkeypatch.setattr("clbench.engines.engine", lambda *arguments: engines.append(arguments[1:]))
    arguments = ("suites/toy.yaml", "suites/new.yaml", "--clbench-run", "--clbench-jobs", "3")

    project.runpytest_inprocess(*arguments, "--collect-only")
    assert plans == []  # looking at tests runs nothing
    project.runpytest_inprocess(*arguments, "-k", "plain", "-p", "no:capture")

    assert [[row.key for row in plan.rows] for plan in plans] == [["a/plain"], ["z/plain"]]
    assert [plan.budget for plan in plans] == [1.0, 1.0]
    assert [len(plan.todo) for plan in plans] == [2, 2]  # one seed has its record
    assert engines == [("local", {"jobs": "3"})] * 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--clbench-run", "-p", "xdist", "-n", "2"],
            "ERROR: --clbench-run cannot be used with -n; cells run in parallel with --clbench-jobs",
        ),
        (
            ["--clbench-jobs", "0"],
            "*error: argument --clbench-jobs: expected a whole number from 1, found '0'",
        ),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], message: str, project: pytest.Pytester
) -> None:
    result = project.runpytest_inprocess("suites/toy.yaml", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_the_plugin_costs_a_project_without_suites_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text(
        "import sys\n"
        "def test_own():\n"
        "    assert 'clbench.pytest_plugin' in sys.modules\n"
        "    assert not {'torch', 'numpy', 'pydantic', 'clbench.suite'} & set(sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout
