"""Which cells are put into groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clbench.errors import ClbenchError
from clbench.groups import Width, form, parse_width
from clbench.matrix import Cell, expand
from clbench.registry import Registry
from clbench.suite import load
from clbench_regularization.fine_tuning import FineTuning
from clbench_streaming.stream_learner import StreamLearner
from clbench_streaming.upgd import Upgd

STREAM = """\
suite: streams
scenario: task-free
seeds: 0-11
data_seed: {data_seed}
defaults:
  model: {{name: mlp, hidden_sizes: [4]}}
  training: {{iterations: 5, batch_size: 1}}
tasks:
  a: {{family: input-permuted-stream, num_tasks: 2}}
methods:
  upgd: {{learner: upgd}}
  sgd: {{learner: perturbed-sgd}}
  winners: {{learner: upgd, model: {{winners: {{percent_on: 0.5}}}}}}
  plain: {{learner: fine-tuning}}
"""
COPY = """\
suite: copies
scenario: task-il
seeds: [0, 1]
defaults: {model: {name: mlp, hidden_sizes: [4]}, training: {iterations: 5}}
tasks: {a: {family: split-images, num_tasks: 2}}
methods: {upgd: {learner: upgd}}
"""


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


def _cells(registry: Registry, folder: Path, text: str, *only: str) -> tuple[Cell, ...]:
    path = folder / "suite.yaml"
    path.write_text(text)
    return expand(load(path, registry), only or ("*",))


def _seeds(cells: Any) -> list[list[int]]:
    return [[cell.config.seed for cell in group] for group in cells]


@pytest.mark.parametrize("data_seed", ["0", "seed"])
@pytest.mark.parametrize(
    ("width", "num_workers", "sizes"),
    [
        (1, 1, [1] * 12),
        (2, 1, [2] * 6),
        (5, 1, [4, 4, 4]),  # as few groups as possible, of equal size
        (50, 1, [12]),
        ("auto", 1, [6, 6]),  # never more than ten
        ("auto", 2, [6, 6]),
        ("auto", 4, [3, 3, 3, 3]),
        ("auto", 6, [2] * 6),
        ("auto", 7, [1] * 12),
        ("auto", None, [1] * 12),
    ],
)
def test_seeds_of_a_row_go_together(
    data_seed: str,
    width: Width,
    num_workers: int | None,
    sizes: list[int],
    registry: Registry,
    tmp_path: Path,
) -> None:
    cells = _cells(registry, tmp_path, STREAM.format(data_seed=data_seed), "upgd")

    found = form(cells, registry, width, num_workers)

    assert [len(group) for group in found.groups] == sizes
    assert [cell for group in found.groups for cell in group] == list(cells)
    assert found.alone == {}


def test_rows_that_run_alone_count_as_work_and_are_told_with_the_reason(
    registry: Registry, tmp_path: Path
) -> None:
    cells = _cells(registry, tmp_path, STREAM.format(data_seed="0"))

    found = form(cells, registry, "auto", 8)

    rows = [(group[0].row, len(group)) for group in found.groups]
    assert rows[:4] == [("a/upgd", 6)] * 2 + [("a/sgd", 6)] * 2
    assert rows[4:] == [("a/winners", 1)] * 12 + [("a/plain", 6)] * 2
    assert found.alone == {"a/winners": "winners of model 'mlp'"}


def test_a_part_that_says_nothing_of_lockstep_keeps_its_row_from_it(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = _cells(registry, tmp_path, STREAM.format(data_seed="0"), "upgd", "plain")
    for owner in (StreamLearner, Upgd):
        monkeypatch.delattr(owner, "in_lockstep")
    monkeypatch.delattr(FineTuning, "join")  # it has that of its base, as a subclass would

    found = form(cells, registry, 10, 1)

    assert found.alone == {
        "a/upgd": "learner 'upgd'",
        "a/plain": "the inherited join of learner 'fine-tuning'",
    }


def test_only_streams_go_together_by_themselves(registry: Registry, tmp_path: Path) -> None:
    cells = _cells(registry, tmp_path, COPY)

    assert _seeds(form(cells, registry, "auto", 1).groups) == [[0], [1]]
    assert _seeds(form(cells, registry, 10, 1).groups) == [[0, 1]]


def test_cells_of_other_budgets_or_rows_do_not_go_together(
    registry: Registry, tmp_path: Path
) -> None:
    cells = _cells(registry, tmp_path, STREAM.format(data_seed="0"), "upgd", "sgd")
    half = Cell("streams", "a/upgd", cells[0].config.model_copy(update={"budget": 0.5}))

    found = form([cells[0], cells[12], half, cells[1]], registry, 10, 1)

    assert [[c.row for c in group] for group in found.groups] == [
        ["a/upgd", "a/upgd"],
        ["a/sgd"],
        ["a/upgd"],
    ]


@pytest.mark.parametrize(("text", "width"), [("auto", "auto"), ("off", 1), ("1", 1), ("25", 25)])
def test_a_width_is_a_word_or_a_number(text: str, width: Width) -> None:
    assert parse_width(text) == width


@pytest.mark.parametrize("text", ["0", "-1", "on", "2.5", ""])
def test_anything_else_is_no_width(text: str) -> None:
    with pytest.raises(ClbenchError) as caught:
        parse_width(text)

    expected = "expected --lockstep auto, off or a number of seeds from 1"
    assert str(caught.value) == f"{expected}, found '{text}'"
