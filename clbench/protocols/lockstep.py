"""Lockstep: cells that are equal but for their seeds train as one program.

Each of the R cells, called replicas, has a net and a learner of its own, built and drawn as if it
were alone. For the training steps of a task they are put together; before and after it each is
used alone: begun, tested, consolidated, saved and restored. So a replica ends where it would end
alone, to rounding, and its states are those of a learner alone.

In lockstep tensors have a leading replica axis: parameters ``(R, ...)``, inputs ``(R, B, ...)``,
gains ``(R, 1, H)`` or ``(R, B, H)``, outputs ``(R, W, B, n)`` or ``(R, B, n)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from clbench.protocols.learners import Observation
from clbench.protocols.nets import Context, NamedTensors
from clbench.protocols.regularizers import Watch
from clbench.protocols.tasks import Batch, Query


@runtime_checkable
class RunsInLockstep(Protocol):
    """A class, of main nets, learners or regularizers, whose instances can run in lockstep.

    Cells run in lockstep where the classes of all their parts have these two class methods, and
    no part has an obstacle. To inherit them from a class that computes something else is one
    (`clbench.replicas.inherited`).
    """

    @classmethod
    def lockstep_obstacle(cls, params: Any) -> str | None:
        """What keeps instances of these parameters from it, such as ``winners``; None: nothing."""

    @classmethod
    def in_lockstep(cls, replicas: Sequence[Any]) -> Any:
        """Instances of one class and equal parameters, put together.

        Of main nets it returns a `LockstepNet`, of learners a `LockstepLearner`, of regularizers a
        `LockstepRegularizer`. Asked anew before each task, and whenever a replica has left. The
        instances stay usable by themselves and see what the program does: their parameters may
        become views of a common buffer.

        Args:
            replicas: R of them, two or more.
        """


class LockstepNet(Protocol):
    """R main nets together."""

    def __call__(self, params: NamedTensors, query: Query, context: Context) -> Tensor:
        """All outputs, ``(R, W, B, num_outputs)`` or ``(R, B, num_outputs)``."""

    def with_activity(
        self, params: NamedTensors, query: Query, context: Context
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The outputs, and by layer the activity ``(R, B, H)`` or ``(R, B, C, H, W)``.

        Only where the nets show it alone too (`clbench.protocols.HasActivity`).
        """


@runtime_checkable
class HasLockstepGradients(Protocol):
    """Main nets in lockstep with a faster way to their gradients than PyTorch's."""

    def backpropagate(
        self,
        params: NamedTensors,
        query: Query,
        context: Context,
        loss_gradient: Callable[[Tensor], Tensor],
        gradients: NamedTensors,
    ) -> Tensor:
        """All outputs; on the way the gradient of each parameter replaces what is in `gradients`.

        Args:
            params: The parameters, ``(R, ...)`` each.
            query: Inputs ``(R, B, ...)``.
            context: Of the forward pass.
            loss_gradient: Outputs -> gradient of the sum of all replicas' losses with respect to
                them; called once.
            gradients: By name, ``(R, ...)`` each.
        """


class LockstepRegularizer(Protocol):
    """R regularizers together; what they watch they are shown as one is alone, for all replicas."""

    watches: frozenset[Watch]

    def penalty(self, params: NamedTensors) -> Tensor | None:
        """The sum of the replicas' penalties, ``()``; None: nothing to add now.

        Args:
            params: ``(R, ...)`` each.
        """


class LockstepLearner(Protocol):
    """R learners together, for the training steps of one task."""

    def observe(self, batches: Sequence[Batch]) -> Sequence[Observation]:
        """One step of each replica on a batch of its own; what each would report alone."""


@runtime_checkable
class HasLockstepWeights(Protocol):
    """Learners in lockstep that show the weights of their main nets."""

    def weights(self, task_id: int | None) -> NamedTensors:
        """Of all replicas, ``(R, ...)`` each, detached; see `clbench.protocols.HasWeights`."""
