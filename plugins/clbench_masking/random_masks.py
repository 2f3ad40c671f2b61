"""Context-dependent gating by fixed random masks (Masse, Grant & Freedman 2018).

For each task a random subset of ``int(mask_fraction * H)`` hidden units is switched off: with the
0/1 mask ``m_t`` of the task, every pre-activation a of a hidden layer becomes ``m_t * a``. A unit
that is switched off is 0 (``tanh(0) = 0``), and its weights get no gradient from the task. Layers
of one size share their mask: in the Elman net it acts twice per time step. Masks are not learnt;
all weights are trained, with whatever regularizers the suite names.

Masks come from ``numpy.random.RandomState(model seed)``: for each task the units are shuffled and
the first ones are switched off, as the code of Ehret et al. 2021 draws them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from clbench.errors import UnavailableError
from clbench.params import Params
from clbench.protocols import Context, LearnerContext
from clbench.replicas import joint_tensors
from clbench.scenario import Scenario
from clbench_regularization.fine_tuning import FineTuning, FineTuningParams


class RandomMasksParams(Params):
    """Parameters of the random masks."""

    mask_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Fraction of the hidden units that is switched off."""


class RandomMasks(FineTuning):
    """The plain learner with a mask per task; see the module's text."""

    Params: ClassVar[type[Params]] = RandomMasksParams
    version: ClassVar[int] = 1
    scenarios: ClassVar[frozenset[Scenario]] = frozenset({Scenario.TASK_IL})

    def __init__(self, params: RandomMasksParams, context: LearnerContext) -> None:
        super().__init__(FineTuningParams(), context)
        sizes = context.net.gain_sizes
        if not sizes:
            raise UnavailableError(f"{type(context.net).__name__} has no units that can be masked")
        drawing = np.random.RandomState(context.model_seed)
        by_size = {
            size: draw_masks(size, params.mask_fraction, context.layout.num_tasks, drawing).to(
                context.device
            )
            for size in dict.fromkeys(sizes.values())
        }
        self._masks = {layer: by_size[size] for layer, size in sizes.items()}

    def forward_context(self, task_id: int | Tensor | None, training: bool) -> Context:
        """The masks of the task, or of each sample's task."""
        assert task_id is not None  # the scenario gives it
        gains = {layer: _of_task(masks, task_id) for layer, masks in self._masks.items()}
        return Context(gains=gains, training=training)

    def join(self, replicas: Sequence[Any]) -> None:
        """Each replica has masks of its own."""
        super().join(replicas)
        self._masks = joint_tensors([replica._masks for replica in replicas])

    def graph_obstacle(self) -> str | None:
        """As of the plain learner: masks are fixed (`clbench.protocols.RunsAsGraph`)."""
        return super().graph_obstacle()


def _of_task(masks: Tensor, task_id: int | Tensor) -> Tensor:
    """Of ``(K, H)`` the mask of a task, ``(H,)``, or of each sample's task, ``(B, H)``.

    With a leading replica axis: of ``(R, K, H)`` those that are ``(R, 1, H)`` or ``(R, B, H)``.
    """
    if isinstance(task_id, Tensor):
        return masks.take_along_dim(task_id.unsqueeze(-1), -2)
    return masks[task_id] if masks.dim() == 2 else masks[:, task_id, None]


def draw_masks(
    num_units: int, fraction: float, num_tasks: int, drawing: np.random.RandomState
) -> Tensor:
    """One mask per task, ``(K, num_units)``, with ``int(fraction * num_units)`` zeros each."""
    masks = torch.ones(num_tasks, num_units)
    for mask in masks:
        units = np.arange(num_units)
        drawing.shuffle(units)
        mask[torch.from_numpy(units[: int(num_units * fraction)])] = 0.0
    return masks
