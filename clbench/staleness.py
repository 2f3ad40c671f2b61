"""Records that were made with other code than a plugin has now, at the same version.

A plugin says by its version whether its results have changed. Whose author forgets to raise it
would get the old numbers without a word; so a record keeps digests of the code of the third-party
distributions that its cell used (`clbench.registry.Registry.code`). They are no part of its
identity, and of a record that keeps none nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from clbench.config import CellConfig, Choice
from clbench.families import datasets
from clbench.records import Record
from clbench.registry import Kind, Registry
from clbench.store import Store


def changed(record: Record, registry: Registry) -> tuple[str, ...]:
    """The distributions whose code is not that which the record was made with, sorted."""
    made = record.provenance.code if record.provenance else {}
    now = registry.codes(made)
    return tuple(name for name in sorted(now) if now[name] != made[name])


@dataclass(slots=True)
class _Changed:
    """The records that one distribution made with other code: how many, and of what versions."""

    count: int = 0
    versions: set[str] = field(default_factory=set)


def notices(configs: Iterable[CellConfig], store: Store, registry: Registry) -> list[str]:
    """What to tell of the good records of these cells: a line for each distribution.

    Raises:
        RecordError: A record is damaged.
    """
    found: dict[str, _Changed] = {}
    for config in {config.id: config for config in configs}.values():
        record = store.find(config)
        if record is None or record.status != "ok":
            continue
        for name in changed(record, registry):
            one = found.setdefault(name, _Changed())
            one.count += 1
            one.versions |= set(_versions(config, name, registry))
    return [_notice(name, one) for name, one in sorted(found.items())]


def _notice(name: str, one: _Changed) -> str:
    made = "1 record was" if one.count == 1 else f"{one.count} records were"
    which = ", ".join(sorted(one.versions))
    return (
        f"{name}: its code has changed since {made} made, and it still has the same versions "
        f"({which}): raise that of what has changed, or run again with --force"
    )


def _versions(config: CellConfig, distribution: str, registry: Registry) -> Iterator[str]:
    """``ema-anchor 1``, of each part of a cell that a distribution brings."""
    parts: list[tuple[Kind, Choice]] = [("task", config.task), ("model", config.model)]
    parts += [("learner", config.learner)]
    parts += [("regularizer", choice) for choice in config.regularizers]
    for kind, choice in parts:
        if registry.find(kind, choice.name).plugin.distribution == distribution:
            yield f"{choice.name} {choice.version}"
    for dataset in datasets(config.task, registry).values():
        if dataset.plugin.distribution == distribution:
            yield f"{dataset.name} of {distribution} {dataset.plugin.version}"
