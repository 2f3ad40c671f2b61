"""Thresholds of suites as tests: ``pytest suites/*.yaml``.

pytest loads this module wherever clbench is installed, so it imports nothing but pytest; the rest
comes in with the first suite. A YAML file is collected only if it is named on the command line (and
says ``suite:``), or matches a glob of the ini option ``clbench_suites``.
"""

from __future__ import annotations

import os
import re
import warnings
from argparse import ArgumentTypeError
from collections.abc import Iterator
from contextlib import nullcontext
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from clbench.gate import Check
    from clbench.registry import Registry
    from clbench.store import Store
    from clbench.suite import Row, Suite


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where records are, what is done without them, and which files are suites."""
    group = parser.getgroup("clbench", "thresholds of clbench suites")
    group.addoption(
        "--clbench-results",
        metavar="DIR",
        default="results",
        help="folder of the records that thresholds are judged by (results)",
    )
    group.addoption(
        "--clbench-run",
        action="store_true",
        help="first run, at full budget, what the selected thresholds need and has no record",
    )
    group.addoption(
        "--clbench-jobs",
        metavar="N",
        type=_positive,
        help="worker processes of --clbench-run (all cores)",
    )
    group.addoption(
        "--clbench-missing",
        choices=("fail", "skip"),
        default="fail",
        help="outcome of a threshold that there is no record for (fail)",
    )
    parser.addini("clbench_suites", "globs of suite files to collect", type="args", default=[])


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise ArgumentTypeError(f"expected a whole number from 1, found '{text}'")
    return int(text)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """A suite file, if it is meant to be one."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    is_named = parent.session.isinitpath(file_path) and _says_suite(file_path)
    if not (is_named or _is_listed(file_path, parent.config)):
        return None
    collector: pytest.Collector = SuiteFile.from_parent(parent, path=file_path)
    return collector


def _is_listed(path: Path, config: pytest.Config) -> bool:
    """Whether a file matches a glob of the ini option, from pytest's root folder."""
    if not path.is_relative_to(config.rootpath):
        return False
    name = path.relative_to(config.rootpath).as_posix()
    return any(fnmatchcase(name, glob) for glob in config.getini("clbench_suites"))


def _says_suite(path: Path) -> bool:
    """Whether a file that somebody named looks like a suite; other plugins collect YAML too."""
    text = path.read_text(encoding="utf-8", errors="replace")
    return re.search(r"^suite\s*:", text, re.MULTILINE) is not None


class SuiteFile(pytest.File):
    """A suite: one collector for each row that has thresholds."""

    registry: Registry
    suite: Suite
    store: Store
    _has_run = False

    def collect(self) -> Iterator[pytest.Collector]:
        """The rows with thresholds.

        Raises:
            CollectError: The file has mistakes.
        """
        from clbench.errors import ClbenchError
        from clbench.registry import Registry
        from clbench.store import Store
        from clbench.suite import load

        try:
            self.registry = Registry.discover()
            self.suite = load(self.path, self.registry)
        except ClbenchError as error:
            raise self.CollectError(str(error)) from error
        self.store = Store(Path(self.config.getoption("clbench_results")))
        for row in self.suite.rows:
            if row.thresholds:
                yield RowCollector.from_parent(self, name=row.key, row=row)

    def run_once(self) -> None:
        """Run the cells of the selected rows that have no good full-budget record yet."""
        if self._has_run:
            return
        self._has_run = True

        from clbench import engines, session, terminal

        selected = [item for item in self.session.items if isinstance(item, ThresholdItem)]
        rows = dict.fromkeys(item.row.key for item in selected if item.suite_file is self)
        plan = session.plan(self.suite, tuple(rows), None, 1.0, self.store.root, force=False)
        jobs = self.config.getoption("clbench_jobs")
        options = engines.read_options((), {"jobs": jobs})
        engine = engines.engine(self.registry, "local", options)
        capture = self.config.pluginmanager.getplugin("capturemanager")
        is_captured = capture is not None  # pytest can be used without that plugin
        with capture.global_and_fixture_disabled() if is_captured else nullcontext():
            # runs take long: show that they go on
            session.execute(plan, engine, terminal.console(stderr=True), False, self.registry)


class RowCollector(pytest.Collector):
    """A row: one test for each of its thresholds."""

    def __init__(self, *, row: Row, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.row = row

    def collect(self) -> Iterator[pytest.Item]:
        """The thresholds, named as the suite writes them."""
        from clbench.gate import words

        for index, threshold in enumerate(self.row.thresholds):
            yield ThresholdItem.from_parent(self, name=words(threshold), row=self.row, index=index)


class ThresholdItem(pytest.Item):
    """A threshold of a row."""

    def __init__(self, *, row: Row, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.row, self._index = row, index

    @property
    def suite_file(self) -> SuiteFile:
        """The suite it is from."""
        found = self.getparent(SuiteFile)
        assert found is not None  # rows are made by suites
        return found

    def setup(self) -> None:
        """Make the records, if that is asked for."""
        if self.config.getoption("clbench_run"):
            self.suite_file.run_once()

    def runtest(self) -> None:
        """Judge the threshold by the records.

        Raises:
            ThresholdError: It is not reached, or there is no record to judge by.
        """
        from clbench import gate, staleness

        file = self.suite_file
        check = gate.judge([self.row], file.store, file.registry)[self._index]
        for notice in staleness.notices(self.row.cells, file.store, file.registry):
            warnings.warn_explicit(pytest.PytestWarning(notice), None, str(self.path), 1)
        if check.status == "missing":
            text = self._missing(check)
            if self.config.getoption("clbench_missing") == "skip":
                pytest.skip(text)
            raise ThresholdError(text)
        if check.status == "unmeasured":
            raise ThresholdError(
                f"the records of {self.row.key} do not give what {self.name} needs"
            )
        if check.status == "fails":
            seeds = f"{gate.seeds_of(check)} seeds{f'; {check.note}' if check.note else ''}"
            raise ThresholdError(
                f"observed {gate.mean_of(check)} ({seeds}), wanted {gate.wanted(check)}"
            )

    def _missing(self, check: Check) -> str:
        from clbench import gate

        file = self.suite_file
        path = Path(os.path.relpath(file.path, self.config.invocation_params.dir))
        command = gate.command(path, [self.row.key], file.store.root)
        note = f" ({check.note})" if check.note else ""
        return f"no full-budget record of {self.row.key}{note}; make it with\n    {command}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What is wrong in a line or two; a traceback for what nobody expected."""
        from clbench.errors import ClbenchError

        if isinstance(excinfo.value, (ThresholdError, ClbenchError)):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """The suite file, and the row with its threshold."""
        return self.path, None, f"{self.row.key}: {self.name}"


class ThresholdError(Exception):
    """A threshold that does not hold; its text is what the user reads."""


def pytest_configure(config: pytest.Config) -> None:
    """Refuse runs from several pytest workers at once."""
    if config.getoption("clbench_run") and config.getoption("numprocesses", None):
        raise pytest.UsageError(
            "--clbench-run cannot be used with -n; cells run in parallel with --clbench-jobs"
        )
