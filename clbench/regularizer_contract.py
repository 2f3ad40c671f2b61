"""The contract test of regularizers (`clbench.testing`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, cast, get_args

import torch
from torch import Tensor

from clbench.checkpoints import reread
from clbench.protocols import (
    Batch,
    NamedTensors,
    Regularizer,
    Watch,
    WatchesStep,
    WatchesTaskGradient,
)
from clbench.sample_gradients import sample_gradients
from clbench.states import equal, snapshot

_FRACTIONS = (0.5, 0.25, 0.25)
_METHODS = {"task-gradient": "after_task_gradient", "step": "after_step"}


class Consolidated:
    """A `clbench.protocols.Consolidation` that is worked out in the head.

    The one output for each sample is the sum s of all parameters, and the task loss is the output.
    So squared gradients are ones, and gradients of ``of`` are its derivative at s, everywhere: of
    the squared output 2 s.

    Args:
        params: At the end of the task.
    """

    num_samples = 8

    def __init__(self, params: NamedTensors) -> None:
        self.params = params

    def batches(self, num_samples: int) -> Iterator[Batch]:
        """Samples of zeros."""
        for size in (min(8, num_samples - i) for i in range(0, num_samples, 8)):
            yield Batch(inputs=torch.zeros(size, 1), targets=torch.zeros(size, 1), task_id=0)

    def predicted(self, batch: Batch) -> Batch:
        """The batch itself."""
        return batch

    def outputs(self, params: NamedTensors, batch: Batch) -> Tensor:
        """The sum of all parameters for each sample, ``(B, 1)``."""
        total = torch.stack([tensor.sum() for tensor in params.values()]).sum()
        return total.expand(len(batch.inputs), 1)

    def squared_gradients(self, batch: Batch) -> dict[str, Tensor]:
        """Ones, once for each sample."""
        return {
            name: torch.full_like(tensor, len(batch.inputs)) for name, tensor in self.params.items()
        }

    def sample_gradients(
        self, batch: Batch, of: Callable[[Tensor], Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """For each sample, and for every parameter, the derivative of `of` at the output."""
        return sample_gradients(self.outputs, self.params, batch, of)


class RegularizerContract:
    """What every regularizer promises.

    A task of it are three training steps in a straight line, from the parameters at which it
    begins to those at which it ends. At each step the contract itself calls `penalty`, and
    `after_task_gradient` and `after_step`, whichever the regularizer `watches`, and at the end
    `learn`.

    Attributes:
        from_the_start: Whether there may be a penalty before any task has ended, as that of
            `orthogonal`.
    """

    from_the_start = False

    def build(self) -> Regularizer:
        """The regularizer; equal each time."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self)")

    def params(self, seed: int) -> dict[str, Tensor]:
        """Parameters of the main net; equal for equal seeds."""
        raise NotImplementedError(f"{type(self).__name__} needs a method params(self, seed)")

    def learn(self, regularizer: Regularizer, params: dict[str, Tensor]) -> None:
        """A task ends at `params`: call `consolidate`.

        Here with `Consolidated`. Override it where samples or gradients of your own are needed;
        what the regularizer watches has been shown.
        """
        regularizer.consolidate(Consolidated(params))

    def anchor(self, regularizer: Regularizer, params: dict[str, Tensor]) -> NamedTensors | None:
        """The parameters at which the penalty is zero after a task that ended at `params`.

        Here `params`. Override it where they are others, such as a mean over the task's steps;
        None where the penalty pulls towards none.
        """
        return params

    def test_there_is_no_penalty_before_a_task_has_ended(self) -> None:
        regularizer, params = self._begun(0), self.params(1)

        for step in (None, *_steps(self.params(0), params)):
            if step is not None:
                _train(regularizer, step)
            penalty = regularizer.penalty(params)
            if penalty is not None:
                _check(penalty)
                absent = self.from_the_start or penalty.item() == 0.0
                assert absent, "there is a penalty before any task has ended"

    def test_the_penalty_is_zero_at_the_anchor_and_positive_away_from_it(self) -> None:
        regularizer = self._begun(0)
        self._live(regularizer, 0, 1)
        anchor = self.anchor(regularizer, self.params(1))

        away = _penalty(regularizer, self.params(2))

        assert away.item() > 0, "the penalty away from the anchor is not positive"
        if anchor is not None:
            at = _penalty(regularizer, anchor)
            assert at.item() == 0.0, "the penalty is not zero at the anchor"

    def test_the_penalty_is_differentiable_and_changes_no_parameter(self) -> None:
        regularizer = self._begun(0)
        self._live(regularizer, 0, 1)
        params = {n: t.requires_grad_() for n, t in self.params(2).items()}
        before = snapshot({n: t.detach() for n, t in params.items()})

        penalty = _penalty(regularizer, params)
        assert penalty.requires_grad, "the penalty is detached from the parameters"
        tensors = list(params.values())
        given = torch.autograd.grad(penalty, tensors, retain_graph=True, allow_unused=True)
        kept = [None if gradient is None else gradient.clone() for gradient in given]
        penalty.backward()
        again = [tensor.grad for tensor in tensors]
        repeats = equal(given, kept) and equal(again, kept)
        assert repeats, "the gradient of the penalty is another when it is taken again"

        has_gradient = any(t.grad is not None and t.grad.abs().sum() > 0 for t in params.values())
        assert has_gradient, "the penalty has no gradient"
        unchanged = equal({n: t.detach() for n, t in params.items()}, before)
        assert unchanged, "the penalty changed the parameters"

    def test_a_restored_one_goes_on_as_the_saved_one(self) -> None:
        saved, restored = self._begun(0), self._begun(3)
        self._live(saved, 0, 1)
        *first, last = _steps(self.params(1), self.params(2))
        for step in first:
            _train(saved, step)

        restored.restore(reread(saved.state()))
        params = self.params(4)
        at_once = equal(saved.penalty(params), restored.penalty(params))
        assert at_once, "the penalty is another directly after `restore`"
        for regularizer in (saved, restored):
            _train(regularizer, last)
            self.learn(regularizer, self.params(2))
            _train(regularizer, _steps(self.params(2), self.params(4))[0])

        assert equal(saved.state(), restored.state()), "the restored regularizer went another way"
        equally = equal(saved.penalty(params), restored.penalty(params))
        assert equally, "the penalty of the restored regularizer differs"

    def test_tensors_that_it_is_given_are_neither_changed_nor_kept(self) -> None:
        regularizer = self._built()

        def lend(call: Callable[..., Any], *given: NamedTensors) -> None:
            lent = [snapshot(dict(tensors)) for tensors in given]
            call(*lent)
            unchanged = equal(lent, [dict(tensors) for tensors in given])
            assert unchanged, "it changes tensors that it was given"
            before = snapshot(regularizer.state())
            for tensor in (t for tensors in lent for t in tensors.values()):
                tensor.add_(1.0)  # as the next step does
            kept = not equal(regularizer.state(), before)
            assert not kept, "it keeps tensors that it was given, and they change: clone them"

        lend(regularizer.begin, self.params(0))
        for start, end in ((0, 1), (1, 2)):
            for step in _steps(self.params(start), self.params(end)):
                _train(regularizer, step, lend)
            lend(lambda params: self.learn(regularizer, params), self.params(end))

    def _begun(self, seed: int) -> Regularizer:
        regularizer = self._built()
        regularizer.begin(self.params(seed))
        return regularizer

    def _built(self) -> Regularizer:
        regularizer = self.build()
        unknown = sorted(set(regularizer.watches) - set(get_args(Watch)))
        assert not unknown, f"`watches` has {unknown}, and only {sorted(_METHODS)} can be watched"
        for watch in sorted(regularizer.watches):
            has_method = hasattr(regularizer, _METHODS[watch])
            assert has_method, f"`watches` has '{watch}', and there is no `{_METHODS[watch]}`"
        return regularizer

    def _live(self, regularizer: Regularizer, start: int, end: int) -> None:
        """Through a task from the parameters of one seed to those of another."""
        for step in _steps(self.params(start), self.params(end)):
            _train(regularizer, step)
        self.learn(regularizer, self.params(end))


