"""Tables of parameters in docs have the defaults of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from clbench.registry import Kind, Registry
from clbench_sparse.k_winners import KWinnersParams

DOCS = Path(__file__).parent.parent / "docs"
REQUIRED = object()

DESCRIBED: dict[str, tuple[str, ...]] = {
    "methods/sparse.md": ("k-winners",),
    "nets/pictures.md": ("mlp", "cnn"),
    "nets/recurrent.md": ("elman", "lstm"),
    "tasks/copy.md": ("copy", "permuted-copy", "padded-copy", "pattern-manipulation"),
    "tasks/pictures.md": ("permuted-images", "split-images", "incremental-cifar"),
    "tasks/streams.md": ("input-permuted-stream", "label-permuted-stream"),
}
"""What a page is about that does not have the name of its file."""

BY_HAND: dict[str, dict[str, Any]] = {
    "`mlp`: (400, 400); `cnn`: (120, 84)": {"mlp": (400, 400), "cnn": (120, 84)},
    "5; `padded-copy`: 25": {
        "copy": 5, "permuted-copy": 5, "padded-copy": 25, "pattern-manipulation": 5
    },
    "`time` (`padded-copy`: `none`)": {
        "permuted-copy": "time", "padded-copy": "none", "pattern-manipulation": "time"
    },
    "permuted 10, split 5, incremental 6": {
        "permuted-images": 10, "split-images": 5, "incremental-cifar": 6
    },
    "`unit`; `incremental-cifar`: `imagenet`": {
        "permuted-images": "unit", "split-images": "unit", "incremental-cifar": "imagenet"
    },
}  # fmt: skip
"""Cells that name several defaults, each with what it says, for whom."""

NOT_COMPARED = {
    "density (`weight_density`, `conv_weight_density` of the nets)": (
        "methods/sparse.md",
        "not of k-winners but of the nets, whose page is compared",
    ),
}
"""Rows, by their first cell: page and reason."""


def _rows(page: Path) -> list[dict[str, str]]:
    """Rows of all tables of a page that have the columns ``parameter`` and ``default``."""
    found = []
    for table in re.findall(r"(?:^\|.*\n)+", page.read_text(), re.MULTILINE):
        head, _, *body = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()
        ]
        if {"parameter", "default"} <= set(head):
            found += [dict(zip(head, cells, strict=True)) for cells in body]
    return found


PAGES = {
    f"{folder}/{path.name}": rows
    for folder in ("methods", "nets", "tasks")
    for path in sorted((DOCS / folder).glob("*.md"))
    if (rows := _rows(path))
}
"""Pages with such tables, and the rows of all of them."""


def _names(page: str) -> tuple[str, ...]:
    return DESCRIBED.get(page, (Path(page).stem,))


def _models() -> dict[str, type[BaseModel]]:
    """By name the parameters of all that is registered, and of what nets are made of."""
    registry = Registry.discover()
    kinds: tuple[Kind, ...] = ("task", "model", "learner", "regularizer")
    found: dict[str, type[BaseModel]] = {"k-winners": KWinnersParams}
    for kind in kinds:
        for name, registered in registry.table(kind).items():
            if registered.plugin.distribution == "clbench":
                assert name not in found
                found[name] = registered.load().Params
    return found


def _value(cell: str) -> Any:
    """A default as a page writes it: a word in backticks, a number, several in brackets, ..."""
    plain = {"required": REQUIRED, "absent": None, "true": True, "false": False}
    if cell in plain:
        return plain[cell]
    if re.fullmatch(r"`[\w-]+`", cell):
        return cell.strip("`")
    value = ast.literal_eval(cell)
    return tuple(value) if isinstance(value, list) else value


def _shown(page: str) -> dict[str, dict[str, Any]]:
    """By parameter, and by what it is of, the default on a page."""
    names = _names(page)
    found: dict[str, dict[str, Any]] = {}
    for row in PAGES[page]:
        cell = row["default"]
        if row["parameter"] in NOT_COMPARED:
            continue
        parameters = [part.strip("`") for part in row["parameter"].split(", ")]
        if cell in BY_HAND:
            values = [BY_HAND[cell]]
        else:
            cells = cell.split(", ") if len(parameters) > 1 else [cell]
            values = [dict.fromkeys(names, _value(one)) for one in cells]
        found |= dict(zip(parameters, values, strict=True))
    return found


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_all_parameters_with_their_defaults(page: str) -> None:
    names, models, shown = _names(page), _models(), _shown(page)

    told = {
        name: {
            parameter: values[name]
            for parameter, values in shown.items()
            if parameter in models[name].model_fields
        }
        for name in names
    }

    assert told == {
        name: {
            parameter: REQUIRED if field.is_required() else field.default
            for parameter, field in models[name].model_fields.items()
        }
        for name in names
    }
    known = {parameter for name in names for parameter in models[name].model_fields}
    assert set(shown) <= known


def test_all_that_has_parameters_has_a_page() -> None:
    described = [name for page in PAGES for name in _names(page)]

    assert sorted(described) == sorted(n for n, model in _models().items() if model.model_fields)


def test_what_is_read_by_hand_or_not_compared_is_on_a_page() -> None:
    cells = {row["default"] for rows in PAGES.values() for row in rows}

    assert set(BY_HAND) <= cells
    assert {
        name: page
        for page, rows in PAGES.items()
        for row in rows
        if (name := row["parameter"]) in NOT_COMPARED
    } == {name: page for name, (page, _) in NOT_COMPARED.items()}
