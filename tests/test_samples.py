"""What a task family made is looked at before anything is learnt from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import toys
from torch import Tensor
from torch.nn.functional import cross_entropy

from clbench.errors import PluginError
from clbench.metrics import MSE, Metric
from clbench.protocols import Batch, SequenceSpec, Tally
from clbench.samples import made
from clbench.scenario import OutputLayout, Scenario


def _made(family: Any, scenario: Scenario = Scenario.TASK_IL) -> Any:
    spec = family.spec
    heads = scenario.heads[0]
    return made(
        family, "mine", OutputLayout(scenario, heads, spec.num_tasks, spec.outputs_per_task), 0
    )


def _error(family: Any, scenario: Scenario = Scenario.TASK_IL) -> str:
    with pytest.raises(PluginError) as caught:
        _made(family, scenario)
    return str(caught.value)


class _Pictures(toys.Pictures):
    """Those of the toys, after something has been done to them."""

    def __init__(self, change: Callable[[list[Any]], Any]) -> None:
        super().__init__(toys.TwoParams())
        self.change = change

    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return self.change(list(super().tasks(data_seed, scenario)))


def _tested(batches: Callable[[Batch], Any]) -> Callable[[list[Any]], Any]:
    """Tasks of which the first is tested on what is made of its data."""

    class Task(toys.StoredTask):
        def test_batches(self) -> Any:
            return batches(self.data)

    return lambda tasks: [Task(tasks[0].data), *tasks[1:]]


# tasks


def _sized(size: object) -> Callable[[list[Any]], Any]:
    """Tasks of which the second says that it has so many training samples."""

    class Task(toys.StoredTask):
        train_size: Any = size

    return lambda tasks: [tasks[0], Task(tasks[1].data), tasks[2]]


def test_tasks_may_come_one_by_one() -> None:
    tasks, tests = _made(_Pictures(iter))

    assert len(tasks) == len(tests) == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tasks: None, "the task family 'mine' made no tasks, but a value of type NoneType"),
        (
            lambda tasks: dict(enumerate(tasks)),
            "task 0 of the task family 'mine' is of type int, and lacks 'train_size'",
        ),
        (
            _sized(0),
            "task 1 of the task family 'mine' has a train_size of 0; expected the number of its "
            "training samples, at least 1",
        ),
        (
            _sized(40.0),
            "task 1 of the task family 'mine' has a train_size of 40.0; expected the number of "
            "its training samples, at least 1",
        ),
    ],
)
def test_what_is_no_sequence_of_tasks_is_told(change: Any, message: str) -> None:
    assert _error(_Pictures(change)) == message


# test batches

_GAVE = "the task family 'mine' gave, as test batches of task 0,"


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (lambda data: None, "a value of type NoneType; expected a list of batches"),
        (lambda data: data, "a value of type Batch; expected a list of batches"),
        (lambda data: [(data.inputs, 0)], "a value of type tuple; expected a Batch"),
        (
            lambda data: [replace(data, targets=data.targets.numpy())],
            "targets of type ndarray; expected a tensor",
        ),
        (
            lambda data: [replace(data, inputs=data.inputs.flatten(1))],
            "inputs of shape (40, 16); its spec says (samples, 1, 4, 4)",
        ),
        (
            lambda data: [replace(data, targets=data.targets[:1])],
            "targets of shape (1,) for inputs of shape (40, 1, 4, 4): not one for each sample",
        ),
    ],
)
def test_what_is_no_test_batch_is_told(batches: Any, message: str) -> None:
    assert _error(_Pictures(_tested(batches))) == f"{_GAVE} {message}"


def test_sequences_have_their_samples_on_the_second_axis() -> None:
    class Echoes(toys.Echoes):
        def tasks(self, data_seed: int, scenario: Scenario) -> Any:
            tasks = super().tasks(data_seed, scenario)
            data = replace(tasks[0].data, targets=tasks[0].data.targets[:, :1])
            return _tested(lambda _: [data])(list(tasks))

    what = "targets of shape (1, 1, 1) for inputs of shape (3, 40, 1): not one for each sample"
    assert _error(Echoes(toys.TwoParams())) == f"{_GAVE} {what}"
    assert len(_made(toys.Echoes(toys.TwoParams()))[1]) == 3


# labels and losses


def _shifted(data: Batch) -> list[Batch]:
    return [replace(data, targets=data.targets + 1)]


def test_a_test_label_that_no_output_stands_for_is_told() -> None:
    """Training would not notice: those labels are right."""
    assert _error(_Pictures(_tested(_shifted))) == (
        "the objective of the task family 'mine', asked for the losses of 40 samples of task 0, "
        "raised IndexError: Target 2 is out of bounds. on outputs (40, 2) and targets (40,) from "
        "1 to 2"
    )


def test_labels_that_cross_entropy_ignores_are_told() -> None:
    def ignored(data: Batch) -> list[Batch]:
        return [replace(data, targets=torch.where(data.targets == 0, -100, data.targets))]

    assert (
        _error(_Pictures(_tested(ignored))) == f"{_GAVE} labels from -100 to 1; they count from 0"
    )


class _LocalLabels(toys.Pictures):
    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        return super().tasks(data_seed, Scenario.TASK_IL)


def test_labels_that_are_local_in_class_il_are_told() -> None:
    assert _error(_LocalLabels(toys.TwoParams()), Scenario.CLASS_IL) == (
        "the task family 'mine' has no label above 1 in the test sets of its 3 tasks, and in "
        "class-il every class has a label of its own: those of task t are 2 t to 2 t + 1"
    )


@pytest.mark.parametrize("scenario", [Scenario.TASK_IL, Scenario.DOMAIN_IL])
def test_labels_are_local_in_the_other_scenarios(scenario: Scenario) -> None:
    assert len(_made(_LocalLabels(toys.TwoParams()), scenario)[1]) == 3


def test_classes_may_come_again_in_class_il() -> None:
    """The third task has the classes of the first."""

    def again(tasks: list[Any]) -> list[Any]:
        return [tasks[0], tasks[1], tasks[0]]

    assert len(_made(_Pictures(again), Scenario.CLASS_IL)[1]) == 3


def test_all_tasks_may_have_all_classes_in_class_il() -> None:
    every = torch.arange(6).repeat(7)[:40]

    def shared(tasks: list[Any]) -> list[Any]:
        return [toys.StoredTask(replace(task.data, targets=every)) for task in tasks]

    assert len(_made(_Pictures(shared), Scenario.CLASS_IL)[1]) == 3


def _judged(losses: Any) -> toys.Pictures:
    class Objective(toys.CrossEntropy):
        pass

    setattr(Objective, "losses", lambda self, outputs, batch: losses(outputs, batch))  # noqa: B010

    class Family(toys.Pictures):
        objective = Objective()

    return Family(toys.TwoParams())


@pytest.mark.parametrize(
    ("losses", "what"),
    [
        (
            lambda outputs, batch: cross_entropy(outputs, batch.targets),
            "a tensor of shape (); expected one for each, (10,)",
        ),
        (
            lambda outputs, batch: -outputs.log_softmax(-1),
            "a tensor of shape (10, 2); expected one for each, (10,)",
        ),
        (lambda outputs, batch: 0.5, "a value of type float; expected a tensor (10,)"),
    ],
)
def test_losses_that_are_not_one_for_each_sample_are_told(losses: Any, what: str) -> None:
    asked = "the objective of the task family 'mine', asked for the losses of 10 samples of task 0"

    assert _error(_judged(losses)) == f"{asked}, gave {what}"


def test_an_objective_may_take_targets_of_training_alone() -> None:
    """Soft ones, for example; the tally takes the others."""

    def losses(outputs: Tensor, batch: Batch) -> Tensor:
        if batch.targets.dim() == 1:
            raise ValueError("soft targets only")
        return -(batch.targets * outputs.log_softmax(-1)).sum(-1)

    assert len(_made(_judged(losses))[1]) == 3


# regression


class _Squares:
    metric: Metric = MSE

    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return (outputs - batch.targets).square().mean(-1)

    def tally(self, outputs: Tensor, batch: Batch) -> Tally:
        return Tally(float(self.losses(outputs, batch).sum()), len(batch.targets))

    def predictions(self, outputs: Tensor) -> Tensor:
        return outputs


class _FlatSquares(_Squares):
    def losses(self, outputs: Tensor, batch: Batch) -> Tensor:
        return (outputs[:, 0] - batch.targets).square()


class _Numbers(toys.Pictures):
    def __init__(self, objective: Any) -> None:
        super().__init__(toys.TwoParams())
        self.objective = objective

    @property
    def spec(self) -> SequenceSpec:
        return SequenceSpec(
            kind="regression", input_shape=(1, 4, 4), outputs_per_task=1, num_tasks=3
        )

    def tasks(self, data_seed: int, scenario: Scenario) -> Any:
        tasks = super().tasks(data_seed, scenario)
        return [
            toys.StoredTask(replace(task.data, targets=task.data.inputs.mean((1, 2, 3))))
            for task in tasks
        ]


def test_flat_targets_that_are_broadcast_are_told() -> None:
    """The losses are one for each sample all the same, each of it against the mean target."""
    assert _error(_Numbers(_Squares())) == (
        "the objective of the task family 'mine', asked for the losses of 10 samples of task 0, "
        "sets each output against the targets of all samples: targets of shape (10,) are broadcast "
        "to outputs (10, 1); give targets of shape (10, 1)"
    )


def test_flat_targets_that_are_not_broadcast_serve() -> None:
    assert len(_made(_Numbers(_FlatSquares()))[1]) == 3


def test_tasks_are_made_where_they_are_wanted() -> None:
    layout = OutputLayout(Scenario.TASK_IL, "per-task", 3, 2)
    family = toys.Pictures(toys.TwoParams())

    _, tests = made(family, "mine", layout, 0, torch.device("meta"))

    assert {batch.inputs.device.type for batches in tests for batch in batches} == {"meta"}
