"""The contract test of datasets of pictures; `clbench.testing` has it with the others."""

from __future__ import annotations

from typing import get_args

import torch

from clbench import images
from clbench.data import status
from clbench.errors import ClbenchError
from clbench.images import Half, ImageDataset
from clbench.randomness import drawn_since, shared_states

_HALVES: tuple[Half, ...] = get_args(Half)


class ImageDatasetContract:
    """What every dataset of labelled pictures promises; its files must be here."""

    def build(self) -> ImageDataset:
        """The dataset, as registered."""
        raise NotImplementedError(f"{type(self).__name__} needs a method build(self)")

    def test_its_files_are_here_and_right(self) -> None:
        for file, path, state in status(self.build()):
            assert state == "ok", f"{file.name} is {state}{f': {path}' if path else ''}"

    def test_it_loads_what_it_says(self) -> None:
        dataset = self.build()
        wrong = ""
        try:
            images.check(dataset)
            for half in _HALVES:
                images.load(dataset, half)
        except ClbenchError as error:
            wrong = str(error)

        assert not wrong, wrong

    def test_both_halves_have_every_class(self) -> None:
        dataset = self.build()
        for half in _HALVES:
            there = set(dataset.load(half).labels.tolist())
            lacking = sorted(set(range(dataset.num_classes)) - there)
            assert not lacking, f"{half} has no picture of the classes {lacking}"

    def test_it_loads_the_same_each_time(self) -> None:
        for half in _HALVES:
            first, again = self.build().load(half), self.build().load(half)
            equally = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
            assert equally, f"{half} is another each time"

    def test_loading_draws_from_no_global_generator(self) -> None:
        before = shared_states()
        for half in _HALVES:
            self.build().load(half)

        drawn = drawn_since(before)
        assert not drawn, drawn
