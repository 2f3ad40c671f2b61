"""What a learner predicts on a test batch, and whether a score can be what it is said to be."""

from __future__ import annotations

from torch import Tensor

from clbench.errors import PluginError
from clbench.metrics import ACCURACY, Metric
from clbench.protocols import Batch, Learner, Query

_ROUNDING = 1e-3  # of an accuracy in percent, summed in float32
"""By how much a mean of right answers may miss 100 %."""


def predicted(learner: Learner, batch: Batch, told: int | None, num_outputs: int) -> Tensor:
    """The outputs of a learner on test samples.

    Args:
        learner: Predicts.
        batch: Of a test set; it is used again after later tasks.
        told: The id of the task, None where it is withheld.
        num_outputs: Outputs that compete.

    Raises:
        PluginError: They are no outputs of these samples, or the samples were changed.
    """
    query = Query(inputs=batch.inputs, task_id=told, window=batch.window)
    before = _changes(batch.inputs)
    outputs: object = learner.predict(query)
    who = type(learner).__name__
    if _changes(batch.inputs) != before:
        raise PluginError(
            f"{who}, or its main net, changed the inputs of a query in place, so that later "
            "predictions are of other inputs; write x = x - 1 in place of x -= 1 or x.sub_(1)"
        )
    if not isinstance(outputs, Tensor):
        raise PluginError(f"{who} predicted a value of type {type(outputs).__name__}, no tensor")
    lead = tuple(batch.targets.shape[: 1 if batch.window is None else 2])
    shape = tuple(outputs.shape)
    if len(shape) != len(lead) + 1 or shape[:-1] != lead or shape[-1] > num_outputs:
        raise PluginError(
            f"{who} predicted outputs of shape {shape}; expected {(*lead, num_outputs)}: those "
            "that compete for each sample, as layout.select(outputs, query.task_id) gives them"
        )
    return outputs


def check_range(metric: Metric, score: float, scored: int, task_id: int) -> None:
    """Whether a score is one that the metric can have.

    Raises:
        PluginError: It is an accuracy, and not between 0 and 100 %.
    """
    if metric == ACCURACY and not -_ROUNDING <= score <= 100 + _ROUNDING:
        raise PluginError(
            f"an accuracy of {score:g} % on the test set of task {task_id} ({scored} scored): its "
            "objective's tally counts something else than 100 for each sample that is right"
        )


def _changes(tensor: Tensor) -> int:
    """How often a tensor has been changed in place; those of inference mode cannot be."""
    return 0 if tensor.is_inference() else tensor._version
