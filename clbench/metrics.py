"""The score matrix R -> during, final, transfer, forgetting: pure functions, each defined once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """What a score is.

    Attributes:
        name: ``accuracy`` or ``mse``.
        unit: ``%`` or the empty text.
        better: The direction of improvement.
        decimals: Digits after the point in tables.
    """

    name: str
    unit: str
    better: Literal["higher", "lower"]
    decimals: int = 2


ACCURACY = Metric("accuracy", "%", "higher")
MSE = Metric("mse", "", "lower", 5)
