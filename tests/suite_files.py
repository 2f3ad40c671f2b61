"""Suite files of toys, as text, and what comes of reading them."""

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

HEAD = """\
suite: toy
scenario: task-il
seeds: [1, 2, 3]
defaults:
  model: linear
  training: {iterations: 10, learning_rate: 0.1}
"""


def text(rest: str) -> str:
    """The text of a suite with these lines after the head."""
    return HEAD + rest


WITH_THRESHOLDS = text("""\
tasks:
  a: {family: pictures}
methods:
  plain: {learner: plain, expect: {final_accuracy: '>= 89.5'}}
  other: {learner: generated, expect: {during_accuracy: '>= 50'}}
""")


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
