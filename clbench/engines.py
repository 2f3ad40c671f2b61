"""The engine and the trackers of a run, with their parameters from the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from clbench.checks import either, expectation
from clbench.config import Choice
from clbench.errors import ClbenchError, in_one_line, suggestion
from clbench.executor import Executor
from clbench.params import Params, write
from clbench.registry import Kind, Registry

_OPTION = "-x "


def read_options(
    texts: Sequence[str], options: Mapping[str, Any], before: str = _OPTION
) -> dict[str, Any]:
    """The parameters that a command line gives an executor or a tracker, all of them as text.

    Args:
        texts: Such as ``num_gpus=0.5``; a dot in a key leads into a mapping: ``sbatch.qos=low``.
        options: Those with an option of their own, such as ``--jobs``; None where not given.
        before: What stands before each of the texts on the command line.

    Raises:
        ClbenchError: One is not ``KEY=VALUE``, or is given twice.
    """
    found: dict[str, Any] = {key: str(value) for key, value in options.items() if value is not None}
    for text in texts:
        key, equals, value = text.partition("=")
        steps = key.strip().split(".")
        if not equals or not all(steps):
            raise ClbenchError(f"expected KEY=VALUE after {before.strip()}, found '{text}'")
        place = found
        for step in steps[:-1]:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise ClbenchError(f"{before}{text}: '{step}' has a value already")
        if steps[-1] in place:
            own = f" (by --{key.replace('_', '-')})" if key in options else ""
            raise ClbenchError(f"{before}{text}: '{key.strip()}' is given already{own}")
        place[steps[-1]] = value.strip()
    return found


def engine(registry: Registry, name: str, options: Mapping[str, Any]) -> Executor:
    """The executor of a name, with parameters as `read_options` returns them.

    Raises:
        ClbenchError: There is none, or it does not take these parameters; every mistake is told.
    """
    loaded = registry.find("executor", name).load()
    executor: Executor = loaded(_params("executor", name, loaded.Params, options, _OPTION))
    return executor


def trackers(registry: Registry, texts: Sequence[str]) -> tuple[Choice, ...]:
    """The trackers that a command line asks for.

    Args:
        registry: Where they are found.
        texts: Names, or parameters as ``tensorboard:folder=runs``; either asks for the tracker, and
            any number of them may name the same one.

    Raises:
        ClbenchError: There is none of a name, or it does not take these parameters, or it cannot
            work here.
    """
    asked: dict[str, list[str]] = {}
    for text in texts:
        name, colon, parameter = text.partition(":")
        asked.setdefault(name, []).extend([parameter] if colon else [])
    return tuple(_tracker(registry, name, parameters) for name, parameters in asked.items())


def _tracker(registry: Registry, name: str, texts: Sequence[str]) -> Choice:
    before = f"--track {name}:"
    loaded = registry.find("tracker", name).load()
    options = read_options(texts, {}, before)
    params = _params("tracker", name, loaded.Params, options, before)
    loaded(params)  # which says what it lacks; each cell is told to one of its own
    try:
        written = write(params)
    except ValueError as error:
        raise ClbenchError(f"the parameters of tracker '{name}' {error}") from error
    return Choice(name=name, version=loaded.version, params=written)


def _params(
    kind: Kind, name: str, model: type[Params], options: Mapping[str, Any], before: str
) -> Params:
    """Parameters of something registered, of texts; every mistake is told."""
    try:
        return model.model_validate_strings(dict(options))
    except ValidationError as error:
        mistakes = _mistakes(error, model, before)
        raise ClbenchError("\n".join(f"{kind} '{name}': {one}" for one in mistakes)) from error
    except ClbenchError:
        raise
    except Exception as error:  # a validator of a plugin may raise anything
        what = f"its check of parameters fails: {in_one_line(error)}"
        raise ClbenchError(f"{kind} '{name}': {what}") from error


def _mistakes(error: ValidationError, params: type[Params], before: str) -> list[str]:
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
            texts.append(f"missing parameter '{key}', give it as {before}{key}=VALUE")
        elif one["type"] == "value_error":
            texts.append(one["msg"].removeprefix("Value error, "))
        else:
            expected.setdefault(key, ([], one["input"]))[0].append(expectation(dict(one)))
    for key, (words, found) in expected.items():
        wanted = either(list(dict.fromkeys(words)))
        hint = f"a mapping ({before}{key}.KEY=VALUE)"
        what = f"'{found}'" if isinstance(found, str) else hint
        texts.append(f"{key}: expected {hint if wanted == 'a mapping' else wanted}, found {what}")
    return texts
