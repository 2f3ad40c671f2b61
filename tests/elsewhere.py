"""A device that is not the CPU, where there is no GPU: PyTorch's ``meta``.

Its tensors have a device, a shape and a type but no data. To read a number back raises, and so does
to copy a tensor to the CPU. What PyTorch lets pass there and not on a GPU, `OneDevice` refuses.
(PyTorch's fake tensors on "cuda" would do the same and more, but builds for CPUs end the process
where one of them needs a gradient.)
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ELSEWHERE = torch.device("meta")


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices, and draws of a generator elsewhere.

    As on a GPU, single numbers may come from the CPU, and copies go from one device to another.
    Indices on the CPU would do on a GPU too, but it would be waited for.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        leaves = tree_leaves((args, kwargs or {}))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        devices = {one.device.type for one in tensors if one.dim() or one.device.type != "cpu"}
        devices |= {leaf.device.type for leaf in leaves if isinstance(leaf, torch.Generator)}
        if len(devices) > 1 and func is not torch.ops.aten.copy_.default:
            raise AssertionError(f"{func} on {' and '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


class NothingMoves(TorchDispatchMode):
    """Refuses copies of tensors, and of single numbers, from one device to another."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default):
            source = args[1] if func is torch.ops.aten.copy_.default else args[0]
            if source.device != outputs.device:
                raise AssertionError(f"{func} from {source.device} to {outputs.device}")
        return outputs
