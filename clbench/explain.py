"""Why a check is red: how far it is from its bound, how sure that is, and what changed.

What changed is told against the reference record of the same question and seed: a record of the
folder of reference records, or, without one, a record of the store itself that was made with other
versions. Where the questions of a row have no such record, those of the same row of the same suite
serve, and then the configuration is part of what changed; where these have other seeds alone, the
lowest of them serves for all. They are those that the gate takes: of one version and configuration.
Of the records of the store itself those that met the thresholds come first. Only full-budget
records count.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from clbench.config import CellConfig, Choice, canonical
from clbench.errors import ClbenchError
from clbench.gate import Check, mean_of, seeds_of, wanted
from clbench.metrics import SUMMARIES, Aggregate
from clbench.records import Provenance, Record
from clbench.references import References
from clbench.store import Store
from clbench.student import quantile
from clbench.suite import Row, Suite

NOTHING = "nothing"
"""What stands for a value that one of two sides lacks."""

FEW = 2
"""Seeds that say little: the interval of two is over twelve times as wide as they are apart."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between a reference record and ours.

    Attributes:
        what: ``training.learning_rate``, ``package torch``, ``commit``, ``machine: cpu``.
        old, new: The reference's value and ours, as text.
    """

    what: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A cell of ours and the record it is compared with.

    Attributes:
        config: Of our cell.
        ours: Its record; None where there is none.
        reference: The record that it is compared with; None where there is none.
    """

    config: CellConfig
    ours: Record | None
    reference: Record | None

    @property
    def is_same_question(self) -> bool:
        """Whether the two differ in nothing but versions."""
        reference = self.reference
        return reference is not None and reference.config.question == self.config.question


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is known of the red checks of one row.

    Attributes:
        row: ``task/method``.
        checks: Those of its checks that do not hold.
        pairs: Its cells, one for each seed.
        reference: Seed -> reference record, of all seeds that it has.
        source: Folder of the reference records.
    """

    row: str
    checks: tuple[Check, ...]
    pairs: tuple[Pair, ...]
    reference: Mapping[int, Record]
    source: str

    def lines(self) -> list[str]:
        """The explanation as text, indented under the name of the row."""
        lines = [self.row]
        for check in self.checks:
            lines.append(f"  {wanted(check)} ({check.origin}): {check.status}")
            lines += [f"    {line}" for line in self._about(check)]
        return lines + [f"  {line}" for line in self._changes()]

    def _about(self, check: Check) -> Iterator[str]:
        if check.status == "unmeasured":
            yield "its records do not measure it"
        elif check.status == "missing":
            yield f"no full-budget record to judge{f': {check.note}' if check.note else ''}"
        elif check.observed is None or check.threshold.holds(check.observed.mean):
            yield f"a seed that ends without a result fails the row: {check.note}"
        else:
            yield distance(check, check.observed)
            yield certainty(check, check.observed)
        values = [_value(r, check.threshold.metric) for r in self.reference.values()]
        known = [value for value in values if value is not None]
        if known:
            yield f"reference: mean {sum(known) / len(known):.5g}, n = {len(known)}"

    def _changes(self) -> Iterator[str]:
        found = [pair for pair in self.pairs if pair.reference is not None]
        if not found:
            yield f"no reference: {self.source} has no other full-budget record of this row"
            return
        same = all(pair.is_same_question for pair in found)
        what = "the same question" if same else "the same row, asked differently"
        seeds = _seeds(found)
        if not any(pair.config.seed in self.reference for pair in found):
            seeds += f", there seed {min(self.reference)}"
        yield f"since the reference ({self.source}; {what}; {seeds}):"
        changes: dict[Change, list[Pair]] = {}
        for pair in found:
            for change in differences(pair):
                changes.setdefault(change, []).append(pair)
        for change, pairs in changes.items():
            where = "" if len(pairs) == len(found) else f" ({_seeds(pairs)})"
            yield f"  {change.what}: {change.old} -> {change.new}{where}"
        if not changes:
            yield "  nothing that records tell of has changed"
        if any(pair.ours is None or pair.ours.provenance is None for pair in found):
            yield "  (where there is no record of ours, only the configurations can be compared)"


def explain(
    suite: Suite, checks: Sequence[Check], store: Store, reference: Store | None
) -> tuple[Explanation, ...]:
    """What is known of the checks that do not hold, row by row.

    Raises:
        RecordError: A record that counts is damaged.
    """
    source = store if reference is None else reference
    references = References.read(source)
    red: dict[str, list[Check]] = {}
    for check in checks:
        if check.status != "holds":
            red.setdefault(check.row, []).append(check)
    rows = {row.key: row for row in suite.rows}
    return tuple(
        Explanation(
            key,
            tuple(found),
            *_pairs(suite.name, rows[key], found, store, references, own=reference is None),
            str(source.root),
        )
        for key, found in red.items()
    )


def _pairs(
    suite: str,
    row: Row,
    red: Sequence[Check],
    store: Store,
    references: References,
    *,
    own: bool,
) -> tuple[tuple[Pair, ...], Mapping[int, Record]]:
    """The cells of a row with their references, and all reference records of the row by seed.

    With `own` references are other records of the store itself, first of all those that met what
    is red now: what has changed since then is what one looks for.
    """

    def held(record: Record) -> bool:
        values = [(check.threshold, _value(record, check.threshold.metric)) for check in red]
        return all(value is not None and threshold.holds(value) for threshold, value in values)

    ours = {config.id for config in row.cells} if own else set()

    def other(record: Record) -> bool:
        return record.id not in ours

    def other_that_held(record: Record) -> bool:
        return other(record) and held(record)

    wishes = (other_that_held, other) if own else (other,)
    made = (references.sets_of(suite, row.key, row.cells, suits)[0] for suits in wishes)
    chosen = next((found[0] for found in made if found), {})
    is_shared = any(config.seed in chosen for config in row.cells)
    other_seed = chosen[min(chosen)] if chosen and not is_shared else None
    pairs = [
        Pair(config, store.find(config), chosen.get(config.seed, other_seed))
        for config in row.cells
    ]
    return tuple(pairs), chosen


def distance(check: Check, observed: Aggregate) -> str:
    """How far the mean is from the bound, in its unit and in standard errors of the mean.

    Of two seeds the standard error is itself too uncertain to count in.
    """
    gap = observed.mean - check.threshold.bound
    side = "below" if gap < 0 else "above"
    text = f"observed {mean_of(check)}, {abs(gap):.3g} {side} the bound"
    if observed.n <= FEW or observed.high is None or observed.high == observed.mean:
        return text
    error = (observed.high - observed.mean) / quantile(0.975, observed.n - 1)
    return f"{text}: {abs(gap) / error:.1f} standard errors"


def certainty(check: Check, observed: Aggregate) -> str:
    """What the scatter of the seeds says of it."""
    if observed.low is None or observed.high is None:
        return f"{seeds_of(check)} seeds: nothing is known of the scatter of a single seed"
    interval = f"95 % interval {observed.low:.5g} to {observed.high:.5g}"
    if observed.n <= FEW:
        return f"{seeds_of(check)} seeds, {interval}: two seeds are too few for it to mean much"
    inside = observed.low <= check.threshold.bound <= observed.high
    meaning = (
        "with the bound inside: the scatter of the seeds alone may have done it"
        if inside
        else "without the bound: more than the scatter of the seeds"
    )
    return f"{seeds_of(check)} seeds, {interval}, {meaning}"


def differences(pair: Pair) -> Iterator[Change]:
    """How our cell differs from its reference: configuration, versions, commit, machine.

    Raises:
        ClbenchError: The pair has no reference.
    """
    if pair.reference is None:
        raise ClbenchError("there is no reference to differ from")
    old, new = _flat(pair.reference.config), _flat(pair.config)
    changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    others = [f"{key}." for key in changed if _is_choice(key)]
    for key in changed:
        if not any(key.startswith(other) for other in others):
            yield Change(key, old.get(key, NOTHING), new.get(key, NOTHING))
    yield from _order(pair.reference.config, pair.config)
    yield from _versions(pair.reference.config, pair.config)
    if pair.ours is None:
        return
    before, after = pair.reference.provenance, pair.ours.provenance
    if before is not None and after is not None:
        yield from _provenance(before, after)


def _is_choice(key: str) -> bool:
    """Whether a key says which thing stands there: if another one, its parameters mean nothing."""
    parts = key.split(".")
    return key in ("family", "model", "learner") or (parts[0] == "regularizers" and len(parts) == 2)


def _flat(config: CellConfig) -> dict[str, str]:
    """A configuration as dotted keys, named as in a suite, without versions and the model seed."""
    found = {"family": config.task.name}
    found |= {"model": config.model.name, "learner": config.learner.name}
    found |= _leaves("task", config.task.params)
    found |= _leaves("model", config.model.params)
    found |= _leaves("learner", config.learner.params)
    for regularizer in config.regularizers:
        where = f"regularizers.{regularizer.name}"
        found |= {where: "in use"} | _leaves(where, regularizer.params)
    values = config.model_dump(mode="json")
    for key in ("scenario", "regime", "heads", "training", "data_seed"):
        found |= _leaves(key, values[key])
    return found


def _order(old: CellConfig, new: CellConfig) -> Iterator[Change]:
    """The same regularizers, which begin and are added in another order."""
    before, after = ([choice.name for choice in one.regularizers] for one in (old, new))
    if before != after and sorted(before) == sorted(after):
        yield Change("order of regularizers", ", ".join(before), ", ".join(after))


def _leaves(where: str, value: object) -> dict[str, str]:
    """Every value in a tree of mappings, by its dotted key."""
    if not isinstance(value, Mapping):
        return {where: value if isinstance(value, str) else canonical(value)}
    found: dict[str, str] = {}
    for key, child in value.items():
        found |= _leaves(f"{where}.{key}", child)
    return found


def _versions(old: CellConfig, new: CellConfig) -> Iterator[Change]:
    """Versions of what both use."""
    for kind in ("task", "model", "learner"):
        yield from _version(getattr(old, kind), getattr(new, kind))
    before = {choice.name: choice for choice in old.regularizers}
    for choice in new.regularizers:
        yield from _version(before.get(choice.name, choice), choice)
    for name in sorted({*old.plugins, *new.plugins}):
        versions = (old.plugins.get(name, NOTHING), new.plugins.get(name, NOTHING))
        if versions[0] != versions[1]:
            yield Change(f"plugins of {name}", *versions)


def _version(old: Choice, new: Choice) -> Iterator[Change]:
    if old.name == new.name and old.version != new.version:
        yield Change(f"version of {new.name}", str(old.version), str(new.version))


def _provenance(old: Provenance, new: Provenance) -> Iterator[Change]:
    pairs = {"commit": (_commit(old), _commit(new))}
    for name in sorted({*old.packages, *new.packages}):
        versions = (old.packages.get(name, NOTHING), new.packages.get(name, NOTHING))
        pairs[f"package {name}"] = versions
    for name in sorted({*old.code, *new.code}):
        if name in old.code and name in new.code:  # older records keep none
            pairs[f"code of {name}"] = old.code[name], new.code[name]
    for key in ("python", "platform", "cpu", "device", "threads"):
        pairs[f"machine: {key}"] = str(getattr(old, key)), str(getattr(new, key))
    for what, (before, after) in pairs.items():
        if before != after or (what == "commit" and new.dirty):
            yield Change(what, before, after)


def _commit(provenance: Provenance) -> str:
    if provenance.commit is None:
        return "unknown"
    return provenance.commit[:12] + (" with uncommitted changes" if provenance.dirty else "")


def _value(record: Record, metric: str) -> float | None:
    return None if record.result is None else SUMMARIES[metric](record.result)


def _seeds(pairs: Sequence[Pair]) -> str:
    word = "seed" if len(pairs) == 1 else "seeds"
    return f"{word} {', '.join(str(pair.config.seed) for pair in pairs)}"
