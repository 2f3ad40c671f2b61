"""CUDA graphs: a training step that is recorded once per task and played back.

On a GPU a step of a small net is hundreds of operations of a few microseconds, and most of the time
goes into starting them one by one. Where all steps of a task are alike, their operations are
recorded (`torch.cuda.CUDAGraph`) and started at once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class RunsAsGraph(Protocol):
    """A main net, learner or regularizer that can say that its training steps are alike.

    They are where every step of a task is the same operations on the same memory, whatever the
    numbers in it: what changes from step to step is in tensors that live on and are changed in
    place, or comes with the batch. A draw from a generator of the CPU, a counter in Python, a
    branch on what was computed, a tensor moved from the CPU or a number read back each make steps
    unlike: the recording knows them only as they were when it was made.

    Steps are recorded where the learner, its net and all of its regularizers have this method and
    no obstacle. To inherit it from a class that computes something else is one
    (`clbench.replicas.inherited`).
    """

    def graph_obstacle(self) -> str | None:
        """What makes steps unlike, as they would be now, such as ``dropout``; None: nothing."""
