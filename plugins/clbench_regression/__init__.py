"""Small regression problems."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_tasks() -> Iterable[Entry]:
    """Families of regression tasks."""
    return [
        Entry(
            "toy-regression",
            "clbench_regression.toy_regression:ToyRegression",
            "three polynomials on neighbouring intervals",
            "von Oswald et al. 2020 (arXiv:1906.00695), Sec. 4.1",
        )
    ]
