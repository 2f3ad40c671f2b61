"""The contract tests catch plugins that break their promises, and say which promise it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest
import torch
import toys
from contracts import broken_promises
from torch import Tensor

from clbench.config import Training
from clbench.protocols import (
    Batch,
    Context,
    Learner,
    MainNet,
    NamedTensors,
    Observation,
    Query,
    Regularizer,
    TaskFamily,
)
from clbench.scenario import OutputLayout, Scenario
from clbench.testing import (
    Consolidated,
    FamilyContract,
    LearnerContract,
    NetContract,
    RegularizerContract,
    equal,
)
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams

FAMILY = toys.Pictures(toys.TwoParams())
LAYOUT = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)


# learners


class _Learners(LearnerContract):
    learner: ClassVar[Callable[..., Learner]]

    def build(self) -> Learner:
        training = Training(iterations=1, learning_rate=0.1)
        context = toys.pictures_context(LAYOUT, training=training)
        return type(self).learner(FineTuningParams(), context)

    def batches(self, task_id: int, count: int) -> Sequence[Batch]:
        stream = FAMILY.tasks(0, Scenario.TASK_IL)[task_id].train_stream(torch.Generator())
        return [replace(stream.next(4), task_id=task_id) for _ in range(count)]


class _DrawsGlobally(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        self.parameters.values.add_(0.01 * torch.randn(()))
        return super().observe(batch)


class _LearnsInPredict(FineTuning):
    def predict(self, query: Query) -> Tensor:
        self.parameters.values.mul_(0.9)
        return super().predict(query)


class _ForgetsItsMoments(FineTuning):
    def state(self) -> dict[str, Any]:
        return super().state() | {"optimiser": {}}


class _TellsTheOutputsAfterTheStep(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        observation = super().observe(batch)
        return replace(observation, outputs=self.predict(batch))


class _LearnsNothing(FineTuning):
    def step(self) -> None:
        pass


class _IsAttached(FineTuning):
    def observe(self, batch: Batch) -> Observation:
        observation = super().observe(batch)
        return replace(observation, loss=observation.loss.clone().requires_grad_())


class _SlowsDown(FineTuning):
    def __init__(self, params: FineTuningParams, context: Any) -> None:
        super().__init__(params, context)
        self.steps = 0

    def step(self) -> None:
        self.steps += 1
        self.parameters.gradients.div_(self.steps)
        super().step()

    def graph_obstacle(self) -> str | None:
        return None

    def state(self) -> dict[str, Any]:
        return super().state() | {"steps": self.steps}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.steps = state["steps"]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (FineTuning, []),
        (_DrawsGlobally, ["learning depends on something besides its context"]),
        (_LearnsInPredict, ["predict changed the learner's state"]),
        (_ForgetsItsMoments, ["the restored learner went another way"]),
        (_TellsTheOutputsAfterTheStep, ["the outputs are not those before the step"]),
        (_LearnsNothing, ["nothing was learnt"]),
        (_IsAttached, ["the loss is not detached"]),
        (_SlowsDown, ["steps are said to be alike and are not"]),
    ],
)
def test_a_learner_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    contract = type("Contract", (_Learners,), {"learner": staticmethod(broken)})

    assert set(expected) <= set(broken_promises(contract))
    assert bool(expected) == bool(broken_promises(contract))


# regularizers


class _Pull:
    """A sound regularizer: half the squared distance to the last anchor."""

    watches: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.anchor: dict[str, Tensor] = {}

    def begin(self, params: NamedTensors) -> None: ...

    def penalty(self, params: NamedTensors) -> Tensor | None:
        if not self.anchor:
            return None
        return sum(
            ((params[n] - t).square().sum() for n, t in self.anchor.items()), torch.zeros(())
        )

    def consolidate(self, consolidation: Any) -> None:
        self.anchor = {name: t.clone() for name, t in consolidation.params.items()}

    def state(self) -> dict[str, Any]:
        return {"anchor": dict(self.anchor)}

    def restore(self, state: dict[str, Any]) -> None:
        self.anchor = dict(state["anchor"])


class _MissesTheAnchor(_Pull):
    def penalty(self, params: NamedTensors) -> Tensor | None:
        found = super().penalty(params)
        return None if found is None else found + 1.0


class _PullsFromTheStart(_Pull):
    def begin(self, params: NamedTensors) -> None:
        self.anchor = dict(params)


class _HasNoGradient(_Pull):
    def penalty(self, params: NamedTensors) -> Tensor | None:
        found = super().penalty({name: tensor.detach() for name, tensor in params.items()})
        return None if found is None else found + 0.0 * params["w"].sum()


class _RestoresNothing(_Pull):
    def restore(self, state: dict[str, Any]) -> None:
        self.anchor = {name: torch.zeros_like(tensor) for name, tensor in state["anchor"].items()}

    def consolidate(self, consolidation: Any) -> None:
        if not self.anchor:
            super().consolidate(consolidation)


class _IsAVector(_Pull):
    def penalty(self, params: NamedTensors) -> Tensor | None:
        return torch.stack([params[n] - t for n, t in self.anchor.items()]) if self.anchor else None


class _IsDetached(_Pull):
    def penalty(self, params: NamedTensors) -> Tensor | None:
        return super().penalty({name: tensor.detach() for name, tensor in params.items()})


class _IsNoTensor(_Pull):
    def penalty(self, params: NamedTensors) -> Any:
        return 3.0 if self.anchor else None


class _PullsToAMean(_Pull):
    """Sound: half the squared distance to a mean of the weights over the steps."""

    watches = frozenset({"step"})

    def begin(self, params: NamedTensors) -> None:
        self.weights = dict(params)
        self.mean = dict(params)

    def after_step(self, gradients: NamedTensors, steps: NamedTensors) -> None:
        for name, step in steps.items():
            self.weights[name] = self.weights[name] + step
            self.mean[name] = self.mean[name].lerp(self.weights[name], 0.1)

    def consolidate(self, consolidation: Any) -> None:
        self.anchor = dict(self.mean)

    def state(self) -> dict[str, Any]:
        return super().state() | {"weights": dict(self.weights), "mean": dict(self.mean)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.weights, self.mean = dict(state["weights"]), dict(state["mean"])


class _ForgetsItsMean(_PullsToAMean):
    def state(self) -> dict[str, Any]:
        return {"anchor": dict(self.anchor), "weights": dict(self.weights)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state | {"mean": self.mean})


class _PullsToAMeanFromTheStart(_PullsToAMean):
    def begin(self, params: NamedTensors) -> None:
        super().begin(params)
        self.anchor = dict(params)


class _WatchesTheGradient(_Pull):
    """Sound: the squared gradients of a task are its importances."""

    watches = frozenset({"task-gradient"})

    def begin(self, params: NamedTensors) -> None:
        self.squares = torch.zeros(3)

    def after_task_gradient(self, gradients: NamedTensors, look_ahead: NamedTensors) -> None:
        assert (gradients["w"] * look_ahead["w"] < 0).all()
        self.squares += gradients["w"].square()

    def penalty(self, params: NamedTensors) -> Tensor | None:
        if not self.anchor:
            return None
        return (self.squares * (params["w"] - self.anchor["w"]).square()).sum()

    def state(self) -> dict[str, Any]:
        return super().state() | {"squares": self.squares.clone()}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.squares = state["squares"].clone()


class _ForgetsItsSquares(_WatchesTheGradient):
    def state(self) -> dict[str, Any]:
        return {"anchor": dict(self.anchor)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state | {"squares": torch.zeros(3)})


class _WatchesWhatIsNot(_Pull):
    watches = frozenset({"steps"})


class _CannotWatch(_Pull):
    watches = frozenset({"step"})


class _Regularizers(RegularizerContract):
    regularizer: ClassVar[Callable[[], Any]]

    def build(self) -> Regularizer:
        built: Regularizer = type(self).regularizer()
        return built

    def params(self, seed: int) -> dict[str, Tensor]:
        return {"w": torch.randn(3, generator=torch.Generator().manual_seed(seed))}


class _RegularizersWithAMean(_Regularizers):
    def anchor(self, regularizer: Any, params: Any) -> Any:
        return dict(regularizer.anchor)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_Pull, []),
        (_MissesTheAnchor, ["the penalty is not zero at the anchor"]),
        (_PullsFromTheStart, ["there is a penalty before any task has ended"]),
        (_HasNoGradient, ["the penalty has no gradient"]),
        (_RestoresNothing, ["the restored regularizer went another way"]),
        (_IsAVector, ["the penalty is not one number: its shape is (1, 3), not ()"] * 2),
        (_IsDetached, ["the penalty is detached from the parameters"]),
        (_IsNoTensor, ["the penalty is no tensor but of type float"] * 2),
        (_WatchesTheGradient, []),
        (_ForgetsItsSquares, ["the penalty of the restored regularizer differs"]),
        (
            _WatchesWhatIsNot,
            ["`watches` has ['steps'], and only ['step', 'task-gradient'] can be watched"] * 4,
        ),
        (_CannotWatch, ["`watches` has 'step', and there is no `after_step`"] * 4),
        (_PullsToAMean, ["the penalty is not zero at the anchor"]),
    ],
)
def test_a_regularizer_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    contract = type("Contract", (_Regularizers,), {"regularizer": staticmethod(broken)})

    assert broken_promises(contract) == expected


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_PullsToAMean, []),
        (_ForgetsItsMean, ["the restored regularizer went another way"]),
        (_PullsToAMeanFromTheStart, ["there is a penalty before any task has ended"]),
    ],
)
def test_an_anchor_may_be_other_parameters_than_the_last(broken: Any, expected: list[str]) -> None:
    contract = type("Contract", (_RegularizersWithAMean,), {"regularizer": staticmethod(broken)})

    assert broken_promises(contract) == expected


def test_what_a_task_ends_with_can_be_worked_out_in_the_head() -> None:
    consolidated = Consolidated({"w": torch.tensor([1.0, 2.0]), "b": torch.tensor(-1.5)})

    (batch,) = consolidated.batches(3)
    (first, *others) = consolidated.sample_gradients(batch, lambda y: y.square().sum(-1))

    assert torch.equal(consolidated.outputs(consolidated.params, batch), torch.full((3, 1), 1.5))
    expected = {"w": torch.tensor([3.0, 3.0]), "b": torch.tensor(3.0)}  # 2 (1 + 2 - 1.5)
    assert equal(first, expected)
    assert len(others) == 2
    squares = {"w": torch.tensor([3.0, 3.0]), "b": torch.tensor(3.0)}  # 3 samples
    assert equal(consolidated.squared_gradients(batch), squares)


@pytest.mark.parametrize(
    ("contract", "method"),
    [
        (RegularizerContract, "build(self)"),
        (LearnerContract, "build(self)"),
        (FamilyContract, "build(self)"),
        (NetContract, "build(self)"),
    ],
)
def test_a_method_that_a_contract_needs_is_named(contract: Any, method: str) -> None:
    mine = type("TestMine", (contract,), {})()

    with pytest.raises(NotImplementedError) as caught:
        mine.build()

    assert str(caught.value) == f"TestMine needs a method {method}"


# families and nets


class _IgnoresItsSeed(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return super().tasks(7, scenario)


class _Telling:
    """A task whose test batches say which task it is."""

    def __init__(self, inner: Any) -> None:
        self.train_size, self.train_stream = inner.train_size, inner.train_stream
        self._inner = inner

    def test_batches(self) -> list[Batch]:
        return [replace(batch, task_id=0) for batch in self._inner.test_batches()]


class _TellsTheTask(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return [_Telling(task) for task in super().tasks(data_seed, scenario)]


class _HasATaskTooFew(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return super().tasks(data_seed, scenario)[:-1]


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (toys.Pictures, []),
        (_IgnoresItsSeed, ["the data seed is ignored"]),
        (_TellsTheTask, ["the runner, not the task, says which task it is"]),
        (_HasATaskTooFew, ["the spec promises another number of tasks"]),
    ],
)
def test_a_family_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    class Contract(FamilyContract):
        def build(self) -> TaskFamily:
            family: TaskFamily = broken(toys.TwoParams())
            return family

    assert broken_promises(Contract) == expected


class _DrawsItsWeightsGlobally(toys.Linear):
    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        return {name: torch.randn(shape) for name, shape in self.shapes.items()}


class _ScalesItsWeights(toys.Linear):
    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        for tensor in params.values():
            tensor.detach().mul_(1.5)
        return super().__call__(params, query, context)


class _LeavesAWeightOut(toys.Linear):
    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        last = list(params)[-1]
        still = {n: t.detach() if n == last else t for n, t in params.items()}
        return super().__call__(still, query, context)


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (toys.Linear, []),
        (_DrawsItsWeightsGlobally, ["the same generator gave different parameters"]),
        (_ScalesItsWeights, ["two passes on the same inputs differ"]),
        (_LeavesAWeightOut, ["b has no gradient"]),
    ],
)
def test_a_net_that_breaks_a_promise_is_caught(broken: Any, expected: list[str]) -> None:
    class Contract(NetContract):
        def build(self) -> MainNet:
            net: MainNet = broken(toys.NoParams(), FAMILY.spec, LAYOUT)
            return net

        def query(self) -> Query:
            return Query(inputs=torch.rand(4, 1, 4, 4, generator=torch.Generator()), task_id=1)

    assert set(expected) <= set(broken_promises(Contract))
    assert bool(expected) == bool(broken_promises(Contract))
