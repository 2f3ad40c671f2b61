"""Endless shuffled sweeps over samples in memory: the order in which tasks give training data."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.protocols import CPU, Batch, State


class Sweep:
    """Indices of samples without end, each once per sweep, in a fresh random order every sweep.

    Nothing is dropped: a request that a sweep cannot fill is filled up from the next ones.

    Args:
        size: Number of samples.
        generator: Draws the orders. It belongs to the sweep from now on: `state` and `restore`
            rely on nobody else drawing from it.
        device: Where the indices are; an order is drawn on the CPU and moved whole.

    Raises:
        ClbenchError: There are no samples.
    """

    def __init__(self, size: int, generator: torch.Generator, device: torch.device = CPU) -> None:
        if size < 1:
            raise ClbenchError(f"a sweep needs at least 1 sample, found {size}")
        self._size = size
        self._generator, self._device = generator, device
        self._begin_sweep()

    def _begin_sweep(self) -> None:
        self._before = self._generator.get_state()
        order = torch.randperm(self._size, generator=self._generator)
        self._order = order.to(self._device, non_blocking=True)
        self._position = 0

    def next(self, count: int) -> Tensor:
        """The next `count` indices, int64, shape ``(count,)``; valid to read, not to change."""
        parts = [self._take(count)]
        missing = count - len(parts[0])
        while missing:
            self._begin_sweep()
            parts.append(self._take(missing))
            missing -= len(parts[-1])
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _take(self, count: int) -> Tensor:
        """Up to `count` indices, from what is left of the sweep."""
        taken = self._order[self._position : self._position + count]
        self._position += len(taken)
        return taken

    def state(self) -> State:
        """The generator as it was before the sweep (uint8 tensor), and the position in it (int)."""
        return {"generator": self._before.clone(), "position": self._position}

    def restore(self, state: State) -> None:
        """Take back what `state` returned, in a sweep over equally many samples."""
        self._generator.set_state(state["generator"])
        self._begin_sweep()
        self._position = state["position"]


class SweptStream:
    """A `clbench.protocols.BatchStream` over samples in memory.

    Args:
        size: Number of samples.
        gather: The batch of the samples with the given indices, ``(B,)``, with task id None.
        generator: Draws the orders (see `Sweep`).
        device: Where the samples are.

    Raises:
        ClbenchError: There are no samples.
    """

    def __init__(
        self,
        size: int,
        gather: Callable[[Tensor], Batch],
        generator: torch.Generator,
        device: torch.device = CPU,
    ) -> None:
        self._sweep = Sweep(size, generator, device)
        self._gather = gather

    def next(self, size: int) -> Batch:
        """The next `size` samples."""
        return self._gather(self._sweep.next(size))

    def state(self) -> State:
        """The position in the sweep."""
        return self._sweep.state()

    def restore(self, state: State) -> None:
        """Take back what `state` returned."""
        self._sweep.restore(state)
