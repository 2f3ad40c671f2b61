"""The guard is guarded: `suites/guard.yaml` passes, and each damaged method turns it red.

Every case trains for real, breaks one method in the one place that makes it work, and asks
`clbench check` for its exit code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from clbench.cli import app
from clbench.matrix import expand
from clbench.mixing import MixedStream
from clbench.optimisation import Optimiser
from clbench.registry import Registry
from clbench.runner import run_cell
from clbench.sample_gradients import WeightConsolidation
from clbench.store import Store
from clbench.suite import Suite, load
from clbench_hypernet.learner import ChunkedHypernetwork
from clbench_masking import random_masks
from clbench_regularization.online_ewc import OnlineEwc
from clbench_regularization.si import SynapticIntelligence
from clbench_replay import coresets, generative

GUARD = Path(__file__).parent.parent / "suites" / "guard.yaml"

Damage = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.discover()


@pytest.fixture(scope="module")
def suite(registry: Registry) -> Suite:
    return load(GUARD, registry)


def _exit_code(method: str, suite: Suite, registry: Registry, results: Path) -> int:
    """Of `clbench check` on fresh records of a method."""
    row = f"permuted/{method}"
    for cell in expand(suite, [row], None, 1.0):
        record = run_cell(cell, registry, lambda progress: None)
        assert record.status == "ok", record.failure
        Store(results).put(record)
    arguments = ["check", str(GUARD), "--only", row, "--results", str(results)]
    return CliRunner().invoke(app, arguments).exit_code


@pytest.mark.parametrize(
    "method",
    ["multitask", "fine-tuning", "online-ewc", "si", "masking", "masking-si", "hnet", "coresets", "replay"],
)  # fmt: skip
def test_a_working_method_passes(
    method: str, suite: Suite, registry: Registry, tmp_path: Path
) -> None:
    assert _exit_code(method, suite, registry, tmp_path) == 0


def test_every_row_of_the_guard_has_a_damage(suite: Suite) -> None:
    assert {row.method for row in suite.rows} == {method for method, _ in DAMAGES}


def _joint_training_on_one_task(patch: pytest.MonkeyPatch) -> None:
    whole = MixedStream.__init__

    def only_the_first(self: Any, streams: Any, generator: Any, gives_task_id: bool) -> None:
        whole(self, streams[:1], generator, gives_task_id)

    patch.setattr(MixedStream, "__init__", only_the_first)


def _no_steps(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Optimiser, "step", lambda self: None)


def _ewc_of_strength_zero(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(OnlineEwc, "penalty", lambda self, params: None)


def _fisher_of_zeros(patch: pytest.MonkeyPatch) -> None:
    def zeros(self: WeightConsolidation, batch: Any) -> dict[str, torch.Tensor]:
        return {name: torch.zeros_like(tensor) for name, tensor in self.params.items()}

    patch.setattr(WeightConsolidation, "squared_gradients", zeros)


def _fisher_of_a_mean_loss(patch: pytest.MonkeyPatch) -> None:
    """As if the loss were averaged over the 21 scored bits, not summed."""
    right = WeightConsolidation.squared_gradients

    def averaged(self: WeightConsolidation, batch: Any) -> dict[str, torch.Tensor]:
        return {name: square / 21**2 for name, square in right(self, batch).items()}

    patch.setattr(WeightConsolidation, "squared_gradients", averaged)


def _si_of_strength_zero(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SynapticIntelligence, "penalty", lambda self, params: None)


def _no_path_integral(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SynapticIntelligence, "_go_on", lambda self, gradients, steps: None)


def _masks_of_ones(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        random_masks, "draw_masks", lambda size, fraction, K, drawing: torch.ones(K, size)
    )


def _no_output_penalty(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChunkedHypernetwork, "_subset", lambda self: torch.arange(0))


def _targets_that_follow(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        ChunkedHypernetwork, "_penalty_gradient", lambda self, chunks, subset, out: out.zero_()
    )


def _old_embeddings_forgotten(patch: pytest.MonkeyPatch) -> None:
    right = ChunkedHypernetwork.begin_task

    def forgetful(self: Any, task_id: int) -> None:
        self._parameters.detached["tasks"][:task_id] = 0.0
        right(self, task_id)

    patch.setattr(ChunkedHypernetwork, "begin_task", forgetful)


def _coresets_taught_by_the_current_net(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(coresets, "copied", dict)


def _coresets_of_the_current_task(patch: pytest.MonkeyPatch) -> None:
    """Nothing is stored, so nothing is rehearsed."""
    patch.setattr(
        coresets.Coresets, "_distillation", lambda self, weights: weights["b_out"].sum() * 0
    )


def _replay_taught_by_the_current_net(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(generative, "copied", dict)


def _replay_without_distillation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        generative, "distillation", lambda outputs, lesson, objective, T: outputs.sum() * 0
    )


DAMAGES: list[tuple[str, Damage]] = [
    ("multitask", _joint_training_on_one_task),
    ("fine-tuning", _no_steps),
    ("online-ewc", _ewc_of_strength_zero),
    ("online-ewc", _fisher_of_zeros),
    ("online-ewc", _fisher_of_a_mean_loss),
    ("si", _si_of_strength_zero),
    ("si", _no_path_integral),
    ("masking", _masks_of_ones),
    ("masking-si", _si_of_strength_zero),
    ("hnet", _no_output_penalty),
    ("hnet", _targets_that_follow),
    ("hnet", _old_embeddings_forgotten),
    ("coresets", _coresets_taught_by_the_current_net),
    ("coresets", _coresets_of_the_current_task),
    ("replay", _replay_taught_by_the_current_net),
    ("replay", _replay_without_distillation),
]


@pytest.mark.parametrize(
    ("method", "damage"), DAMAGES, ids=[f"{m}{d.__name__}" for m, d in DAMAGES]
)
def test_a_damaged_method_fails(
    method: str,
    damage: Damage,
    suite: Suite,
    registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    damage(monkeypatch)

    assert _exit_code(method, suite, registry, tmp_path) == 1
