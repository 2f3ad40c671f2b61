"""Task families as cells name them, made with the datasets that their parameters name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clbench.config import Choice
from clbench.params import dataset_fields, read
from clbench.registry import Registered, Registry

if TYPE_CHECKING:
    from clbench.protocols import TaskFamily  # whose import needs torch


def datasets(family: Choice, registry: Registry) -> Mapping[str, Registered]:
    """Parameter -> the registered dataset that it names.

    Raises:
        ClbenchError: A name is not registered, or the family cannot be used.
    """
    loaded = registry.find("task", family.name).load()
    fields = dataset_fields(loaded.Params)
    return {field: registry.find("dataset", family.params[field]) for field in fields}


def make(family: Choice, registry: Registry) -> TaskFamily:
    """The family that a cell names, with its parameters and datasets.

    Raises:
        ClbenchError: A name is not registered, or what it stands for cannot be used.
        Exception: Whatever the family raises.
    """
    loaded = registry.find("task", family.name).load()
    found = {field: one.load() for field, one in datasets(family, registry).items()}
    made: TaskFamily = loaded(read(loaded.Params, family.params), **found)
    return made
