"""Learners and streams of single samples whose tasks nobody announces."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl


@hookimpl
def clbench_tasks() -> Iterable[Entry]:
    """Families of streams."""
    where = "clbench_streaming.permuted_streams"
    source = "Elsayed & Mahmood 2024 (arXiv:2404.00781)"
    return [
        Entry(
            "input-permuted-stream",
            f"{where}:InputPermutedStream",
            "pictures one by one, their pixels in another order from time to time",
            source,
        ),
        Entry(
            "label-permuted-stream",
            f"{where}:LabelPermutedStream",
            "pictures one by one, their labels exchanged from time to time",
            source,
        ),
    ]


@hookimpl
def clbench_learners() -> Iterable[Entry]:
    """Rules for streams, one step per sample."""
    return [
        Entry(
            "perturbed-sgd",
            "clbench_streaming.perturbed_sgd:PerturbedSgd",
            "gradient descent with noise and weight decay; shrink and perturb",
            "Ash & Adams 2020 (arXiv:1910.08475)",
        ),
        Entry(
            "stream-adamw",
            "clbench_streaming.adamw:StreamAdamW",
            "Adam with decoupled weight decay, its moments kept over all tasks",
            "Loshchilov & Hutter 2019 (arXiv:1711.05101)",
        ),
        Entry(
            "upgd",
            "clbench_streaming.upgd:Upgd",
            "moves useful weights less, and perturbs the others",
            "Elsayed & Mahmood 2024 (arXiv:2404.00781)",
        ),
    ]
