"""Small main nets, tasks and learners of every kind, for the tests of the harness."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from clbench import randomness
from clbench.config import CellConfig, Choice, Training
from clbench.hookspecs import Entry, hookimpl
from clbench.metrics import ACCURACY, MSE, Metric
from clbench.optimisation import FlatParameters, Optimiser
from clbench.params import Params
from clbench.protocols import (
    Batch,
    Context,
    Kind,
    LearnerContext,
    NamedTensors,
    Observation,
    Query,
    SequenceSpec,
    State,
    Tally,
    TaskData,
    TaskFamily,
)
from clbench.registry import Registry
from clbench.scenario import ALL_SCENARIOS, WITH_BOUNDARIES, OutputLayout, Scenario


class NoParams(Params):
    """Nothing to set."""


class TwoParams(Params):
    """For tasks: how many, and how many samples."""

    num_tasks: int = 3
    num_train: int = 40


class Squares:
    """Squared error summed over outputs; the score is the mean squared error."""

    metric: Metric = MSE

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        errors = (outputs - batch.targets).square().sum(-1)
        if batch.window is None:
            return errors
        return (errors if batch.mask is None else errors * batch.mask).sum(0)

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        return Tally(float((outputs - batch.targets).square().sum()), batch.targets.numel())


class CrossEntropy:
    """Cross-entropy; the score is the accuracy in percent."""

    metric: Metric = ACCURACY

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return torch.nn.functional.cross_entropy(outputs, batch.targets, reduction="none")

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        right = outputs.argmax(-1) == batch.targets
        return Tally(100.0 * float(right.sum()), right.numel())


class Shuffled:
    """A stream over stored samples, in fresh random order sweep by sweep."""

    def __init__(self, data: Batch, axis: int, generator: torch.Generator) -> None:
        self._data, self._axis, self._generator = data, axis, generator
        self._left = torch.empty(0, dtype=torch.long)

    def next(self, size: int) -> Batch:
        while len(self._left) < size:
            order = torch.randperm(self._data.inputs.shape[self._axis], generator=self._generator)
            self._left = torch.cat([self._left, order])
        index, self._left = self._left[:size], self._left[size:]
        target_axis = 0 if self._data.window is None else 1
        return replace(
            self._data,
            inputs=self._data.inputs.index_select(self._axis, index),
            targets=self._data.targets.index_select(target_axis, index),
        )

    def state(self) -> State:
        return {"left": self._left.clone(), "generator": self._generator.get_state()}

    def restore(self, state: State) -> None:
        self._left = state["left"]
        self._generator.set_state(state["generator"])


@dataclass(frozen=True)
class StoredTask:
    """A task over stored samples; tested on its first ten samples, or on nothing (streams)."""

    data: Batch
    axis: int = 0
    is_stream: bool = False

    @property
    def train_size(self) -> int:
        return self.data.inputs.shape[self.axis]

    def train_stream(self, generator: torch.Generator) -> Shuffled:
        return Shuffled(self.data, self.axis, generator)

    def test_batches(self) -> Iterable[Batch]:
        if self.is_stream:
            return []
        first = slice(0, 10)
        if self.axis == 1:
            return [
                replace(
                    self.data,
                    inputs=self.data.inputs[:, first],
                    targets=self.data.targets[:, first],
                )
            ]
        return [
            replace(self.data, inputs=self.data.inputs[first], targets=self.data.targets[first])
        ]


class _Family:
    Params: ClassVar[type[Params]] = TwoParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS
    objective: Any = CrossEntropy()

    def __init__(self, params: TwoParams) -> None:
        self.params = params

    def generators(self, data_seed: int) -> Iterator[tuple[int, torch.Generator]]:
        for i in range(self.params.num_tasks):
            yield i, torch.Generator().manual_seed(1000 * data_seed + i)


class Echoes(_Family):
    """Sequences: repeat a number two steps later, with a task's own sign."""

    objective = Squares()

    @property
    def spec(self) -> SequenceSpec:
        return SequenceSpec(
            kind="sequence",
            input_shape=(1,),
            outputs_per_task=1,
            num_tasks=self.params.num_tasks,
        )

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[StoredTask]:
        tasks = []
        for i, generator in self.generators(data_seed):
            x = torch.zeros(3, self.params.num_train, 1)
            x[0] = torch.rand(self.params.num_train, 1, generator=generator)
            y = x[:1] * (-1) ** i
            batch = Batch(inputs=x, targets=y, task_id=None, window=slice(2, 3))
            tasks.append(StoredTask(batch, axis=1))
        return tasks


