"""What determines the result of a cell, as frozen values with a canonical form."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from clbench.params import Params
from clbench.scenario import Scenario

Regime = Literal["sequential", "independent", "joint", "cumulative"]
_POSITIVE_OR_OFF: dict[str, Any] = {
    "anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"const": -1}, {"type": "null"}]
}
Decay = Annotated[float, Field(ge=0, lt=1)]


class Adam(Params):
    """Adam (Kingma & Ba 2015)."""

    name: Literal["adam"] = "adam"
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of the two moments."""
    eps: PositiveFloat = 1e-8
    """Added to the root of the second moment."""


class Sgd(Params):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = "sgd"
    momentum: NonNegativeFloat = 0.0
    """Heavy-ball momentum."""
    nesterov: bool = False
    """Nesterov's form of the momentum."""

    @model_validator(mode="after")
    def _check(self) -> Sgd:
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum greater than 0")
        return self


class Training(Params):
    """How a learner is trained on each task."""

    iterations: PositiveInt | None = None
    """Training steps per task; give this or `epochs`."""
    epochs: PositiveInt | None = None
    """Sweeps over the training set per task; give this or `iterations`."""
    batch_size: PositiveInt = 128
    """Samples per step."""
    learning_rate: PositiveFloat = 1e-3
    """Step size of the optimiser."""
    optimizer: Annotated[Adam | Sgd, Field(discriminator="name")] = Adam()
    """The optimiser, such as ``{name: adam}``."""
    optimizer_state: Literal["reset", "kept"] = "reset"
    """Whether moments start afresh at each task or are carried over."""
    weight_decay: NonNegativeFloat = 0.0
    """L2 penalty as the optimiser applies it."""
    clip_grad_norm: Annotated[float | None, Field(json_schema_extra=_POSITIVE_OR_OFF)] = None
    """Largest norm of the total gradient over all trained parameters; absent or -1: off."""

    @model_validator(mode="after")
    def _check(self) -> Training:
        if (self.iterations is None) == (self.epochs is None):
            raise ValueError(
                "give exactly one of iterations and epochs (null takes away what was given before)"
            )
        if self.clip_grad_norm is not None and not (
            self.clip_grad_norm > 0 or self.clip_grad_norm == -1
        ):
            raise ValueError("clip_grad_norm must be greater than 0, or -1 for off")
        return self

    @property
    def clip(self) -> float | None:
        """The norm to clip to, None where clipping is off."""
        return None if self.clip_grad_norm in (None, -1) else self.clip_grad_norm

    def steps(self, train_size: int, budget: float) -> int:
        """Training steps on one task of `train_size` samples at a fraction of the full budget."""
        full = self.iterations
        if full is None:
            assert self.epochs is not None  # one of the two is given
            full = self.epochs * math.ceil(train_size / self.batch_size)
        return max(1, round(full * budget))


class Choice(Params):
    """A registered thing with its parameters filled in."""

    name: str
    version: int
    params: dict[str, Any]


class CellConfig(Params):
    """All that determines the result of one cell, and nothing else."""

    task: Choice
    scenario: Scenario
    regime: Regime
    learner: Choice
    regularizers: tuple[Choice, ...]
    model: Choice
    heads: Literal["per-task", "shared"]
    training: Training
    seed: int
    """The model seed: initialisation, order of samples, noise."""
    data_seed: int
    """The data seed: construction of the tasks."""
    budget: float
    """Fraction of the full number of training steps, in (0, 1]."""
    plugins: dict[str, str]
    """Distribution -> version of everything used."""

    @property
    def id(self) -> str:
        """16 hexadecimal digits that stand for this configuration."""
        return digest(self.model_dump(mode="json"))[:16]

    @property
    def question(self) -> str:
        """Like `id`, without versions: equal questions, differently versioned answers."""
        values = self.model_dump(mode="json")
        del values["plugins"]
        for choice in (values["task"], values["learner"], values["model"], *values["regularizers"]):
            del choice["version"]
        return digest(values)[:16]


def canonical(value: Any) -> str:
    """The canonical JSON text of plain values: sorted keys, no spaces, shortest numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """SHA-256 of the canonical JSON text, in hexadecimal."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()
