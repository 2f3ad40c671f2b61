"""Memories of training samples, with their targets and the ids of their tasks.

A ring keeps the newest samples of each task, equally many of every task. A reservoir keeps a
uniform sample of everything it was shown (Vitter 1985): sample number n, from 1, is kept with the
probability ``size / n``, in the place of a random one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from clbench.moving import batch_on
from clbench.protocols import CPU, Batch, State
from torch import Tensor


class Memory(ABC):
    """Stored samples, each a batch of one.

    Args:
        generator: Draws what is kept and what is rehearsed; it belongs to the memory from now on.
        device: Where samples come from, and are kept.
    """

    def __init__(self, generator: torch.Generator, device: torch.device = CPU) -> None:
        self._generator, self._device = generator, device

    @property
    @abstractmethod
    def samples(self) -> Sequence[Batch]:
        """Everything that is stored."""

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Show the memory B samples, of which it may keep some."""

    def draw(self, count: int) -> list[Batch]:
        """Up to `count` samples without replacement, as batches of equal task and shape."""
        samples = self.samples
        order = torch.randperm(len(samples), generator=self._generator)
        return together(samples[i] for i in order[:count].tolist())

    @abstractmethod
    def state(self) -> State:
        """Samples and generator."""

    @abstractmethod
    def restore(self, state: State) -> None:
        """Take back what `state` returned."""


class Ring(Memory):
    """The newest samples of each task.

    Args:
        size: Samples of one task.
        generator: See `Memory`.
        device: See `Memory`.
    """

    def __init__(self, size: int, generator: torch.Generator, device: torch.device = CPU) -> None:
        super().__init__(generator, device)
        self._size = size
        self._rings: dict[int, list[Batch]] = {}

    @property
    def samples(self) -> Sequence[Batch]:
        """Task by task, the oldest first."""
        return [sample for ring in self._rings.values() for sample in ring]

    def add(self, batch: Batch) -> None:
        """Keep the last samples of the batch in place of the oldest."""
        for sample in (one(batch, i) for i in range(num_samples(batch))[-self._size :]):
            assert isinstance(sample.task_id, int)  # learners refuse streams without ids
            ring = self._rings.setdefault(sample.task_id, [])
            ring.append(sample)
            del ring[: -self._size]

    def state(self) -> State:
        """Samples and generator."""
        return {
            "samples": [to_state(sample) for sample in self.samples],
            "generator": self._generator.get_state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._rings = {}
        for sample in (from_state(one, self._device) for one in state["samples"]):
            assert isinstance(sample.task_id, int)
            self._rings.setdefault(sample.task_id, []).append(sample)
        self._generator.set_state(state["generator"])


class Reservoir(Memory):
    """A uniform sample of all samples so far.

    Args:
        size: Samples in all.
        generator: See `Memory`.
        device: See `Memory`.
    """

    def __init__(self, size: int, generator: torch.Generator, device: torch.device = CPU) -> None:
        super().__init__(generator, device)
        self._size = size
        self._kept: list[Batch] = []
        self._seen = 0

    @property
    def samples(self) -> Sequence[Batch]:
        """In the order of their places."""
        return self._kept

    def add(self, batch: Batch) -> None:
        """Keep each sample with the probability that makes all so far equally likely."""
        count = num_samples(batch)
        numbers = torch.arange(self._seen + 1, self._seen + count + 1)
        draws = torch.rand(count, generator=self._generator, dtype=torch.float64)
        for i, place in enumerate((draws * numbers).long().tolist()):  # uniform in [0, number)
            if len(self._kept) < self._size:
                self._kept.append(one(batch, i))
            elif place < self._size:
                self._kept[place] = one(batch, i)
        self._seen += count

    def state(self) -> State:
        """Samples, how many were seen, and generator."""
        return {
            "samples": [to_state(sample) for sample in self._kept],
            "seen": self._seen,
            "generator": self._generator.get_state(),
        }

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._kept = [from_state(sample, self._device) for sample in state["samples"]]
        self._seen = state["seen"]
        self._generator.set_state(state["generator"])


def num_samples(batch: Batch) -> int:
    """B."""
    return batch.inputs.shape[_axis(batch)]


def _axis(batch: Batch) -> int:
    """Where the samples lie: sequences ``(S, B, F)`` have a window, nothing else has."""
    return 0 if batch.window is None else 1


def one(batch: Batch, i: int) -> Batch:
    """Sample i of a batch, as a batch of one that shares no memory with it."""
    axis, ids = _axis(batch), batch.task_id

    def pick(tensor: Tensor) -> Tensor:
        return tensor.narrow(axis, i, 1).clone()

    return replace(
        batch,
        inputs=pick(batch.inputs),
        targets=pick(batch.targets),
        mask=None if batch.mask is None else pick(batch.mask),
        task_id=int(ids[i]) if isinstance(ids, Tensor) else ids,
    )


def together(samples: Iterable[Batch]) -> list[Batch]:
    """Samples as batches, one for each task, window and shape, in the order of their first."""
    groups: dict[object, list[Batch]] = {}
    for sample in samples:
        window = None if sample.window is None else (sample.window.start, sample.window.stop)
        key = (sample.task_id, window, sample.inputs.shape, sample.mask is None)
        groups.setdefault(key, []).append(sample)
    return [_joined(group) for group in groups.values()]


def _joined(group: list[Batch]) -> Batch:
    axis, masks = _axis(group[0]), [sample.mask for sample in group if sample.mask is not None]
    return replace(
        group[0],
        inputs=torch.cat([sample.inputs for sample in group], axis),
        targets=torch.cat([sample.targets for sample in group], axis),
        mask=torch.cat(masks, axis) if masks else None,
    )


def to_state(sample: Batch) -> State:
    """A sample as tensors, numbers and lists."""
    window = sample.window
    return {
        "inputs": sample.inputs,
        "targets": sample.targets,
        "mask": sample.mask,
        "task_id": sample.task_id,
        "window": None if window is None else [window.start, window.stop],
    }


def from_state(state: State, device: torch.device) -> Batch:
    """The sample of which `to_state` made `state`, on a device."""
    window = None if state["window"] is None else slice(*state["window"])
    return batch_on(device, Batch(**{**state, "window": window}))
