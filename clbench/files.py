"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[BinaryIO]:
    """A file to write into, which takes the place of `path` when the block has ended.

    A reader finds the old file or the whole new one, also where several processes write. Where the
    block raises, the old file stays, and nothing else is left. Permissions are those of the old
    file.

    Args:
        path: Where the file is to be; its folder is there.
        durable: Whether its content is on the disk, not only on the way, before it takes the place.

    Raises:
        OSError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            shutil.copymode(path, temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