class Pictures(_Family):
    """Pictures (1, 4, 4) of two classes, bright above or below a task's own threshold."""

    @property
    def spec(self) -> SequenceSpec:
        return SequenceSpec(
            kind="classification",
            input_shape=(1, 4, 4),
            outputs_per_task=2,
            num_tasks=self.params.num_tasks,
        )

    def tasks(self, data_seed: int, scenario: Scenario) -> Sequence[StoredTask]:
        tasks = []
        for i, generator in self.generators(data_seed):
            x = torch.rand(self.params.num_train, 1, 4, 4, generator=generator)
            y = (x.mean((1, 2, 3)) > 0.5).long()
            if scenario is Scenario.CLASS_IL:
                y = y + 2 * i
            batch = Batch(inputs=x, targets=y, task_id=None)
            tasks.append(StoredTask(batch, is_stream=scenario is Scenario.TASK_FREE))
        return tasks


class Linear:
    """A linear main net for whatever kind of sample."""

    Params: ClassVar[type[Params]] = NoParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS
    kinds: ClassVar[frozenset[Kind]] = frozenset({"sequence", "classification", "regression"})
    output_names: tuple[str, ...] = ("W", "b")
    recurrent_blocks: Mapping[str, int] = {}
    gain_sizes: Mapping[str, int] = {}

    def __init__(self, params: NoParams, spec: SequenceSpec, layout: OutputLayout) -> None:
        self._is_sequence = spec.kind == "sequence"
        features = torch.Size(spec.input_shape).numel()
        self.shapes: Mapping[str, tuple[int, ...]] = {
            "W": (layout.num_outputs, features),
            "b": (layout.num_outputs,),
        }

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {
            name: 0.1 * torch.randn(shape, generator=generator)
            for name, shape in self.shapes.items()
        }

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        x = query.inputs.sum(0, keepdim=True) if self._is_sequence else query.inputs.flatten(1)
        return x @ params["W"].t() + params["b"]

    def state(self) -> State:
        return {}

    def restore(self, state: State) -> None:
        pass


class Plain:
    """Plain gradient descent on a main net's own weights; remembers every query it was given."""

    Params: ClassVar[type[Params]] = NoParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = ALL_SCENARIOS

    calls: ClassVar[list[tuple[str, Any]]] = []

    def __init__(self, params: NoParams, context: LearnerContext) -> None:
        self.context = context
        self.parameters = FlatParameters(context.net.initial(context.generator("init")))
        self.optimiser = Optimiser(self.parameters, context.training)
        self.calls.clear()

    @property
    def num_parameters(self) -> int:
        return self.parameters.values.numel()

    def weights(self, task_id: Any) -> dict[str, Tensor]:
        """The main net's weights for a task."""
        return self.parameters.named

    def begin_task(self, task_id: int) -> None:
        self.calls.append(("begin", task_id))

    def observe(self, batch: Batch) -> Observation:
        self.calls.append(("observe", batch.task_id))
        self.parameters.zero_gradients()
        weights = self.weights(batch.task_id)
        outputs = self.context.net(weights, batch, Context(training=True))
        outputs = self.context.layout.select(outputs, batch.task_id, batch.num_tasks)
        loss = self.context.objective.losses(outputs, batch).mean()
        penalties = [r.penalty(weights) for r in self.context.regularizers]
        (loss + sum(p for p in penalties if p is not None)).backward()
        self.optimiser.step()
        return Observation(loss.detach(), outputs.detach())

    def end_task(self, task_id: int, data: TaskData) -> None:
        self.calls.append(("end", task_id))

    @torch.no_grad()
    def predict(self, query: Query) -> Tensor:
        self.calls.append(("predict", query))
        outputs = self.context.net(self.weights(query.task_id), query, Context())
        return self.context.layout.select(outputs, query.task_id)

    def state(self) -> State:
        return {"parameters": self.parameters.state(), "optimiser": self.optimiser.state()}

    def restore(self, state: State) -> None:
        self.parameters.restore(state["parameters"])
        self.optimiser.restore(state["optimiser"])


