"""What contract tests say of a plugin."""

from __future__ import annotations

from typing import Any


def broken_promises(contract: Any) -> list[str]:
    """What the tests of a contract say, those that fail."""
    found = []
    for name in dir(contract):
        if name.startswith("test_"):
            try:
                getattr(contract(), name)()
            except AssertionError as error:
                found.append(str(error).splitlines()[0])
    return found
