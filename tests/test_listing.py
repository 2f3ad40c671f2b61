"""What a reader is told of types, and of plugins that are broken."""

from __future__ import annotations

import io
from typing import Annotated, Any, Literal

import pytest
import toys
from pydantic import Field
from rich.console import Console, RenderableType

from clbench import listing
from clbench.errors import PluginError
from clbench.hookspecs import Entry, hookimpl
from clbench.registry import Registry

Share = Annotated[float, Field(gt=0, lt=1)]


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "whole number"),
        (Share, "number"),
        (Share | None, "number or nothing"),
        (int | Share | float, "whole number or number"),
        (tuple[Share, Share], "list of numbers"),
        (list[str], "list of texts"),
        (Literal["sum", "mean"], "sum or mean"),
        (Literal["sum"] | bool, "sum or true or false"),
    ],
)
def test_types_are_told_in_words(annotation: Any, text: str) -> None:
    assert listing._type(annotation) == text


class Gone:
    """A plugin with a class that is nowhere, under the name of a learner of toys."""

    @hookimpl
    def clbench_regularizers(self) -> list[Entry]:
        return [Entry("plain", "no_such_package:Gone", "is nowhere")]


class Wrong:
    """A plugin with an entry that is none."""

    @hookimpl
    def clbench_regularizers(self) -> list[Any]:
        return [Entry("Not A Name", "toys:Plain", "is not to be called so")]


def _registry(*plugins: Any) -> Registry:
    registry = toys.registry()
    for k, plugin in enumerate(plugins):
        registry.register(plugin, f"plugin{k}", f"plugin{k}", "1")
    return registry


def _text(shown: RenderableType) -> str:
    file = io.StringIO()
    Console(file=file, width=120).print(shown)
    return file.getvalue()


@pytest.mark.parametrize(
    ("count", "note"),
    [(1, "1 plugin has errors; see"), (2, "2 plugins have errors; see"), (0, None)],
)
def test_plugins_with_errors_are_counted_below_the_names(count: int, note: str | None) -> None:
    shown = _text(listing.to_rich(_registry(*[Wrong() for _ in range(count)]), None))

    assert "plain" in shown
    assert (f"{note} 'clbench list plugins'" in shown) if note else ("errors" not in shown)


def test_of_two_things_of_a_name_the_one_that_cannot_be_used_is_told_of() -> None:
    told: list[str] = []

    shown = _text(listing.describe(_registry(Gone()), "plain", told.append))

    assert shown.splitlines()[0] == "learner 'plain', version 1"
    assert "regularizer" not in shown
    (problem,) = told
    assert problem.startswith("regularizer 'plain'")
    assert "no_such_package" in problem


def test_where_nothing_of_a_name_can_be_used_that_is_an_error() -> None:
    registry = Registry()
    registry.register(Gone(), "gone", "gone", "1")

    with pytest.raises(PluginError, match="no_such_package"):
        listing.describe(registry, "plain")
