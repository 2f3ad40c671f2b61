"""Suite files as text, and what comes of reading those of toys."""

from __future__ import annotations

from pathlib import Path

import pytest
import toys

from clbench import suite
from clbench.errors import SuiteError
from clbench.suite import Suite

GOOD = """\
suite: toy
scenario: task-il
seeds: [1, 2]
defaults:
  model: linear
  training: {iterations: 10, learning_rate: 0.1}
tasks:
  pictures: {family: pictures}
methods:
  plain: {learner: plain}
"""

_TOYS = """\
suite: toy
scenario: task-il
seeds: [1, 2, 3]
defaults:
  model: linear
  training: {iterations: 10, learning_rate: 0.1}
"""
_COPIES = """\
suite: tiny
scenario: task-il
defaults:
  model: {name: elman, hidden_size: 8}
  training: {iterations: 10, batch_size: 8, learning_rate: 1e-2}
tasks:
  permuted: {family: permuted-copy, num_tasks: 2, input_length: 3, num_train: 64, num_test: 20, num_validation: 1}
"""


def of_toys(rest: str) -> str:
    """The text of a suite of toys: all but the tasks and methods, and these lines."""
    return _TOYS + rest


def of_copies(rest: str) -> str:
    """The text of a suite of copy tasks that take a moment: all but seeds and methods, and these lines."""
    return _COPIES + rest


WITH_THRESHOLDS = of_toys("""\
tasks:
  a: {family: pictures}
methods:
  plain: {learner: plain, expect: {final_accuracy: '>= 89.5'}}
  other: {learner: generated, expect: {during_accuracy: '>= 50'}}
""")


LONG = """\
suite: long
scenario: task-il
seeds: [0]
defaults:
  model: {name: elman, hidden_size: 32}
  training: {iterations: 1500, batch_size: 32, learning_rate: 1e-2}
tasks:
  permuted: {family: permuted-copy, num_tasks: 2, input_length: 3, num_train: 500, num_test: 50, num_validation: 1}
methods:
  si: {learner: fine-tuning, regularizers: {si: {si_lambda: 0.1}}}
"""
"""Some seconds of training, for what is done to a run meanwhile."""


def load(folder: Path, text: str) -> Suite:
    """The suite of this text, in the file toy.yaml of a folder."""
    path = folder / "toy.yaml"
    path.write_text(text)
    return suite.load(path, toys.registry())


def mistakes(folder: Path, text: str) -> list[str]:
    """What is wrong with a suite of this text."""
    with pytest.raises(SuiteError) as caught:
        load(folder, text)
    return [str(mistake) for mistake in caught.value.mistakes]
