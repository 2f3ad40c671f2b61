"""Thresholds of a suite: what a row's full-budget records must reach."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from clbench.checks import Checker
from clbench.errors import suggestion
from clbench.metrics import ACCURACY, OF_STREAMS, SUMMARIES, Metric, names
from clbench.scenario import Scenario
from clbench.significance import ROUNDING
from clbench.yaml12 import Node, describe

_THRESHOLD = re.compile(
    r"(>=|<=)\s*(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,2})?)\s*(%?)"
)
_OVER_TIME = {"incremental_accuracy", "backward_transfer", "forward_transfer", "forgetting"}
_NOT_MEASURED: Mapping[str, frozenset[str]] = {
    "independent": frozenset({"final_accuracy", *_OVER_TIME}),
    "joint": frozenset({"during_accuracy", *_OVER_TIME}),
}


@dataclass(frozen=True, slots=True)
class Threshold:
    """What a row must reach: ``final_accuracy >= 97``.

    Attributes:
        metric: Key of a summary metric (`clbench.metrics.SUMMARIES`).
        name: What suites call it: ``final_mse`` where the scores are errors.
        relation: ``>=`` or ``<=``.
        bound: In the unit of the metric.
    """

    metric: str
    name: str
    relation: str
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value reaches it, or misses it by rounding alone."""
        if math.isclose(value, self.bound, rel_tol=ROUNDING, abs_tol=ROUNDING):
            return True
        return value >= self.bound if self.relation == ">=" else value <= self.bound


def read_thresholds(
    checker: Checker, node: Node | None, regime: str, scenario: Scenario | None, metric: Metric
) -> tuple[Threshold, ...]:
    """The thresholds of a row, on summaries of a metric that the row measures."""
    known = names(metric.name)
    if scenario is Scenario.TASK_FREE:
        missing, what = frozenset(SUMMARIES) - OF_STREAMS, "a task-free stream"
    else:
        missing, what = OF_STREAMS, f"the scenario '{scenario.value}'" if scenario else ""
    found = []
    for name, child in (checker.mapping(node) if node else {}).items():
        key = known.get(name)
        if key is None:
            text = f"unknown metric '{name}'{suggestion(name, known)}"
            checker.wrong(child, f"{text}\n      known: {', '.join(sorted(known))}")
            continue
        if key in missing and scenario:
            checker.wrong(child, f"{what} gives no {name}")
        elif key in _NOT_MEASURED.get(regime, ()):
            checker.wrong(child, f"the regime '{regime}' gives no {name}")
        match = _THRESHOLD.fullmatch(child.value) if isinstance(child.value, str) else None
        if match is None:
            text = f"expected a threshold such as '>= 97', found {describe(child.value)}"
            checker.wrong(child, text)
            continue
        bound, has_unit = float(match[2]), bool(match[3])
        if metric == ACCURACY and "accuracy" in key and 0 < bound <= 1 and not has_unit:
            text = f"expected a bound in %, found {match[2]}; {100 * bound:g} % is written "
            checker.wrong(child, f"{text}{100 * bound:g}, and {match[2]} % with its '%'")
            continue
        found.append(Threshold(key, name, match[1], bound))
    return tuple(found)
