"""The engine of a run: an executor of the registry with its parameters from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from clbench.checks import either, expectation
from clbench.errors import ClbenchError, suggestion
from clbench.executor import Executor
from clbench.registry import Registry


def read_options(texts: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a command line gives an executor, all of them as text.

    Args:
        texts: Such as ``num_gpus=0.5``; a dot in a key leads into a mapping: ``sbatch.qos=low``.
        options: Those with an option of their own, such as ``--jobs``; None where not given.

    Raises:
        ClbenchError: One is not ``KEY=VALUE``, or is given twice.
    """
    found: dict[str, Any] = {key: str(value) for key, value in options.items() if value is not None}
    for text in texts:
        key, equals, value = text.partition("=")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            raise ClbenchError(f"expected KEY=VALUE after -x, found '{text}'")
        place = found
        for step in steps[:-1]:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise ClbenchError(f"-x {text}: '{step}' has a value already")
        if steps[-1] in place:
            own = f" (by --{key.replace('_', '-')})" if key in options else ""
            raise ClbenchError(f"-x {text}: '{key.strip()}' is given already{own}")
        place[steps[-1]] = value.strip()
    return found


def engine(registry: Registry, name: str, options: Mapping[str, Any]) -> Executor:
    """The executor of a name, with parameters as `read_options` returns them.

    Raises:
        ClbenchError: There is none, or it does not take these parameters; every mistake is told.
    """
    loaded = registry.find("executor", name).load()
    try:
        executor: Executor = loaded(loaded.Params.model_validate_strings(dict(options)))
    except ValidationError as error:
        mistakes = _mistakes(error, loaded.Params)
        raise ClbenchError("\n".join(f"executor '{name}': {one}" for one in mistakes)) from error
    return executor


def _mistakes(error: ValidationError, params: type[BaseModel]) -> list[str]:
    """What is wrong with the parameters, one text for each of them."""
    expected: dict[str, tuple[list[str], Any]] = {}
    texts = []
    for one in error.errors():
        key = ".".join(map(str, one["loc"]))
        if one["type"] == "extra_forbidden":
            known = sorted(params.model_fields)
            near = suggestion(key, known)
            texts.append(
                f"unknown parameter '{key}'{near}\n    known: {', '.join(known) or 'none'}"
            )
        elif one["type"] == "missing":
            texts.append(f"missing parameter '{key}', give it as -x {key}=VALUE")
        elif one["type"] == "value_error":
            texts.append(one["msg"].removeprefix("Value error, "))
        else:
            expected.setdefault(key, ([], one["input"]))[0].append(expectation(dict(one)))
    for key, (words, found) in expected.items():
        wanted = either(list(dict.fromkeys(words)))
        hint = f"a mapping (-x {key}.KEY=VALUE)"
        what = f"'{found}'" if isinstance(found, str) else hint
        texts.append(f"{key}: expected {hint if wanted == 'a mapping' else wanted}, found {what}")
    return texts
