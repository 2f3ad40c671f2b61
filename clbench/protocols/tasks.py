"""Tasks: where samples come from, and how outputs on them are judged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from clbench.metrics import Metric
from clbench.params import Params
from clbench.scenario import Scenario

State: TypeAlias = dict[str, Any]
"""What `state` returns, of tensors, numbers, text, and dicts and lists of these."""

Kind = Literal["sequence", "classification", "regression"]

CPU = torch.device("cpu")
"""Where tensors are unless somebody says otherwise, and where everything is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Inputs to predict on.

    Attributes:
        inputs: ``(S, B, F)`` for sequences, ``(B, F)`` or ``(B, C, H, W)`` otherwise.
        task_id: The task of all samples; ``(B,)`` integer ids where tasks are mixed (joint
            training); None where the scenario withholds it.
        window: The time steps whose outputs are wanted, ``W`` of them; None exactly where samples
            have no time.
    """

    inputs: Tensor
    task_id: int | Tensor | None
    window: slice | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Query):
    """Inputs with what they should give.

    Attributes:
        targets: ``(W, B, F_out)`` for sequences, ``(B,)`` class labels or ``(B, F_out)`` otherwise.
        mask: ``(W, B)``, 1 where a step of the window is scored; None: every step is.
        num_tasks: Of how many tasks the samples are, the first ones, where tasks are mixed (see
            `OutputLayout.select`); None where they are not.
    """

    targets: Tensor
    mask: Tensor | None = None
    num_tasks: int | None = None


class Tally(NamedTuple):
    """A score before the division: ``total / scored``, summed over batches, is the score."""

    total: float
    """In the unit of the metric: of `clbench.metrics.ACCURACY`, 100 (%) for each that is right."""
    scored: int


class Objective(Protocol):
    """The loss and the score of the tasks of a sequence."""

    metric: Metric

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The loss of each sample, in nats (or squared units), shape ``(B,)``.

        Args:
            outputs: ``(W, B, n)`` or ``(B, n)``: the competing outputs only.
            batch: The batch the outputs belong to.
        """

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        """The score of `outputs`, summed over what is scored, with the count of it."""

    def predictions(self, outputs: Tensor) -> Tensor:
        """The targets that `outputs` stand for, of the shape and type of ``batch.targets``.

        Raises:
            clbench.errors.UnavailableError: There are none that the outputs could differ from.
        """


class BatchStream(Protocol):
    """Training samples without end, each once per sweep; a batch may straddle two sweeps."""

    def next(self, size: int) -> Batch:
        """The next `size` samples; ``task_id`` is None, the runner fills it in."""

    def state(self) -> State:
        """The position, with everything that `restore` needs to go on exactly."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


class Task(Protocol):
    """One problem of a sequence; owns its data."""

    @property
    def train_size(self) -> int:
        """Number of training samples."""

    def train_stream(self, generator: torch.Generator) -> BatchStream:
        """Endless shuffled sweeps over the training set, without task ids."""

    def test_batches(self) -> Iterable[Batch]:
        """The test set, once, in a fixed order."""


@runtime_checkable
class Movable(Protocol):
    """A task whose data can lie on another device, where its batches are then gathered.

    Of tasks that cannot, each batch is moved by itself.
    """

    def moved(self, move: Callable[[Tensor], Tensor]) -> Task:
        """The same task with `move` of each of its tensors in place of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSpec:
    """What a task family gives, known before any data is made.

    Attributes:
        kind: What a sample is.
        input_shape: Of one sample (of one time step for sequences): ``(F,)`` or ``(C, H, W)``.
        outputs_per_task: Outputs that one task needs.
        num_tasks: How many tasks, K.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    outputs_per_task: int
    num_tasks: int


class TaskFamily(Protocol):
    """A recipe for a whole sequence of tasks; the ``family`` of a suite file.

    Class attributes: `Params` (the parameter model), `version` (raise it when the data or the
    scoring changes), `scenarios` (those it can serve). The constructor takes the parameters, and
    by keyword the datasets that they name (`clbench.params.DatasetName`); it makes no data.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]

    def __init__(self, params: Any) -> None: ...

    @property
    def spec(self) -> SequenceSpec:
        """What the sequence gives."""

    @property
    def objective(self) -> Objective:
        """Loss and score, shared by all tasks of the sequence."""

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[Task]:
        """The tasks in order; the same for the same `data_seed`, whatever else happens.

        They are ``spec.num_tasks``, each with test samples, but in task-free streams.

        Raises:
            clbench.errors.UnavailableError: The data is not here.
        """


@runtime_checkable
class Distillable(Protocol):
    """An objective whose outputs can be taught by those of another net."""

    def replay_window(self, inputs: Tensor) -> tuple[slice | None, Tensor | None]:
        """What is scored of inputs ``(S, B, F)`` that come without targets.

        Returns:
            A window that covers all scored steps, and a mask ``(W, B)`` of the scored
            ones (None: all are); None and None where samples have no time.
        """

    def distillation_losses(
        self, outputs: Tensor, taught: Tensor, temperature: float, mask: Tensor | None
    ) -> Tensor:
        """The loss of each sample, ``(B,)``: outputs against softened outputs of a teacher.

        Args:
            outputs: ``(W, B, n)`` or ``(B, n)``.
            taught: Of the teacher, of the same shape.
            temperature: Divides both; the loss is multiplied by its square.
            mask: ``(W, B)``, the scored steps; None: all.
        """


class TaskData(Protocol):
    """The training data of the ended task, with the task id where the scenario gives it."""

    @property
    def num_samples(self) -> int:
        """Size of the training set."""

    def batches(self, num_samples: int) -> Iterator[Batch]:
        """`num_samples` training samples, in batches, from a sweep shuffled for this call."""
