"""Training steps on a GPU, recorded once per task and played back.

See `clbench.protocols.RunsAsGraph`. The first steps of a task are taken one operation at a time, so
that everything that is made at the first use exists: buffers of the optimiser, workspaces of the
libraries. Then a step is recorded on a copy of its batch, and from then on a step copies its batch
to that place and starts the recording. A recording holds for one form of batches; a batch of
another form, such as a longer sequence, takes its step as the first ones do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from clbench.protocols import Batch, LockstepLearner, Observation, RunsAsGraph
from clbench.replicas import Program, inherited

FIRST_STEPS = 3
"""Steps of a task before one is recorded."""

Step = Callable[[], Observation]


def obstacle(*parts: Any) -> str | None:
    """What keeps the steps of learners, nets or regularizers from being recorded; None: nothing."""
    for part in parts:
        name = type(part).__name__
        if not isinstance(part, RunsAsGraph):
            return f"{name}, which does not say that its steps are alike"
        found = inherited(type(part), "graph_obstacle") or part.graph_obstacle()
        if found is not None:
            return f"{found} of {name}"
    return None


class Recorder(Protocol):
    """Records operations on a device."""

    def take(self, step: Step) -> Observation:
        """Take a step one operation at a time, as the recorded ones are ordered after it."""

    def record(self, step: Step) -> tuple[Observation, Callable[[], None]]:
        """Record a step.

        Returns:
            Where the step puts what it observes, and what takes the step.
        """


class CudaRecorder:
    """Records CUDA graphs, on a stream of its own.

    Args:
        device: A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)

    def take(self, step: Step) -> Observation:
        """On the stream that recordings are made on: libraries have workspaces for each."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            seen = step()
        current.wait_stream(self._stream)
        return seen

    def record(self, step: Step) -> tuple[Observation, Callable[[], None]]:
        """Nothing is computed yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            seen = step()
        return seen, graph.replay


@dataclass(frozen=True, slots=True)
class Recording:
    """A step as it was recorded.

    Attributes:
        batch: Where it looks for its batch.
        seen: Where it puts what it observes.
        play: Takes the step.
    """

    batch: Batch
    seen: Observation
    play: Callable[[], None]


def recorder_on(device: torch.device) -> Recorder | None:
    """What records on a device; None: nothing can, and little would be gained."""
    return CudaRecorder(device) if device.type == "cuda" else None


class AlikeSteps:
    """The training steps of one learner on one task, recorded where that is possible.

    Args:
        learner: What takes the steps: a learner, or those of several seeds put together.
        find: Gives what records on a device; None: `recorder_on`.
    """

    def __init__(
        self, learner: Any, find: Callable[[torch.device], Recorder | None] | None = None
    ) -> None:
        self._learner = learner
        self._find = find or recorder_on
        self._recorder: Recorder | None = None
        self._taken = 0
        self._recording: Recording | None = None

    def observe(self, batch: Batch) -> Observation:
        """One training step."""
        if self._taken == 0:
            self._recorder = self._find(batch.inputs.device)
            if self._recorder is not None and obstacle(self._learner) is not None:
                self._recorder = None
        self._taken += 1
        if self._recorder is None:
            return self._learner.observe(batch)  # type: ignore[no-any-return]
        recorder, recording = self._recorder, self._recording
        if recording is None and self._taken > FIRST_STEPS:
            recording = self._recording = self._record(recorder, batch)
        if recording is None or _form(batch) != _form(recording.batch):
            return recorder.take(lambda: self._learner.observe(batch))
        for place, tensor in zip(_tensors(recording.batch), _tensors(batch), strict=True):
            place.copy_(tensor)
        recording.play()
        # the next step overwrites what was seen: losses are added up, outputs read before it
        return Observation(recording.seen.loss.clone(), recording.seen.outputs)

    def _record(self, recorder: Recorder, batch: Batch) -> Recording | None:
        own = _copied(batch)
        try:
            return Recording(own, *recorder.record(lambda: self._learner.observe(own)))
        except RuntimeError as error:  # nothing has been computed
            name = type(self._learner).__name__
            warnings.warn(f"steps of {name} are not recorded: {error}", stacklevel=2)
            self._recorder = None
            return None


def alike(program: LockstepLearner) -> LockstepLearner:
    """A program of several seeds with its steps recorded where that is possible."""
    if not isinstance(program, Program):
        return program
    return replace(program, steps=AlikeSteps(program.learner))


def _tensors(batch: Batch) -> list[Tensor]:
    values = (getattr(batch, field.name) for field in fields(batch))
    return [value for value in values if isinstance(value, Tensor)]


def _form(batch: Batch) -> list[Any]:
    """What of a batch is in a recording: all but the numbers in its tensors."""
    values = (getattr(batch, field.name) for field in fields(batch))
    return [(v.shape, v.dtype) if isinstance(v, Tensor) else v for v in values]


def _copied(batch: Batch) -> Batch:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    changes: dict[str, Any] = {n: v.clone() for n, v in values.items() if isinstance(v, Tensor)}
    return replace(batch, **changes)
