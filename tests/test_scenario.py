"""Scenarios and the layout of outputs."""

from __future__ import annotations

import pytest
import torch

from clbench.errors import PluginError
from clbench.scenario import Heads, OutputLayout, Scenario


@pytest.mark.parametrize(
    ("scenario", "at_train", "at_test", "heads"),
    [
        ("task-il", True, True, ("per-task", "shared")),
        ("domain-il", True, False, ("shared",)),
        ("class-il", True, False, ("per-task",)),
        ("task-free", False, False, ("shared",)),
    ],
)
def test_what_a_scenario_tells(
    scenario: str, at_train: bool, at_test: bool, heads: tuple[str, ...]
) -> None:
    found = Scenario(scenario)

    assert found.gives_task_id_at_train is at_train
    assert found.gives_task_id_at_test is at_test
    assert found.heads == heads


@pytest.mark.parametrize(
    ("scenario", "heads", "total", "told", "withheld"),
    [
        (Scenario.TASK_IL, "per-task", 6, slice(2, 4), slice(0, 6)),
        (Scenario.TASK_IL, "shared", 2, slice(0, 2), slice(0, 2)),
        (Scenario.DOMAIN_IL, "shared", 2, slice(0, 2), slice(0, 2)),
        (Scenario.CLASS_IL, "per-task", 6, slice(0, 4), slice(0, 6)),
    ],
)
def test_which_outputs_compete_on_the_second_of_three_tasks(
    scenario: Scenario, heads: Heads, total: int, told: slice, withheld: slice
) -> None:
    layout = OutputLayout(scenario, heads, num_tasks=3, outputs_per_task=2)

    assert layout.num_outputs == total
    assert layout.rows(1) == told
    assert layout.rows(None) == withheld


def test_each_sample_of_a_mixed_batch_gets_the_head_of_its_task() -> None:
    layout = OutputLayout(Scenario.TASK_IL, "per-task", num_tasks=3, outputs_per_task=2)
    outputs = torch.arange(2 * 4 * 6).view(2, 4, 6)  # (W, B, outputs)
    ids = torch.tensor([0, 2, 1, 2])

    chosen = layout.select(outputs, ids)

    assert chosen.shape == (2, 4, 2)
    for b, task_id in enumerate(ids.tolist()):
        assert torch.equal(chosen[:, b], layout.select(outputs, task_id)[:, b])


@pytest.mark.parametrize(("num_tasks", "competing"), [(1, 2), (2, 4), (None, 6)])
def test_in_class_il_the_tasks_of_a_mixed_batch_compete_on_each_sample(
    num_tasks: int | None, competing: int
) -> None:
    layout = OutputLayout(Scenario.CLASS_IL, "per-task", num_tasks=3, outputs_per_task=2)
    outputs = torch.arange(4 * 6).view(4, 6)

    chosen = layout.select(outputs, torch.zeros(4, dtype=torch.long), num_tasks)

    assert torch.equal(chosen, outputs[:, :competing])


def test_selected_outputs_are_a_view_with_the_right_gradient() -> None:
    layout = OutputLayout(Scenario.TASK_IL, "per-task", num_tasks=3, outputs_per_task=2)
    outputs = torch.zeros(4, 6, requires_grad=True)

    layout.select(outputs, 1).sum().backward()

    assert outputs.grad is not None
    assert outputs.grad[0].tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("scenario", list(Scenario))
@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_net_with_other_outputs_than_the_layout_has_rows_is_told(
    scenario: Scenario, surplus: int
) -> None:
    """More outputs would compete, of which no label is ever right; fewer would be cut off."""
    layout = OutputLayout(scenario, scenario.heads[0], num_tasks=3, outputs_per_task=2)
    n = layout.num_outputs

    with pytest.raises(PluginError) as caught:
        layout.select(torch.zeros(4, n + surplus), None)

    assert str(caught.value) == (
        f"the main net gave outputs of shape (4, {n + surplus}); expected {n} for each sample, one "
        "for each row of the output layer: a net makes layout.num_outputs of them"
    )
