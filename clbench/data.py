"""Data homes: where the files of datasets are looked for, checked, and downloaded to.

The homes are the folders of the environment variable ``CLBENCH_DATA`` (several are separated as in
``PATH``), or else one folder in the user's cache. A file may lie in a folder of the dataset's name
in a home or, where its name says which dataset it belongs to, in the home itself; it may be gzipped
or not. Runs never touch the network: a missing file is an error that names the file and the command
that fetches it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal, Protocol

from clbench.cache import expand, user_folder
from clbench.errors import ClbenchError, UnavailableError
from clbench.files import written_whole

VARIABLE = "CLBENCH_DATA"


class DamagedFileError(ClbenchError):
    """A file of a dataset that is truncated, changed, or another file altogether."""

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        super().__init__(f"{path}: {what}")


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of a dataset.

    Attributes:
        name: As published, such as ``train-images-idx3-ubyte.gz``; where it ends in ``.gz``, the
            same file without it serves too.
        md5: Of the file as published; empty where nothing is published.
        url: Where it is downloaded from; empty where it cannot be.
        content_md5: Of the content without gzip, where it is known: files that were compressed anew
            are checked by it.
        is_shared_name: Whether other datasets have a file of the same name; then it is looked for
            only in folders of the dataset's name.
    """

    name: str
    md5: str = ""
    url: str = ""
    content_md5: str = ""
    is_shared_name: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The names it may have."""
        plain = self.name.removesuffix(".gz")
        return (self.name,) if plain == self.name else (self.name, plain)


class Dataset(Protocol):
    """What an entry of the hook ``clbench_datasets`` names: an object that knows its files.

    What families can do with it besides is theirs to say: those of pictures take a
    `clbench.images.ImageDataset`.
    """

    @property
    def name(self) -> str:
        """As written in suites."""

    @property
    def files(self) -> Sequence[DataFile]:
        """What it is read from."""


def homes() -> tuple[Path, ...]:
    """The folders that are searched, the first one first; they need not exist."""
    named = [expand(path) for path in os.environ.get(VARIABLE, "").split(os.pathsep) if path]
    return tuple(named) or (user_folder() / "data",)


def find(dataset: str, file: DataFile) -> Path | None:
    """Where a file of a dataset is, None where it is in no home.

    Raises:
        ClbenchError: A home may not be looked into.
    """
    for home in homes():
        folders = [home / dataset]
        if not file.is_shared_name or home.name == dataset:
            folders.append(home)
        for folder in folders:
            for name in file.names:
                path = folder / name
                try:
                    if path.is_file():
                        return path
                except OSError as error:
                    raise ClbenchError(f"{path}: {error.strerror}") from error
    return None


def require(dataset: str, file: DataFile) -> Path:
    """Where a file of a dataset is.

    Raises:
        UnavailableError: It is in no home.
    """
    path = find(dataset, file)
    if path is None:
        looked = ", ".join(str(home) for home in homes())
        if file.url:
            remedy = f"'clbench data fetch {dataset}' downloads it"
        else:
            remedy = f"put it there, or name its folder in {VARIABLE}"
        raise UnavailableError(
            f"dataset '{dataset}': {' or '.join(file.names)} is not in {looked} "
            f"(nor in a folder '{dataset}' there); {remedy}"
        )
    return path


def read(path: Path, file: DataFile) -> bytes:
    """The checked content of a file, without gzip.

    Raises:
        DamagedFileError: It cannot be read or unpacked, or neither checksum fits.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DamagedFileError(path, f"cannot be read: {error.strerror}") from error
    return _content(raw, path, file)


def _content(raw: bytes, path: Path, file: DataFile) -> bytes:
    content = raw
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise DamagedFileError(path, f"cannot be unpacked ({error}): truncated?") from error
    if not _is_right(raw, content, file, path):
        what = "its checksum is not the published one: damaged, or another file"
        raise DamagedFileError(path, what)
    return content


def _is_right(raw: bytes, content: bytes, file: DataFile, path: Path) -> bool:
    """Whether a checksum fits, as far as one is known for the file in this form."""
    if file.content_md5:
        return _md5(content) == file.content_md5
    is_as_published = path.name == Path(file.name).name
    return not (file.md5 and is_as_published) or _md5(raw) == file.md5


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


State = Literal["ok", "missing", "damaged"]


def status(dataset: Dataset) -> Iterator[tuple[DataFile, Path | None, State]]:
    """Every file of a dataset, where it is, and whether it is right."""
    for file in dataset.files:
        path = find(dataset.name, file)
        if path is None:
            yield file, None, "missing"
            continue
        try:
            read(path, file)
        except DamagedFileError:
            yield file, path, "damaged"
        else:
            yield file, path, "ok"


def fetch(dataset: Dataset, timeout: float = 60.0) -> list[Path]:
    """Download the missing files of a dataset into the first home; the new files.

    Raises:
        ClbenchError: A file has no address, cannot be downloaded or written, or arrives with
            another checksum; or a damaged one is in the way, which is left to its owner.
    """
    folder = homes()[0] / dataset.name
    new = []
    for file, found, state in status(dataset):
        if state == "damaged":
            raise ClbenchError(f"{found} is damaged; delete it, and fetch again")
        if state == "ok":
            continue
        if not file.url:
            raise ClbenchError(f"dataset '{dataset.name}': {file.name} cannot be downloaded")
        new.append(_download(file, folder, timeout))
    return new


def _download(file: DataFile, folder: Path, timeout: float) -> Path:
    try:
        with urllib.request.urlopen(file.url, timeout=timeout) as answer:
            raw = answer.read()
    except (OSError, ValueError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise ClbenchError(f"cannot download {file.url}: {reason}") from error
    if file.md5 and _md5(raw) != file.md5:
        raise ClbenchError(f"{file.url} gave a file with another checksum; nothing was kept")
    path = folder / file.name
    try:
        _content(raw, path, file)
    except DamagedFileError as error:
        what = "gave a file that is damaged, or another one; nothing was kept"
        raise ClbenchError(f"{file.url} {what}") from error
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as part:
            part.write(raw)
    except OSError as error:
        raise ClbenchError(f"cannot write {path}: {error.strerror}") from error
    return path
