"""The families: what each makes of its parameters, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

import clbench_copytask
from clbench.params import read
from clbench.protocols import Task, TaskFamily
from clbench.registry import Registry
from clbench.scenario import Scenario
from clbench_copytask.family import CopyFamily, CopyParams
from clbench_copytask.padded_copy import PaddedCopy, PaddedCopyParams
from clbench_copytask.pattern_manipulation import PatternManipulation, PatternManipulationParams
from clbench_copytask.permuted_copy import PermutedCopy, PermutedCopyParams
from clbench_copytask.plain_copy import PlainCopy, PlainCopyParams
from clbench_copytask.sequences import CopyTask

SMALL: dict[str, Any] = {"num_train": 40, "num_test": 20, "num_validation": 10}
ORDERS = [[1, 4, 2, 3, 0], [4, 0, 3, 1, 2], [2, 4, 0, 3, 1], [3, 1, 2, 4, 0], [0, 4, 1, 3, 2]]

FAMILIES: list[type[CopyFamily[Any]]] = [PlainCopy, PermutedCopy, PaddedCopy, PatternManipulation]


def _make(family: type[CopyFamily[Any]], data_seed: int = 42, **values: Any) -> list[CopyTask]:
    params = read(family.Params, SMALL | values)
    return family(params).tasks(data_seed, Scenario.TASK_IL)


def _patterns(task: CopyTask, length: int = 5) -> Tensor:
    return task.train.inputs[:, :length, :7]


def test_the_plugin_registers_its_families_and_nets() -> None:
    registry = Registry()

    registry.register(clbench_copytask, "copytask", "clbench", "0.1.0")

    assert registry.plugins[0].errors == ()
    assert {name: entry.load() for name, entry in registry.table("task").items()} == {
        "copy": PlainCopy,
        "padded-copy": PaddedCopy,
        "pattern-manipulation": PatternManipulation,
        "permuted-copy": PermutedCopy,
    }
    assert list(registry.table("model")) == ["elman", "lstm"]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_the_published_size_by_default(family: type[CopyFamily[Any]]) -> None:
    params = family.Params()
    assert isinstance(params, CopyParams)
    spec = family(params).spec

    assert (params.num_train, params.num_test, params.num_validation) == (100_000, 1000, 1000)
    assert (spec.kind, spec.input_shape, spec.outputs_per_task) == ("sequence", (8,), 7)
    assert spec.num_tasks == 5
    assert family.scenarios == {Scenario.TASK_IL, Scenario.DOMAIN_IL}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_keeps_the_protocols(family: type[CopyFamily[Any]]) -> None:
    made: TaskFamily = family(family.Params(**SMALL))
    tasks = made.tasks(0, Scenario.DOMAIN_IL)
    task: Task = tasks[0]
    (batch,) = task.test_batches()

    outputs = batch.targets * 2 - 1

    assert made.objective.losses(outputs, batch).shape == (20,)
    assert made.objective.tally(outputs, batch) == (100.0 * batch.targets.numel(), 20 * 35)
    assert len(tasks) == made.spec.num_tasks


@pytest.mark.parametrize("family", FAMILIES)
def test_data_depend_on_the_data_seed_alone(family: type[CopyFamily[Any]]) -> None:
    first, again, other = _make(family), _make(family), _make(family, data_seed=43)

    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a.train.inputs, b.train.inputs)
        assert torch.equal(a.train.targets, b.train.targets)
        assert torch.equal(a.validation.inputs, b.validation.inputs)
        assert not torch.equal(a.train.inputs, c.train.inputs)
        assert not torch.equal(a.test.inputs, c.test.inputs)


@pytest.mark.parametrize("family", FAMILIES)
def test_tasks_of_equal_lengths_share_their_inputs_in_memory(family: type[CopyFamily[Any]]) -> None:
    tasks = _make(family)

    assert len({task.train.inputs.data_ptr() for task in tasks}) == 1
    assert len({task.test.inputs.data_ptr() for task in tasks}) == 1


def test_plain_tasks_recall_the_input() -> None:
    for task in _make(PlainCopy):
        assert torch.equal(task.train.targets, _patterns(task))


def test_plain_tasks_may_grow_and_vary_in_length() -> None:
    tasks = _make(PlainCopy, num_tasks=3, input_length_step=4, input_length_variability=2)

    assert [task.train.inputs.shape for task in tasks] == [(40, S, 8) for S in (15, 23, 31)]
    assert [task.train.window for task in tasks] == [slice(4, 15), slice(8, 23), slice(12, 31)]
    assert all(task.train.mask is not None for task in tasks)


def test_permuted_tasks_recall_time_steps_in_the_orders_of_the_source() -> None:
    tasks = _make(PermutedCopy)

    for task, order in zip(tasks, ORDERS, strict=True):
        assert torch.equal(task.train.targets, _patterns(task)[:, order])
        assert torch.equal(task.test.targets, task.test.inputs[:, order, :7])


def test_bits_within_steps_are_permuted_alike_in_all_steps() -> None:
    for task in _make(PermutedCopy, permute="width"):
        columns = _patterns(task).flatten(0, 1).T.tolist()
        recalled = task.train.targets.flatten(0, 1).T.tolist()
        order = [columns.index(column) for column in recalled]
        assert sorted(order) == list(range(7))
        assert order != list(range(7))


def test_all_bits_are_permuted_across_steps() -> None:
    for task in _make(PermutedCopy, permute="both"):
        bits = _patterns(task).flatten(1).T.tolist()
        recalled = task.train.targets.flatten(1).T.tolist()
        order = [bits.index(bit) for bit in recalled]
        assert sorted(order) == list(range(35))
        assert any(e // 7 != k // 7 for k, e in enumerate(order))


def test_padded_tasks_without_permutation_are_equal() -> None:
    for task in _make(PaddedCopy):
        assert task.train.inputs.shape == (40, 31, 8)
        assert task.train.window == slice(26, 31)
        assert torch.equal(task.train.targets, _patterns(task))


def test_padded_tasks_are_permuted_within_the_pattern() -> None:
    tasks = _make(PaddedCopy, permute="time", padding="random")

    for task, order in zip(tasks, ORDERS, strict=True):
        assert torch.equal(task.train.targets, _patterns(task)[:, order])


def test_the_zeros_of_padding_after_the_stop_flag_are_not_permuted() -> None:
    tasks = _make(PaddedCopy, permute="time", padding="after-stop")

    for task, order in zip(tasks, ORDERS, strict=True):
        assert task.train.targets.shape == (40, 25, 7)
        assert int(task.train.targets[:, :20].sum()) == 0
        assert torch.equal(task.train.targets[:, 20:], _patterns(task)[:, order])


def test_padded_tasks_may_grow_and_vary_while_the_pattern_is_permuted() -> None:
    tasks = _make(
        PaddedCopy,
        num_tasks=2,
        input_length=8,
        permute="time",
        input_length_step=3,
        input_length_variability=1,
    )

    for task, order, mean in zip(tasks, ORDERS[:2], (8, 11), strict=True):
        lengths = task.train.inputs[:, :, 7].argmax(1)
        assert set(lengths.tolist()) == {mean - 1, mean, mean + 1}
        rows = torch.arange(40).unsqueeze(1)
        recall = lengths.unsqueeze(1) + 1 - task.train.window.start + torch.arange(5)
        assert torch.equal(task.train.targets[rows, recall], _patterns(task)[:, order])


def test_one_xor_is_the_pattern_with_its_permutation() -> None:
    tasks = _make(PatternManipulation)

    for task, order in zip(tasks, ORDERS, strict=True):
        x = _patterns(task)
        assert torch.equal(task.train.targets, x ^ x[:, order])


@pytest.mark.parametrize("permutations", ["separate", "iterated"])
@pytest.mark.parametrize("permute", ["time", "width", "both"])
def test_one_xor_is_with_the_permutation_of_the_permuted_copy_task(
    permute: str, permutations: str
) -> None:
    tasks = _make(PatternManipulation, permute=permute, permutations=permutations)

    for task, copy in zip(tasks, _make(PermutedCopy, permute=permute), strict=True):
        assert torch.equal(task.train.inputs, copy.train.inputs)
        assert torch.equal(task.train.targets, _patterns(task) ^ copy.train.targets)


def test_separate_xors_take_all_permutations_of_the_pattern() -> None:
    task = _make(PatternManipulation, xor_iterations=5)[0]
    x = _patterns(task)
    orders = ("14230", "01432", "23401", "24031", "41320")

    expected = x.clone()
    for order in orders:
        expected ^= x[:, [int(step) for step in order]]

    assert torch.equal(task.train.targets, expected)


def test_iterated_xors_take_one_permutation_again_and_again() -> None:
    tasks = _make(PatternManipulation, xor_iterations=3, permutations="iterated")

    for task, order in zip(tasks, ORDERS, strict=True):
        y = _patterns(task)
        for _ in range(3):
            y = y ^ y[:, order]
        assert torch.equal(task.train.targets, y)


def test_other_widths_change_features_and_outputs() -> None:
    params = PermutedCopyParams(pattern_width=3, **SMALL)
    family = PermutedCopy(params)
    (batch,) = family.tasks(42, Scenario.TASK_IL)[0].test_batches()

    assert (family.spec.input_shape, family.spec.outputs_per_task) == ((4,), 3)
    assert (batch.inputs.shape, batch.targets.shape) == ((11, 20, 4), (5, 20, 3))


@pytest.mark.parametrize(
    ("model", "values", "text"),
    [
        (
            PlainCopyParams,
            {"input_length": 3, "input_length_variability": 3},
            "Value error, input_length_variability (3) must be less than input_length (3)",
        ),
        (
            PaddedCopyParams,
            {"input_length": 7, "pattern_length": 5, "input_length_variability": 2},
            "Value error, pattern_length (5) must be less than the shortest input, "
            "input_length - input_length_variability (5)",
        ),
        (
            PermutedCopyParams,
            {"input_length_step": 1},
            "Extra inputs are not permitted",
        ),
        (
            PatternManipulationParams,
            {"permute": "none"},
            "Input should be 'time', 'width' or 'both'",
        ),
    ],
)
def test_impossible_parameters_are_refused(
    model: type[CopyParams], values: dict[str, Any], text: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        read(model, values)

    assert [error["msg"] for error in caught.value.errors()] == [text]
