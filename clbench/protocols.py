"""What plugins implement: tasks, main nets, learners and regularizers.

Symbols, everywhere: **B** samples, **S** time steps, **W** scored time steps, **F** features,
**K** tasks, and **R**, the (K, K) matrix with ``R[i, j]`` the score on task j after learning
task i. Task ids count from 0. Accuracies are in percent.

The runner drives a learner like this (`clbench/runner.py`)::

    for i, task in enumerate(tasks):
        learner.begin_task(i)
        for batch in task.train_stream(...):       # batch.task_id is None where it is withheld
            learner.observe(batch)
        learner.end_task(i, task_data)             # not after the last task
        R[i] = [score(learner.predict(query)) for query in tests]

and, for task-free streams of single samples, like this::

    for batch in stream:                           # no begin_task, no end_task, no ids
        learner.observe(batch)                     # its outputs are the prediction before the step
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from clbench.config import Training
from clbench.metrics import Metric
from clbench.params import Params
from clbench.scenario import OutputLayout, Scenario

NamedTensors: TypeAlias = Mapping[str, Tensor]
"""Parameters (or gradients, steps) by name, in a fixed order."""

State: TypeAlias = dict[str, Any]
"""What `state` returns: tensors, numbers, text, and dicts and lists of these."""

Kind = Literal["sequence", "classification", "regression"]


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
    """

    targets: Tensor
    mask: Tensor | None = None


class Tally(NamedTuple):
    """A score before the division: ``total / scored``, summed over batches, is the score."""

    total: float
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceSpec:
    """What a task family gives, known before any data is made.

    Attributes:
        kind: What a sample is.
        input_shape: Of one sample (of one time step for sequences): ``(F,)`` or ``(C, H, W)``.
        outputs_per_task: Outputs that one task needs.
        num_tasks: K.
    """

    kind: Kind
    input_shape: tuple[int, ...]
    outputs_per_task: int
    num_tasks: int


class TaskFamily(Protocol):
    """A recipe for a whole sequence of tasks; the ``family`` of a suite file.

    Class attributes: `Params` (the parameter model), `version` (raise it when the data or the
    scoring changes), `scenarios` (those it can serve). The constructor takes the parameters and
    makes no data.
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

        Raises:
            clbench.errors.UnavailableError: The data is not here.
        """


_NO_GAINS: Mapping[str, Tensor] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a forward pass depends on besides parameters and inputs.

    Attributes:
        gains: Factors on pre-activations by the name of the layer, ``(H,)`` or ``(B, H)``;
            empty: all ones. Masks per task are gains of 0 and 1.
        training: Whether the pass belongs to a training step (drop-out, running statistics).
    """

    gains: Mapping[str, Tensor] = field(default_factory=lambda: _NO_GAINS)
    training: bool = False


class MainNet(Protocol):
    """The network that solves the tasks, as a function of its parameters.

    It holds no parameters: a learner supplies its own or generates them. Class attributes are
    those of every plugin class: `Params`, `version`, `scenarios`; also `kinds` of samples it
    takes. Constructed as ``Net(params, spec, layout)``.

    Attributes:
        shapes: Name -> shape of every parameter, in order.
        output_names: The parameters whose leading axis runs over the rows of the output layer.
        recurrent_blocks: Recurrent weight -> number of square blocks stacked in it (1 for a
            simple recurrent net, 4 for an LSTM).
        gain_sizes: Layer -> number of pre-activations that a context's gains may scale; empty
            where the net takes no gains.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]
    kinds: ClassVar[frozenset[Kind]]

    shapes: Mapping[str, tuple[int, ...]]
    output_names: tuple[str, ...]
    recurrent_blocks: Mapping[str, int]
    gain_sizes: Mapping[str, int]

    def __init__(self, params: Any, spec: SequenceSpec, layout: OutputLayout) -> None: ...

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Fresh parameters, drawn in the order of `shapes`."""

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """All outputs of the wanted steps: ``(W, B, num_outputs)`` or ``(B, num_outputs)``."""

    def state(self) -> State:
        """What is neither parameter nor gradient (running statistics); often empty."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


@runtime_checkable
class HasSampleGradients(Protocol):
    """A main net with a fast way to square the gradients of single samples."""

    def squared_gradients(
        self, params: NamedTensors, query: Query, context: Context, output_gradients: Tensor
    ) -> dict[str, Tensor]:
        """Per parameter, the sum over samples of the squared gradient of the sample's loss.

        Args:
            params: The parameters.
            query: B samples.
            context: Of the forward pass.
            output_gradients: Gradient of each sample's loss with respect to its outputs, of the
                shape of the outputs.
        """


