"""A recorder on the CPU, which does with PyTorch's operations what a CUDA graph does on a GPU.

It keeps every operation of a step with the tensors, numbers and generators that it was called with,
and plays it by calling all of them again, the results going to where they first went. So what it
plays is right only where a graph would be: a number that Python has computed stays as it was, and
memory that was replaced is no longer seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from clbench.graphs import Step
from clbench.protocols import Observation


class Tape:
    """A `clbench.graphs.Recorder`.

    Attributes:
        taken: Steps that were taken one operation at a time.
        played: Steps that were played back.
        recordings: Steps that were recorded.
    """

    def __init__(self) -> None:
        self.taken = self.played = self.recordings = 0

    def take(self, step: Step) -> Observation:
        """Take a step."""
        self.taken += 1
        return step()

    def record(self, step: Step) -> tuple[Observation, Callable[[], None]]:
        """Record a step; as with a graph, what it did while it was recorded has not happened."""
        self.recordings += 1
        operations = _Operations()
        with operations:
            seen = step()
        operations.undo()

        def play() -> None:
            self.played += 1
            operations.play()

        return seen, play


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self._before: dict[int, tuple[Tensor, Tensor]] = {}  # storage -> all of it, and as it was

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in self._before:
                whole = torch.empty(0, dtype=torch.uint8).set_(storage)
                self._before[storage.data_ptr()] = whole, whole.clone()
        outputs = func(*args, **kwargs)
        places = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
        own = {tensor.untyped_storage().data_ptr() for tensor in tensors}
        fresh = [place for place in places if place.untyped_storage().data_ptr() not in own]
        for place in fresh:  # made by the step: there is nothing to undo
            self._before[place.untyped_storage().data_ptr()] = place, place
        self._calls.append((func, args, kwargs, fresh))
        return outputs

    def undo(self) -> None:
        """Put back what was in memory."""
        for whole, before in self._before.values():
            if whole is not before:
                whole.copy_(before)

    def play(self) -> None:
        """Do it all again."""
        with torch.no_grad():
            for func, args, kwargs, places in self._calls:
                outputs = func(*args, **kwargs)
                if places:
                    found = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor)]
                    if len(found) != len(places):
                        raise AssertionError(f"{func} returns views and fresh tensors")
                    for place, one in zip(places, found, strict=True):
                        place.copy_(one)
