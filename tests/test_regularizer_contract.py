"""The contract of regularizers catches those that break their promises, and says which one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pytest
import torch
from contracts import broken_promises
from torch import Tensor

from clbench.protocols import (
    NamedTensors,
    Regularizer,
)
from clbench.testing import (
    Consolidated,
    RegularizerContract,
    equal,
)


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
        self.anchor = {name: tensor.clone() for name, tensor in params.items()}


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


class _KeepsNothing(_Pull):
    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


class _ForgetsHowManyTasks(_Pull):
    """Its strength grows from task to task, by a counter that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.strength = self.next = 1

    def penalty(self, params: NamedTensors) -> Tensor | None:
        found = super().penalty(params)
        return None if found is None else self.strength * found

    def consolidate(self, consolidation: Any) -> None:
        super().consolidate(consolidation)
        self.strength, self.next = self.next, self.next + 1


class _ForgetsHowManySteps(_Pull):
    """Its strength grows from step to step, by a counter that is not saved."""

    steps = 0

    def penalty(self, params: NamedTensors) -> Tensor | None:
        found = super().penalty(params)
        self.steps += 1
        return None if found is None else self.steps * found


class _KeepsTheLiveParameters(_Pull):
    """Its anchor moves with the weights, so that nothing is ever pulled."""

    def consolidate(self, consolidation: Any) -> None:
        self.anchor = dict(consolidation.params)


class _KeepsALiveStep(_Pull):
    watches = frozenset({"step"})
    last: Mapping[str, Tensor] = MappingProxyType({})

    def after_step(self, gradients: NamedTensors, steps: NamedTensors) -> None:
        self.last = steps

    def state(self) -> dict[str, Any]:
        return super().state() | {"last": dict(self.last)}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.last = dict(state["last"])


class _ChangesTheGradient(_Pull):
    watches = frozenset({"task-gradient"})

    def after_task_gradient(self, gradients: NamedTensors, look_ahead: NamedTensors) -> None:
        gradients["w"].mul_(0.5)


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
        self.weights = {name: tensor.clone() for name, tensor in params.items()}
        self.mean = dict(self.weights)

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
        self.anchor = dict(self.mean)


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


class _Scaled(torch.autograd.Function):
    """Half the squared norm, with a gradient that is scaled where it is kept."""

    @staticmethod
    def forward(ctx: Any, offset: Tensor) -> Tensor:
        ctx.offset = offset.clone()
        return offset.square().sum() / 2

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        return ctx.offset.mul_(2.0 * gradient)


class _ScalesItsGradientAgain(_Pull):
    def penalty(self, params: NamedTensors) -> Any:
        if not self.anchor:
            return None
        return _Scaled.apply(params["w"] - self.anchor["w"])  # type: ignore[no-untyped-call]


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


_KEPT = "it keeps tensors that it was given, and they change: clone them"


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        (_Pull, []),
        (_MissesTheAnchor, ["the penalty is not zero at the anchor"]),
        (_PullsFromTheStart, ["there is a penalty before any task has ended"]),
        (_HasNoGradient, ["the penalty has no gradient"]),
        (
            _ScalesItsGradientAgain,
            ["the gradient of the penalty is another when it is taken again"],
        ),
        (_RestoresNothing, ["the penalty is another directly after `restore`"]),
        (_KeepsNothing, ["the penalty is another directly after `restore`"]),
        (_ForgetsHowManyTasks, ["the penalty of the restored regularizer differs"]),
        (_IsAVector, ["the penalty is not one number: its shape is (1, 3), not ()"] * 2),
        (_IsDetached, ["the penalty is detached from the parameters"]),
        (_IsNoTensor, ["the penalty is no tensor but of type float"] * 2),
        (_ForgetsHowManySteps, ["the penalty is another directly after `restore`"]),
        (_KeepsTheLiveParameters, [_KEPT]),
        (_KeepsALiveStep, [_KEPT]),
        (_ChangesTheGradient, ["it changes tensors that it was given"]),
        (_WatchesTheGradient, []),
        (_ForgetsItsSquares, ["the penalty is another directly after `restore`"]),
        (
            _WatchesWhatIsNot,
            ["`watches` has ['steps'], and only ['step', 'task-gradient'] can be watched"] * 5,
        ),
        (_CannotWatch, ["`watches` has 'step', and there is no `after_step`"] * 5),
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