class Consolidation(Protocol):
    """What a regularizer may look at when a task ends."""

    @property
    def params(self) -> NamedTensors:
        """The parameters at the end of the task, detached."""

    @property
    def num_samples(self) -> int:
        """Size of the task's training set."""

    def batches(self, num_samples: int) -> Iterator[Batch]:
        """`num_samples` training samples of the ended task, from a freshly shuffled sweep."""

    def squared_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Per parameter, the sum over samples of the squared gradient of a sample's task loss.

        No penalty is in it. Each value has the shape of its parameter.
        """


Watch = Literal["task-gradient", "step"]


class Regularizer(Protocol):
    """A penalty that keeps parameters near values that served earlier tasks.

    It sees the main net's parameters, own or generated, by name. Constructed as
    ``Regularizer(params, net)``.

    Attributes:
        watches: What it must be shown at each training step; most need nothing. With
            ``"task-gradient"`` it implements `WatchesTaskGradient`, with ``"step"``
            `WatchesStep`, besides.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]

    def __init__(self, params: Any, net: MainNet) -> None: ...

    @property
    def watches(self) -> frozenset[Watch]:
        """See above."""

    def begin(self, params: NamedTensors) -> None:
        """Called once, before the first task, with the initial parameters."""

    def penalty(self, params: NamedTensors) -> Tensor | None:
        """The scalar to add to the task loss, differentiable; None: nothing to add now."""

    def consolidate(self, consolidation: Consolidation) -> None:
        """A task has ended (not called after the last one)."""

    def state(self) -> State:
        """Everything that `restore` needs to go on exactly as before."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


class WatchesTaskGradient(Protocol):
    """A regularizer that looks at the gradient of the task loss alone."""

    def after_task_gradient(self, gradients: NamedTensors, look_ahead: NamedTensors) -> None:
        """Called at each training step, before penalties are added.

        The tensors are valid during the call only.

        Args:
            gradients: Of the task loss alone, unclipped.
            look_ahead: The step that the live optimiser would take on `gradients`; taking it is
                only pretended: its moments are unchanged.
        """


class WatchesStep(Protocol):
    """A regularizer that looks at the step that was really taken."""

    def after_step(self, gradients: NamedTensors, steps: NamedTensors) -> None:
        """Called after each training step.

        The tensors are valid during the call only.

        Args:
            gradients: Of the total loss, clipped, as the optimiser saw them.
            steps: Parameters after the step minus before.
        """


@dataclass(frozen=True, slots=True)
class Observation:
    """What a learner reports of one training step.

    Attributes:
        loss: The task loss before the step, mean over the batch, without penalties; shape ``()``,
            detached and not yet read (no device synchronisation).
        outputs: The competing outputs before the step, detached.
    """

    loss: Tensor
    outputs: Tensor


class NetBuilder(Protocol):
    """Makes a net of the suite's model."""

    def __call__(
        self, spec: SequenceSpec, layout: OutputLayout, changes: Mapping[str, Any]
    ) -> MainNet:
        """The net, with `changes` of the model's parameters."""


@runtime_checkable
class Distillable(Protocol):
    """An objective whose outputs can be taught by those of another net."""

    def replay_window(self, inputs: Tensor) -> tuple[slice | None, Tensor | None]:
        """What is scored of inputs ``(S, B, F)`` that come without targets.

        Returns:
            The smallest window that covers all scored steps, and a mask ``(W, B)`` of the scored
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


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerContext:
    """What a learner is built from.

    Attributes:
        spec: What the tasks give.
        net: The main net, a function of its parameters.
        layout: Which outputs belong to which task.
        objective: Loss and score of the tasks.
        training: Optimiser and step settings.
        regularizers: In the order of the suite.
        generator: A generator for a purpose, such as ``generator("init")``; equal purposes give
            equal draws, different purposes independent ones.
        model_seed: The seed itself, for sources that specify their draws by it.
        build_net: Makes another net of the suite's model, for other inputs and outputs, with some
            of its parameters changed: ``build_net(spec, layout, {"task_input": True})``.
        build_regularizers: Makes the suite's regularizers anew, for another net.
    """

    spec: SequenceSpec
    net: MainNet
    layout: OutputLayout
    objective: Objective
    training: Training
    regularizers: tuple[Regularizer, ...]
    generator: Callable[[str], torch.Generator]
    model_seed: int
    build_net: NetBuilder
    build_regularizers: Callable[[MainNet], tuple[Regularizer, ...]]


class Learner(Protocol):
    """A model together with the rule by which it learns one task after another.

    Constructed as ``Learner(params, context)``.
    """

    Params: ClassVar[type[Params]]
    version: ClassVar[int]
    scenarios: ClassVar[frozenset[Scenario]]

    def __init__(self, params: Any, context: LearnerContext) -> None: ...

    @property
    def num_parameters(self) -> int:
        """Trained numbers, all tasks together."""

    def begin_task(self, task_id: int) -> None:
        """A task starts. Never called in task-free streams."""

    def observe(self, batch: Batch) -> Observation:
        """One optimisation step on `batch`."""

    def end_task(self, task_id: int, consolidation: TaskData) -> None:
        """A task has ended and another will follow."""

    def predict(self, query: Query) -> Tensor:
        """The competing outputs, ``(W, B, n)`` or ``(B, n)``, detached. Changes no state."""

    def state(self) -> State:
        """Everything that `restore` needs to go on exactly as before."""

    def restore(self, state: State) -> None:
        """Take back what `state` returned, in a learner built from an equal context."""


class TaskData(Protocol):
    """The training data of the ended task, with the task id where the scenario gives it."""

    @property
    def num_samples(self) -> int:
        """Size of the training set."""

    def batches(self, num_samples: int) -> Iterator[Batch]:
        """`num_samples` training samples from a freshly shuffled sweep, in batches."""
