"""The chunked hypernetwork as a function: task embeddings -> flat weights of a main net.

The N weights are cut into ``ceil(N / chunk_size)`` chunks. Each chunk i has a learnt embedding
``c_i``, each task t a learnt embedding ``e_t``; one small MLP maps both to the chunk's weights::

    h(e_t) = [ MLP(c_1, e_t), ..., MLP(c_n, e_t) ]      cut to the first N

(von Oswald et al. 2020, Sec. 2.3). All chunks of all asked tasks go through the MLP as one batch.
The first layer is linear in both embeddings, so it is applied to each of them once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from clbench.params import Params
from clbench.protocols import NamedTensors

_ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "elu": torch.nn.functional.elu}


class Architecture(Params):
    """Sizes and initialisation of a chunked hypernetwork."""

    chunk_size: PositiveInt
    """Weights generated at once; the outputs of the MLP."""
    hidden_sizes: tuple[PositiveInt, ...]
    """Units of the hidden layers; empty: a linear hypernetwork."""
    task_embedding_size: PositiveInt
    """Numbers in the embedding of a task."""
    chunk_embedding_size: PositiveInt
    """Numbers in the embedding of a chunk."""
    activation: Literal["relu", "sigmoid", "elu"] = "relu"
    """Of the hidden layers."""
    task_embedding_std: NonNegativeFloat = 1.0
    """Standard deviation of the initial task embeddings."""
    chunk_embedding_std: NonNegativeFloat = 1.0
    """Standard deviation of the initial chunk embeddings."""
    input_order: Literal["chunk-task", "task-chunk"] = "chunk-task"
    """Which embedding comes first in the input of the MLP (older code: the task's)."""
    init: Annotated[Literal["fan-in", "xavier"], Field()] = "fan-in"
    """Weights and biases uniform in ±1/sqrt(fan-in), or Xavier-uniform weights and zero biases."""


class Hypernetwork:
    """A function of its parameters, which the caller holds.

    Args:
        architecture: Sizes and initialisation.
        num_weights: N, what is to be generated.
        num_tasks: K.

    Attributes:
        shapes: Name -> shape of every parameter: ``tasks`` (K, embedding), ``chunks`` (chunks,
            embedding), then ``W0, b0, W1, b1, ...`` of the MLP.
    """

    def __init__(self, architecture: Architecture, num_weights: int, num_tasks: int) -> None:
        self._architecture = a = architecture
        self._num_weights = num_weights
        self.num_chunks = math.ceil(num_weights / a.chunk_size)
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
                is_xavier = a.init == "xavier"
                bound = math.sqrt(6 / (fan_in + fan_out)) if is_xavier else 1 / math.sqrt(fan_in)
            elif a.init == "xavier":
                bound = 0.0
            drawn[name] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        return drawn

    def __call__(self, params: NamedTensors, embeddings: Tensor) -> Tensor:
        """The main net's weights for each task embedding.

        Args:
            params: Parameters by name; ``tasks`` is not read.
            embeddings: (T, task_embedding_size).

        Returns:
            (T, num_weights).
        """
        activation = _ACTIVATIONS[self._architecture.activation]
        W = params["W0"]
        by_chunk = torch.addmm(params["b0"], params["chunks"], W[:, self._chunk_columns].t())
        by_task = embeddings @ W[:, self._task_columns].t()
        x = (by_task[:, None] + by_chunk[None]).flatten(0, 1)  # (T * chunks, width)
        for i in range(1, self._num_layers):
            x = torch.addmm(params[f"b{i}"], activation(x), params[f"W{i}"].t())
        weights = x.view(len(embeddings), -1)
        return weights[:, : self._num_weights]
