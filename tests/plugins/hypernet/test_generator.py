"""The chunked hypernetwork as a function."""

from __future__ import annotations

import math

import pytest
import torch

from clbench_hypernet.generator import Architecture, Hypernetwork


@pytest.mark.parametrize(
    ("num_weights", "num_tasks", "architecture", "chunks", "count"),
    [
        # the rows of Ehret et al. 2021: multi-head 142,883 weights, single-head 135,687
        (142_883, 5, (2500, (50, 50), 32, 32), 58, 135_316),
        (135_687, 5, (2500, (50, 50), 32, 16), 55, 133_540),
        (142_883, 5, (4000, (60, 60, 30), 16, 32), 36, 133_662),
        (142_883, 5, (4000, (64, 64, 32), 32, 32), 36, 143_712),
        # von Oswald et al. 2020: split MNIST, and permuted MNIST with 10 tasks in CL2
        (478_410, 5, (42_000, (10, 10), 96, 96), 12, 465_672),
        (2_036_010, 10, (78_000, (25, 25), 24, 8), 27, 2_029_931),
        (468_540, 6, (7_000, (), 32, 32), 67, 457_336),
    ],
)
def test_chunk_and_parameter_counts_are_those_of_the_sources(
    num_weights: int,
    num_tasks: int,
    architecture: tuple[int, tuple[int, ...], int, int],
    chunks: int,
    count: int,
) -> None:
    chunk_size, hidden_sizes, task_embedding_size, chunk_embedding_size = architecture
    hypernetwork = Hypernetwork(
        Architecture(
            chunk_size=chunk_size,
            hidden_sizes=hidden_sizes,
            task_embedding_size=task_embedding_size,
            chunk_embedding_size=chunk_embedding_size,
        ),
        [num_weights],
        num_tasks,
    )

    assert hypernetwork.num_chunks == chunks
    assert sum(math.prod(shape) for shape in hypernetwork.shapes.values()) == count


def _small(**changes: object) -> Hypernetwork:
    values: dict[str, object] = {
        "chunk_size": 4,
        "hidden_sizes": (5, 6),
        "task_embedding_size": 3,
        "chunk_embedding_size": 2,
    }
    return Hypernetwork(Architecture.model_validate(values | changes), [4, 6], 2)


@pytest.mark.parametrize("order", ["chunk-task", "task-chunk"])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "elu"])
def test_every_chunk_is_the_mlp_of_both_embeddings_in_their_order(
    order: str, activation: str
) -> None:
    hypernetwork = _small(input_order=order, activation=activation)
    p = hypernetwork.initial(torch.Generator().manual_seed(0))
    act = {"relu": torch.relu, "sigmoid": torch.sigmoid, "elu": torch.nn.functional.elu}[activation]
    rows = []
    for e in p["tasks"]:
        chunks = []
        for c in p["chunks"]:
            x = torch.cat([c, e] if order == "chunk-task" else [e, c])
            x = act(p["W0"] @ x + p["b0"])
            x = act(p["W1"] @ x + p["b1"])
            chunks.append(p["W2"] @ x + p["b2"])
        rows.append(torch.cat(chunks)[:10])  # the rest of the third chunk is not used

    weights = hypernetwork(p, p["tasks"])

    assert weights.shape == (2, 10)
    torch.testing.assert_close(weights, torch.stack(rows))


def test_without_hidden_layers_it_is_linear() -> None:
    hypernetwork = _small(hidden_sizes=())
    p = hypernetwork.initial(torch.Generator().manual_seed(0))

    weights = hypernetwork(p, p["tasks"])

    row = torch.cat([p["W0"] @ torch.cat([c, p["tasks"][1]]) + p["b0"] for c in p["chunks"]])
    torch.testing.assert_close(weights[1], row[:10])


def test_layers_start_uniform_within_the_root_of_their_fan_in_and_embeddings_normal() -> None:
    hypernetwork = _small(
        task_embedding_size=500, chunk_embedding_std=0.1, task_embedding_std=2.0, chunk_size=1
    )

    drawn = hypernetwork.initial(torch.Generator().manual_seed(0))

    assert drawn["tasks"].std() == pytest.approx(2.0, rel=0.1)
    assert drawn["chunks"].std() == pytest.approx(0.1, rel=0.4)
    bound = 1 / math.sqrt(502)
    assert 0.95 * bound < drawn["W0"].abs().max() <= bound
    assert drawn["b0"].abs().max() <= bound
    assert drawn["b0"].abs().max() > 0


def test_xavier_layers_have_zero_biases() -> None:
    drawn = _small(init="xavier").initial(torch.Generator().manual_seed(0))

    assert drawn["b1"].abs().max() == 0
    assert 0.8 * math.sqrt(6 / 11) < drawn["W1"].abs().max() <= math.sqrt(6 / 11)