class Alternating(Plain):
    """Right at odd steps, wrong at even ones; its loss is the number of the step."""

    def __init__(self, params: NoParams, context: LearnerContext) -> None:
        super().__init__(params, context)
        self._steps = 0

    def observe(self, batch: Batch) -> Observation:
        self._steps += 1
        right = torch.nn.functional.one_hot(batch.targets, 2).float()
        return Observation(
            torch.tensor(float(self._steps)), right if self._steps % 2 else 1 - right
        )


class Generated(Plain):
    """Weights of the main net generated from a task embedding by a linear hypernetwork."""

    scenarios: ClassVar[frozenset[Scenario]] = WITH_BOUNDARIES

    def __init__(self, params: NoParams, context: LearnerContext) -> None:
        super().__init__(params, context)
        self._shapes = context.net.shapes
        size = sum(torch.Size(shape).numel() for shape in self._shapes.values())
        drawing = context.generator("hypernetwork")
        self.parameters = FlatParameters(
            {
                "H": 0.1 * torch.randn(size, 4, generator=drawing),
                "e": torch.randn(context.layout.num_tasks, 4, generator=drawing),
            }
        )
        self.optimiser = Optimiser(self.parameters, context.training)

    def weights(self, task_id: Any) -> dict[str, Tensor]:
        named = self.parameters.named
        flat = named["H"] @ named["e"][0 if task_id is None else task_id]
        sizes = [torch.Size(shape).numel() for shape in self._shapes.values()]
        parts = torch.split(flat, sizes)
        return {
            name: part.view(shape)
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }


class _Plugin:
    @hookimpl
    def clbench_tasks(self) -> list[Entry]:
        return [
            Entry("echoes", "toys:Echoes", "sequences"),
            Entry("pictures", "toys:Pictures", "pictures, or a stream of them"),
        ]

    @hookimpl
    def clbench_models(self) -> list[Entry]:
        return [Entry("linear", "toys:Linear", "a linear net")]

    @hookimpl
    def clbench_learners(self) -> list[Entry]:
        return [
            Entry("plain", "toys:Plain", "own weights"),
            Entry("generated", "toys:Generated", "generated weights"),
            Entry("alternating", "toys:Alternating", "right every other time"),
        ]


def registry() -> Registry:
    """A fresh registry with the toys in it."""
    fresh = Registry()
    fresh.register(_Plugin(), "toys", "toys", "0.1")
    return fresh


def config(
    family: str = "pictures",
    scenario: Scenario = Scenario.TASK_IL,
    learner: str = "plain",
    **changes: Any,
) -> CellConfig:
    """A small cell of toys."""
    values: dict[str, Any] = {
        "task": Choice(name=family, version=1, params={}),
        "scenario": scenario,
        "regime": "sequential",
        "learner": Choice(name=learner, version=1, params={}),
        "regularizers": (),
        "model": Choice(name="linear", version=1, params={}),
        "heads": scenario.heads[0],
        "training": Training(iterations=20, batch_size=8, learning_rate=0.05),
        "seed": 1,
        "data_seed": 2,
        "budget": 1.0,
        "plugins": {"toys": "0.1"},
    }
    return CellConfig(**(values | changes))


def context(**values: Any) -> LearnerContext:
    """A learner's context for tests; defaults serve learners that do not ask for these things."""
    fill: dict[str, Any] = {
        "generator": lambda purpose: randomness.generator(0, purpose),
        "spec": SequenceSpec(kind="sequence", input_shape=(1,), outputs_per_task=1, num_tasks=3),
        "model_seed": 0,
        "regularizers": (),
        "build_net": None,
        "build_regularizers": lambda net: (),
    }
    return LearnerContext(**(fill | values))


def pictures_context(layout: OutputLayout, **values: Any) -> LearnerContext:
    """A learner's context for a linear net on pictures."""
    family = Pictures(TwoParams())
    net = Linear(NoParams(), family.spec, layout)
    fill = {"spec": family.spec, "net": net, "layout": layout, "objective": family.objective}
    return context(**(fill | values))


def batches(family: TaskFamily, task_id: int, count: int) -> list[Batch]:
    """The first batches of eight samples of a task, in an order of its own."""
    task = family.tasks(0, Scenario.TASK_IL)[task_id]
    stream = task.train_stream(torch.Generator().manual_seed(task_id))
    return [replace(stream.next(8), task_id=task_id) for _ in range(count)]
