"""The base of every parameter model: schema, defaults and documentation in one place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticSerializationError

from clbench.errors import in_one_line


class Params(BaseModel):
    """Frozen parameters in which an unknown key, a wrong type or a NaN is an error.

    Subclasses document each field with ``Field(description=...)`` and its unit. Use `read` to
    make one from the values of a file, and `write` for the values of a record.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


@dataclass(frozen=True, slots=True)
class _NamesDataset:
    """Stands in the annotation of a field that names a dataset."""


DatasetName: TypeAlias = Annotated[str, _NamesDataset()]
"""The type of a parameter of task families that names a registered dataset.

It is the whole type of its field; within another type, such as a list, it is refused. The
constructor of the family is given the dataset itself by a keyword of the field's name.
"""


def dataset_fields(model: type[BaseModel]) -> list[str]:
    """The fields of type `DatasetName`."""
    fields = model.model_fields.items()
    return [name for name, field in fields if _NamesDataset() in field.metadata]


def inner_dataset_fields(model: type[BaseModel]) -> list[str]:
    """The fields that have `DatasetName` within another type, where it means nothing."""
    return [name for name, field in model.model_fields.items() if _is_within(field.annotation)]


def _is_within(annotation: object) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return bool(dataset_fields(annotation))
    return any(part == _NamesDataset() or _is_within(part) for part in get_args(annotation))


P = TypeVar("P", bound=BaseModel)


def read(model: type[P], values: Any) -> P:
    """`values` (plain JSON values) as a `model`, without any guessing of types.

    Text is never taken for a number, nor a truth value for an integer; a whole number serves
    where a float is meant, and a list where a tuple is meant.

    Raises:
        pydantic.ValidationError: With the location of every mistake.
    """
    return model.model_validate_json(json.dumps(values), strict=True)


def write(params: Params) -> dict[str, Any]:
    """Parameters as plain JSON values, from which `read` makes equal ones.

    These stand in records, and plugins are given what is read from them.

    Raises:
        ValueError: No equal ones could be made; the text says what the parameters do wrong.
    """
    try:
        values = params.model_dump(mode="json")
    except PydanticSerializationError as error:
        raise ValueError(f"cannot be written as JSON ({in_one_line(error)})") from error
    fields = type(params).model_fields
    for name in fields:
        if name not in values:
            raise ValueError(f"leave out '{name}' when they are written")
    for name in values:
        if name not in fields:
            raise ValueError(f"write '{name}', which is not among them")
    for name, value in params.model_dump().items():
        if _has_set(value):
            raise ValueError(f"have a set, '{name}', whose order varies; a tuple keeps it")
    try:
        again = read(type(params), values)
    except ValidationError as error:
        first = error.errors()[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise ValueError(f"cannot be read again as they are written ({what})") from error
    except Exception as error:  # a validator of a plugin may raise anything
        what = in_one_line(error)
        raise ValueError(f"cannot be read again as they are written ({what})") from error
    values_again = again.model_dump(mode="json")
    for name in fields:
        here, there = getattr(params, name), getattr(again, name)
        if here != there or values[name] != values_again.get(name):
            what = f"'{name}', from {here!r} to {there!r}"
            raise ValueError(f"change when they are read again: {what}")
    return values


def _has_set(value: Any) -> bool:
    """Whether a value is a set, or has one in it."""
    if isinstance(value, dict):
        return any(map(_has_set, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(_has_set, value))
    return isinstance(value, (set, frozenset))
