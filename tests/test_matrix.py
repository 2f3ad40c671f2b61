"""From a suite to its cells."""

from __future__ import annotations

from pathlib import Path

import pytest
import suite_files

from clbench import matrix
from clbench.errors import ClbenchError
from clbench.suite import Suite

TEXT = """\
suite: toy
scenario: task-il
seeds: [1, 2]
budgets: {quick: 0.1}
defaults:
  model: linear
  training: {iterations: 10, learning_rate: 0.1}
tasks:
  a: {family: pictures}
  b: {family: echoes, num_tasks: 5}
methods:
  plain: {learner: plain}
  generated: {learner: generated}
exclude:
  - {method: generated, task: b, why: for a test}
"""


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return suite_files.load(tmp_path, TEXT)


def _names(cells: tuple[matrix.Cell, ...]) -> list[str]:
    return [f"{cell.row} {cell.config.seed}" for cell in cells]


def test_cells_are_task_by_task_and_method_by_method_without_the_excluded(suite: Suite) -> None:
    assert _names(matrix.expand(suite)) == [
        *("a/plain 1", "a/plain 2", "a/generated 1", "a/generated 2"),
        *("b/plain 1", "b/plain 2"),
    ]


@pytest.mark.parametrize(
    ("only", "rows"),
    [
        (["a/plain"], ["a/plain"]),
        (["*/plain"], ["a/plain", "b/plain"]),
        (["plain"], ["a/plain", "b/plain"]),
        (["b"], ["b/plain"]),
        (["b", "a/gen*"], ["a/generated", "b/plain"]),
    ],
)
def test_globs_select_rows(suite: Suite, only: list[str], rows: list[str]) -> None:
    assert list(dict.fromkeys(cell.row for cell in matrix.expand(suite, only))) == rows


def test_a_glob_that_matches_nothing_is_an_error_with_the_nearest_row(suite: Suite) -> None:
    with pytest.raises(ClbenchError) as caught:
        matrix.expand(suite, ["a/plan"])

    assert str(caught.value) == (
        "no row of suite 'toy' matches 'a/plan'; did you mean 'a/plain'?\n"
        "    known: a/plain, a/generated, b/plain, b/generated"
    )


def test_seeds_select_and_unknown_ones_are_named(suite: Suite) -> None:
    assert _names(matrix.expand(suite, ["a/plain"], [2])) == ["a/plain 2"]
    with pytest.raises(ClbenchError, match=r"^seed 3 is not one of suite 'toy': 1, 2$"):
        matrix.expand(suite, ["*"], [3])


def test_a_reduced_budget_is_another_cell_with_fewer_steps(suite: Suite) -> None:
    (full, *_), (quick, *_) = matrix.expand(suite), matrix.expand(suite, budget=0.1)

    assert full.config.id != quick.config.id
    assert matrix.training_steps(full.config) == 30
    assert matrix.training_steps(quick.config) == 3


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", (3,)),
        ("0-2", (0, 1, 2)),
        ("7, 1-2", (7, 1, 2)),
        ("1-10000", tuple(range(1, 10_001))),
    ],
)
def test_seeds_are_numbers_and_ranges(text: str, seeds: tuple[int, ...]) -> None:
    assert matrix.parse_seeds(text) == seeds


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "expected seeds such as '0-4,7', found ''"),
        ("a", "expected seeds such as '0-4,7', found 'a'"),
        ("4-2", "the range '4-2' of seeds is empty or too long"),
        ("0-10000", "the range '0-10000' of seeds is empty or too long"),
        ("1,0-2", "a seed is given twice in '1,0-2'"),
    ],
)
def test_wrong_seeds_are_errors(text: str, error: str) -> None:
    with pytest.raises(ClbenchError) as caught:
        matrix.parse_seeds(text)

    assert str(caught.value) == error


def test_budgets_are_fractions_or_names(suite: Suite) -> None:
    assert matrix.parse_budget("quick", suite) == 0.1
    assert matrix.parse_budget("0.02", suite) == 0.02
    assert matrix.parse_budget("1", suite) == 1.0


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("0", "expected a budget in (0, 1], found 0"),
        ("2", "expected a budget in (0, 1], found 2"),
        ("nan", "expected a budget in (0, 1], found nan"),
        (
            "quik",
            "unknown budget 'quik'; did you mean 'quick'?\n"
            "    expected a fraction in (0, 1] or one of suite 'toy': quick",
        ),
    ],
)
def test_wrong_budgets_are_errors(text: str, error: str, suite: Suite) -> None:
    with pytest.raises(ClbenchError) as caught:
        matrix.parse_budget(text, suite)

    assert str(caught.value) == error
