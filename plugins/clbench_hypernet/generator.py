"""The chunked hypernetwork as a function: task embeddings -> flat weights of a main net.

The N weights are cut into ``ceil(N / chunk_size)`` chunks. Each chunk i has a learnt embedding
``c_i``, each task t a learnt embedding ``e_t``; one small MLP maps both to the chunk's weights::

    h(e_t) = [ MLP(c_1, e_t), ..., MLP(c_n, e_t) ]      cut to the first N

(von Oswald et al. 2020, Sec. 2.3). All chunks of all asked tasks go through the MLP as one batch.
The first layer is linear in both embeddings, so it is applied to each of them once.

With one chunk and no chunk embedding it is a full hypernetwork: one MLP from the task embedding to
all weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor

from clbench.errors import ClbenchError
from clbench.params import Params
from clbench.protocols import NamedTensors
from clbench.replicas import add_product

_ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "elu": torch.nn.functional.elu}


class Architecture(Params):
    """Sizes and initialisation of a chunked hypernetwork."""

    chunk_size: PositiveInt
    """Weights generated at once; the outputs of the MLP."""
    hidden_sizes: tuple[PositiveInt, ...]
    """Units of the hidden layers; empty: a linear hypernetwork."""
    task_embedding_size: PositiveInt
    """Numbers in the embedding of a task."""
    chunk_embedding_size: NonNegativeInt
    """Numbers in the embedding of a chunk; 0 where there is a single chunk: a full hypernetwork."""
    activation: Literal["relu", "sigmoid", "elu"] = "relu"
    """Of the hidden layers."""
    task_embedding_std: NonNegativeFloat = 1.0
    """Standard deviation of the initial task embeddings."""
    chunk_embedding_std: NonNegativeFloat = 1.0
    """Standard deviation of the initial chunk embeddings."""
    input_order: Literal["chunk-task", "task-chunk"] = "chunk-task"
    """Which embedding comes first in the input of the MLP (older code: the task's)."""
    init: Literal["fan-in", "xavier", "xavier-heads"] = "fan-in"
    """Weights and biases uniform in ±1/sqrt(fan-in), or Xavier-uniform weights and zero biases;
    ``xavier-heads``: the output layer counts as one layer for each tensor that it generates, which
    takes a single chunk."""


class Hypernetwork:
    """A function of its parameters, which the caller holds.

    Args:
        architecture: Sizes and initialisation.
        sizes: Numbers in each tensor that is to be generated, N in all.
        num_tasks: K.

    Raises:
        ClbenchError: The architecture needs a single chunk, and there are several.

    Attributes:
        shapes: Name -> shape of every parameter: ``tasks`` (K, embedding), ``chunks`` (chunks,
            embedding), then ``W0, b0, W1, b1, ...`` of the MLP.
    """

    def __init__(self, architecture: Architecture, sizes: Sequence[int], num_tasks: int) -> None:
        self._architecture = a = architecture
        self._sizes = sizes
        self._num_weights = sum(sizes)
        self.num_chunks = math.ceil(self._num_weights / a.chunk_size)
        if self.num_chunks > 1 and (a.chunk_embedding_size == 0 or a.init == "xavier-heads"):
            what = "init xavier-heads" if a.chunk_embedding_size else "no chunk embedding"
            raise ClbenchError(
                f"a hypernetwork with {what} needs a single chunk: chunk_size must be at least "
                f"{self._num_weights}, found {a.chunk_size}"
            )
        widths = [
            a.chunk_embedding_size + a.task_embedding_size,
            *a.hidden_sizes,
            a.chunk_size,
        ]
        self._num_layers = len(widths) - 1
        shapes: dict[str, tuple[int, ...]] = {
            "tasks": (num_tasks, a.task_embedding_size),
            "chunks": (self.num_chunks, a.chunk_embedding_size),
        }
        for i, (fan_in, fan_out) in enumerate(pairwise(widths)):
            shapes |= {f"W{i}": (fan_out, fan_in), f"b{i}": (fan_out,)}
        self.shapes: Mapping[str, tuple[int, ...]] = shapes
        first_is_chunk = a.input_order == "chunk-task"
        split = a.chunk_embedding_size if first_is_chunk else a.task_embedding_size
        head, tail = slice(0, split), slice(split, widths[0])
        self._chunk_columns, self._task_columns = (head, tail) if first_is_chunk else (tail, head)

    def initial(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Fresh parameters: embeddings normal, layers as the architecture says."""
        a = self._architecture
        drawn: dict[str, Tensor] = {}
        bound = 0.0
        for name, shape in self.shapes.items():
            if name in ("tasks", "chunks"):
                std = a.task_embedding_std if name == "tasks" else a.chunk_embedding_std
                drawn[name] = torch.empty(shape).normal_(0.0, std, generator=generator)
                continue
            if len(shape) == 2:
                fan_out, fan_in = shape
                bound = 1 / math.sqrt(fan_in) if a.init == "fan-in" else _xavier(fan_in, fan_out)
            elif a.init != "fan-in":
                bound = 0.0
            drawn[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        if a.init == "xavier-heads":
            output = drawn[f"W{self._num_layers - 1}"]
            surplus = len(output) - self._num_weights
            heads = torch.split(output, [*self._sizes, surplus])
            for head in heads[:-1]:
                bound = _xavier(head.shape[1], len(head))
                head.uniform_(-bound, bound, generator=generator)
        return drawn

    def __call__(self, params: NamedTensors, embeddings: Tensor) -> Tensor:
        """The main net's weights for each task embedding.

        Args:
            params: Parameters by name; ``tasks`` is not read.
            embeddings: (T, task_embedding_size).

        Returns:
            (T, N). All may have a leading replica axis.
        """
        return self.chunks(params, embeddings)[..., : self._num_weights]

    def chunks(self, params: NamedTensors, embeddings: Tensor) -> Tensor:
        """As a call, with what the last chunk has too many: ``(T, chunks * chunk_size)``.

        A step that differentiates this, and not its cut, needs no zeros for what is cut off.
        """
        activation = _ACTIVATIONS[self._architecture.activation]
        W = params["W0"]
        by_chunk = _affine(params["chunks"], W[..., self._chunk_columns], params["b0"])
        by_task = embeddings @ W[..., self._task_columns].mT
        x = by_task[..., :, None, :] + by_chunk[..., None, :, :]
        x = x.flatten(-3, -2)  # (T * chunks, width)
        for i in range(1, self._num_layers):
            x = _affine(activation(x), params[f"W{i}"], params[f"b{i}"])
        return x.view(*embeddings.shape[:-1], -1)


def _affine(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``W x + b``."""
    return add_product(bias.unsqueeze(-2), x, weight.mT)


def _xavier(fan_in: int, fan_out: int) -> float:
    """Bound of the uniform distribution of Glorot & Bengio 2010."""
    return math.sqrt(6 / (fan_in + fan_out))
