"""The chunked hypernetwork as a function."""

from __future__ import annotations

import math

import pytest
import torch

from clbench.errors import ClbenchError
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


def test_one_chunk_without_an_embedding_is_a_full_hypernetwork() -> None:
    hypernetwork = _small(chunk_size=10, chunk_embedding_size=0, hidden_sizes=(5,))
    p = hypernetwork.initial(torch.Generator().manual_seed(0))

    weights = hypernetwork(p, p["tasks"])

    expected = torch.relu(p["tasks"] @ p["W0"].t() + p["b0"]) @ p["W1"].t() + p["b1"]
    torch.testing.assert_close(weights, expected)
    toy = Architecture(
        chunk_size=141, hidden_sizes=(10, 10), task_embedding_size=2, chunk_embedding_size=0
    )
    shapes = Hypernetwork(toy, [10, 10, 100, 10, 10, 1], 3).shapes.values()
    assert sum(math.prod(shape) for shape in shapes) == 1691 + 6  # of the toy problem


def test_heads_of_a_full_hypernetwork_are_drawn_as_layers_of_their_own() -> None:
    architecture = Architecture(
        chunk_size=5010,
        hidden_sizes=(50,),
        task_embedding_size=3,
        chunk_embedding_size=0,
        init="xavier-heads",
    )
    hypernetwork = Hypernetwork(architecture, [10, 5000], 2)

    p = hypernetwork.initial(torch.Generator().manual_seed(0))

    small, large = p["W1"].split([10, 5000])
    for head, fan_out in ((small, 10), (large, 5000)):
        bound = math.sqrt(6 / (50 + fan_out))
        assert 0.95 * bound < float(head.abs().max()) <= bound
    assert p["b1"].count_nonzero() == p["b0"].count_nonzero() == 0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"chunk_embedding_size": 0}, "no chunk embedding"),
        ({"init": "xavier-heads"}, "init xavier-heads"),
    ],
)
def test_what_needs_a_single_chunk_says_so(changes: dict[str, object], what: str) -> None:
    with pytest.raises(ClbenchError) as caught:
        _small(**changes)

    assert str(caught.value) == (
        f"a hypernetwork with {what} needs a single chunk: chunk_size must be at least 10, found 4"
    )
