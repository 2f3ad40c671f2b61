"""The copy tasks of Ehret et al. 2021, and the recurrent nets that learn them."""

from __future__ import annotations

from collections.abc import Iterable

from clbench.hookspecs import Entry, hookimpl

_SOURCE = "Ehret et al. 2021 (arXiv:2006.12109)"


@hookimpl
def clbench_tasks() -> Iterable[Entry]:
    """The copy task and its variants."""
    return [
        Entry(
            "copy",
            "clbench_copytask.plain_copy:PlainCopy",
            "recall a random binary pattern after a stop flag; tasks may differ in length",
            _SOURCE,
        ),
        Entry(
            "permuted-copy",
            "clbench_copytask.permuted_copy:PermutedCopy",
            "recall the pattern in an order of the task's own",
            _SOURCE,
        ),
        Entry(
            "padded-copy",
            "clbench_copytask.padded_copy:PaddedCopy",
            "recall a pattern that is shorter than the input, permuted or not",
            _SOURCE,
        ),
        Entry(
            "pattern-manipulation",
            "clbench_copytask.pattern_manipulation:PatternManipulation",
            "give the XOR of the pattern and permutations of it",
            _SOURCE,
        ),
    ]


@hookimpl
def clbench_models() -> Iterable[Entry]:
    """Recurrent nets."""
    return [
        Entry(
            "elman",
            "clbench_copytask.elman:Elman",
            "simple recurrent net with an extra hidden layer before the output",
            _SOURCE,
        ),
        Entry(
            "lstm",
            "clbench_copytask.lstm:Lstm",
            "one layer of long short-term memory",
            "Hochreiter & Schmidhuber 1997",
        ),
    ]
