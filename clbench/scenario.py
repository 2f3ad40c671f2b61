"""What a learner is told about tasks, and which outputs belong to which task.

The scenarios are those of van de Ven, Tuytelaars & Tolias 2022 (Nature Machine Intelligence 4):
task-incremental, domain-incremental and class-incremental learning, and the task-free stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

from clbench.errors import PluginError

if TYPE_CHECKING:
    from torch import Tensor

Heads = Literal["per-task", "shared"]


class Scenario(str, Enum):
    """How much a learner is told about the task at hand."""

    TASK_IL = "task-il"
    DOMAIN_IL = "domain-il"
    CLASS_IL = "class-il"
    TASK_FREE = "task-free"

    @property
    def gives_task_id_at_train(self) -> bool:
        """Whether training batches carry the id of their task (and boundaries are announced)."""
        return self is not Scenario.TASK_FREE

    @property
    def gives_task_id_at_test(self) -> bool:
        """Whether queries at test time carry the id of their task."""
        return self is Scenario.TASK_IL

    @property
    def heads(self) -> tuple[Heads, ...]:
        """The head layouts that make sense, the default one first."""
        if self is Scenario.TASK_IL:
            return ("per-task", "shared")
        return ("per-task",) if self is Scenario.CLASS_IL else ("shared",)


ALL_SCENARIOS = frozenset(Scenario)
WITH_BOUNDARIES = frozenset(Scenario) - {Scenario.TASK_FREE}


@dataclass(frozen=True, slots=True)
class OutputLayout:
    """Which rows of the output layer serve which task.

    Attributes:
        scenario: Decides which rows compete.
        heads: ``per-task``: a block of rows for each task; ``shared``: one block for all.
        num_tasks: How many tasks, K.
        outputs_per_task: Rows of one block.
        extra_outputs: Rows behind those of the tasks, which never compete (the latent variables
            of a net that is an encoder too).
    """

    scenario: Scenario
    heads: Heads
    num_tasks: int
    outputs_per_task: int
    extra_outputs: int = 0

    @property
    def num_task_outputs(self) -> int:
        """Rows that serve tasks."""
        return self.outputs_per_task * (self.num_tasks if self.heads == "per-task" else 1)

    @property
    def num_outputs(self) -> int:
        """Rows of the output layer."""
        return self.num_task_outputs + self.extra_outputs

    def own_rows(self, task_id: int) -> slice:
        """The rows that were added for task `task_id`; those of all where heads are shared."""
        if self.heads == "shared":
            return slice(0, self.num_task_outputs)
        n = self.outputs_per_task
        return slice(task_id * n, (task_id + 1) * n)

    def rows(self, task_id: int | None) -> slice:
        """The rows that compete on a sample of task `task_id` (None: the id is withheld).

        task-il: the task's own rows. class-il: the rows of all tasks up to `task_id`, all tasks'
        rows where it is withheld. domain-il and task-free: all tasks' rows.
        """
        if task_id is None or self.heads == "shared":
            return slice(0, self.num_task_outputs)
        if self.scenario is Scenario.CLASS_IL:
            return slice(0, self.own_rows(task_id).stop)
        return self.own_rows(task_id)

    def select(
        self, outputs: Tensor, task_id: int | Tensor | None, num_tasks: int | None = None
    ) -> Tensor:
        """The competing outputs of each sample.

        Args:
            outputs: Shape ``(..., B, num_outputs)``.
            task_id: One id for all samples, ids of shape ``(B,)`` in a mixed batch (of replicas in
                lockstep, ``(R, B)``), or None.
            num_tasks: Of how many tasks a mixed batch is, the first ones; in class-il their
                outputs compete on each of its samples. None: of all.

        Returns:
            Shape ``(..., B, n)``, a view where one id serves all samples.

        Raises:
            PluginError: The net gave another number of outputs than the layout has rows.
        """
        if outputs.shape[-1] != self.num_outputs:
            raise PluginError(
                f"the main net gave outputs of shape {tuple(outputs.shape)}; expected "
                f"{self.num_outputs} for each sample, one for each row of the output layer: "
                "a net makes layout.num_outputs of them"
            )
        if task_id is None or isinstance(task_id, int):
            rows = self.rows(task_id)
            if rows == slice(0, self.num_outputs):
                return outputs
            return outputs[..., rows]
        if self.scenario is Scenario.CLASS_IL:
            return outputs[..., self.rows(None if num_tasks is None else num_tasks - 1)]
        outputs = outputs[..., : self.num_task_outputs]
        if self.heads == "shared":
            return outputs
        lead, n = outputs.shape[:-1], self.outputs_per_task
        blocks = outputs.reshape(*lead, self.num_tasks, n)  # (..., B, K, n)
        has_time = len(lead) > task_id.dim()
        ids = task_id.unsqueeze(-2) if has_time else task_id
        index = ids[..., None, None].expand(*lead, 1, n)
        chosen: Tensor = blocks.gather(-2, index).squeeze(-2)
        return chosen