class _Step(NamedTuple):
    """A training step: the parameters before it, and what is added to them."""

    params: NamedTensors
    change: NamedTensors


def _steps(start: NamedTensors, end: NamedTensors) -> Sequence[_Step]:
    """Steps in a straight line, the first the longest."""
    way, done, steps = {n: end[n] - t for n, t in start.items()}, 0.0, []
    for part in _FRACTIONS:
        params = {n: t + done * way[n] for n, t in start.items()}
        steps.append(_Step(params, {n: part * t for n, t in way.items()}))
        done += part
    return steps


def _call(call: Callable[..., Any], *given: NamedTensors) -> None:
    call(*given)


def _train(regularizer: Regularizer, step: _Step, give: Callable[..., None] = _call) -> None:
    """A step of gradient descent with the learning rate 1; `give` calls what is told of it."""
    gradients = {name: -tensor for name, tensor in step.change.items()}
    if "task-gradient" in regularizer.watches:
        give(cast(WatchesTaskGradient, regularizer).after_task_gradient, gradients, step.change)
    give(regularizer.penalty, step.params)
    if "step" in regularizer.watches:
        give(cast(WatchesStep, regularizer).after_step, gradients, step.change)


def _penalty(regularizer: Regularizer, params: NamedTensors) -> Tensor:
    """The penalty after a task."""
    penalty = regularizer.penalty(params)
    assert penalty is not None, "there is no penalty after a task"
    _check(penalty)
    return penalty


def _check(penalty: Any) -> None:
    is_tensor = isinstance(penalty, Tensor)
    assert is_tensor, f"the penalty is no tensor but of type {type(penalty).__name__}"
    shape = tuple(penalty.shape)
    assert shape == (), f"the penalty is not one number: its shape is {shape}, not ()"
