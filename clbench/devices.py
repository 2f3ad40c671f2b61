"""Where cells compute: on a core of the processor, or on a GPU.

Results on a GPU are those of the CPU but for rounding, as every number is drawn on the CPU
(`clbench.randomness`). So a device is no part of a cell's identity, and nothing computes on a GPU
unless it is asked for.
"""

from __future__ import annotations

import os
from typing import Literal, TypeAlias, get_args

from clbench.errors import ClbenchError, UnknownNameError

Device: TypeAlias = Literal["auto", "cpu", "cuda"]
"""``auto``: a GPU where there is one, else the CPU."""

DEVICES: tuple[str, ...] = get_args(Device)


def check(name: str) -> None:
    """Whether there is a device of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in DEVICES:
        raise UnknownNameError("device", name, DEVICES)


def gpus(device: Device) -> int:
    """How many GPUs this process may compute on; 0: it computes on the CPU.

    Raises:
        ClbenchError: It is to compute on a GPU, and there is none.
    """
    if device == "cpu":
        return 0
    import torch  # here, not at the top: most runs ask for no GPU

    count = torch.cuda.device_count()
    if device == "cuda" and not count:
        raise ClbenchError(f"device 'cuda': PyTorch {torch.__version__} finds no GPU here")
    return count


def see_one_gpu(worker: int, count: int) -> None:
    """Let this process see one of `count` GPUs only, from before it first computes on one.

    Args:
        worker: Its number; workers take the GPUs in turn.
        count: GPUs that the parent sees.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = named.split(",") if named else [str(i) for i in range(count)]
    os.environ["CUDA_VISIBLE_DEVICES"] = visible[worker % count].strip()
