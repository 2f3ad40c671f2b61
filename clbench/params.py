"""The base of every parameter model: schema, defaults and documentation in one place."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Frozen parameters in which an unknown key, a wrong type or a NaN is an error.

    Subclasses document each field with ``Field(description=...)`` and its unit. Use `read` to
    make one from the values of a file.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False
    )


P = TypeVar("P", bound=BaseModel)


def read(model: type[P], values: Any) -> P:
    """`values` (plain JSON values) as a `model`, without any guessing of types.

    Text is never taken for a number, nor a truth value for an integer; a whole number serves
    where a float is meant, and a list where a tuple is meant.

    Raises:
        pydantic.ValidationError: With the location of every mistake.
    """
    return model.model_validate_json(json.dumps(values), strict=True)
