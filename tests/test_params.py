"""Parameters as records have them, and what of them a suite cannot use."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import toys
from pydantic import Field, computed_field, field_serializer, field_validator
from suite_files import GOOD, mistakes

from clbench.engines import trackers
from clbench.errors import ClbenchError
from clbench.hookspecs import Entry, hookimpl
from clbench.params import Params, read, write
from clbench.registry import Registry


class _Colour(Enum):
    RED = "red"


class _Many(Params):
    file: Path = Path("weights.pt")
    colour: _Colour = _Colour.RED
    sizes: tuple[int, ...] | int = 3
    parts: dict[str, tuple[float, ...]] = Field({"a": (1.0,)})
    absent: frozenset[str] | None = None
    sorted: frozenset[str] = frozenset({"b", "a"})

    @field_serializer("sorted")
    def _in_order(self, value: frozenset[str]) -> list[str]:
        return sorted(value)


class _Twice(Params):
    percent: float = 50.0

    @field_validator("percent")
    @classmethod
    def _as_a_fraction(cls, value: float) -> float:
        return value / 100


class _Bounded(_Twice):
    @field_validator("percent")
    @classmethod
    def _as_a_fraction(cls, value: float) -> float:
        if value < 1:
            raise ValueError("give it in percent")
        return value / 100


class _Failing(_Twice):
    @field_validator("percent")
    @classmethod
    def _as_a_fraction(cls, value: float) -> float:
        if value < 0:
            raise ClbenchError("there is no such percentage")
        if value < 1:
            raise TypeError("no percent")
        return value / 100


class _Excluded(Params):
    strength: float = Field(1.0, exclude=True)


class _Aliased(Params):
    strength: float = Field(1.0, alias="lambda")


class _Computed(Params):
    strength: float = 1.0

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> float:
        return 2 * self.strength


class _Set(Params):
    layers: frozenset[str] = frozenset({"a", "b"})


class _DeepSet(Params):
    layers: tuple[dict[str, frozenset[str]], ...] = ({"a": frozenset({"b"})},)


class _Unwritable(Params):
    rule: Callable[[int], int] = abs


def test_what_is_written_is_read_as_the_same() -> None:
    params = read(_Many, {"sizes": [1, 2]})

    assert read(_Many, write(params)) == params
    assert write(params) == {
        "file": "weights.pt",
        "colour": "red",
        "sizes": [1, 2],
        "parts": {"a": [1.0]},
        "absent": None,
        "sorted": ["a", "b"],
    }


@pytest.mark.parametrize(
    ("params", "values", "error"),
    [
        (_Twice, {}, "change when they are read again: 'percent', from 50.0 to 0.5"),
        (_Twice, {"percent": 10}, "change when they are read again: 'percent', from 0.1 to 0.001"),
        (
            _Bounded,
            {"percent": 10},
            "cannot be read again as they are written (percent: Value error, give it in percent)",
        ),
        (
            _Failing,
            {"percent": 10},
            "cannot be read again as they are written (TypeError: no percent)",
        ),
        (_Excluded, {}, "leave out 'strength' when they are written"),
        (
            _Aliased,
            {},
            "cannot be read again as they are written (strength: Extra inputs are not permitted)",
        ),
        (_Computed, {}, "write 'double', which is not among them"),
        (_Set, {}, "have a set, 'layers', whose order varies; a tuple keeps it"),
        (_DeepSet, {}, "have a set, 'layers', whose order varies; a tuple keeps it"),
        (_Many, {"absent": ["x"]}, "have a set, 'absent', whose order varies; a tuple keeps it"),
        (
            _Unwritable,
            {},
            "cannot be written as JSON (PydanticSerializationError: Unable to serialize unknown "
            "type: <class 'builtin_function_or_method'>)",
        ),
    ],
)
def test_parameters_that_a_record_cannot_hold_are_told(
    params: type[Params], values: Any, error: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(error)}$"):
        write(read(params, values))


class _Learner(toys.Plain):
    Params = _Twice


class _FailingLearner(toys.Plain):
    Params = _Failing


class _Tracker:
    Params, version = _Set, 1

    def __init__(self, params: Params) -> None:
        pass

    def started(self, *arguments: object) -> None:
        pass

    learnt = evaluated = finished = started


class _FailingTracker(_Tracker):
    Params = _Failing


class _Offers:
    @hookimpl
    def clbench_learners(self) -> list[Entry]:
        return [
            Entry("twice", f"{__name__}:_Learner", "reads its parameters twice"),
            Entry("failing", f"{__name__}:_FailingLearner", "cannot check its parameters"),
        ]

    @hookimpl
    def clbench_trackers(self) -> list[Entry]:
        return [
            Entry("unordered", f"{__name__}:_Tracker", "has a set"),
            Entry("failing", f"{__name__}:_FailingTracker", "cannot check its parameters"),
        ]


def _registry() -> Registry:
    registry = Registry()
    registry.register(toys._Plugin(), "toys", "toys", "0.1")
    registry.register(_Offers(), "p", "dist-p", "1.0")
    return registry


def test_a_suite_is_told_where_it_names_what_has_such_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys, "registry", _registry)

    found = mistakes(
        tmp_path, GOOD.replace("learner: plain", "learner: {name: twice, percent: 10}")
    )

    assert found == [
        "line 10, methods.plain.learner.name: the parameters of learner 'twice' change when they "
        "are read again: 'percent', from 0.1 to 0.001"
    ]


@pytest.mark.parametrize(
    ("percent", "error"),
    [
        (0.5, "its check of parameters fails: TypeError: no percent"),
        (-1, "there is no such percentage"),
    ],
)
def test_a_check_of_parameters_that_fails_is_a_mistake_like_others(
    percent: float, error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(toys, "registry", _registry)
    text = GOOD.replace("learner: plain", f"learner: {{name: failing, percent: {percent}}}")

    found = mistakes(tmp_path, text.replace("iterations: 10", "iterations: ten"))

    assert found == [
        "line 6, defaults.training.iterations: expected a whole number, found the text 'ten'",
        f"line 10, methods.plain.learner: {error}",
    ]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (
            "unordered",
            "the parameters of tracker 'unordered' have a set, 'layers', whose order varies; "
            "a tuple keeps it",
        ),
        (
            "failing:percent=0.5",
            "tracker 'failing': its check of parameters fails: TypeError: no percent",
        ),
    ],
)
def test_a_tracker_is_told_of_too(asked: str, error: str) -> None:
    with pytest.raises(ClbenchError) as caught:
        trackers(_registry(), [asked])

    assert str(caught.value) == error
