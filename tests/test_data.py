"""Data homes: finding, checking and fetching files."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import os
import stat
import urllib.request
from http.client import IncompleteRead
from pathlib import Path

import pytest

from clbench import data
from clbench.data import DamagedFileError, DataFile
from clbench.errors import ClbenchError, UnavailableError

CONTENT = b"some pictures"
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    monkeypatch.setenv("CLBENCH_DATA", f"{first}:{second}")
    return second


class _Dataset:
    name = "toy"

    def __init__(self, *files: DataFile) -> None:
        self.files = files


def test_homes_are_those_of_the_variable_or_one_in_the_cache(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert data.homes() == (home.parent / "first", home)

    monkeypatch.delenv("CLBENCH_DATA")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("sys.platform", "linux")

    assert data.homes() == (tmp_path / "cache" / "clbench" / "data",)


def test_a_file_is_found_in_any_home_gzipped_or_not_in_a_folder_or_not(home: Path) -> None:
    file = DataFile("a.gz")
    assert data.find("toy", file) is None

    (home / "a").write_bytes(CONTENT)
    assert data.find("toy", file) == home / "a"

    (home / "toy").mkdir()
    (home / "toy" / "a.gz").write_bytes(gzip.compress(CONTENT))
    assert data.find("toy", file) == home / "toy" / "a.gz"


def test_a_name_that_datasets_share_is_looked_for_in_folders_of_the_datasets_name(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = DataFile("a", is_shared_name=True)
    (home / "a").write_bytes(CONTENT)
    assert data.find("toy", file) is None

    monkeypatch.setenv("CLBENCH_DATA", str(home / "toy"))
    (home / "toy").mkdir()
    (home / "toy" / "a").write_bytes(CONTENT)
    assert data.find("toy", file) == home / "toy" / "a"


def test_a_missing_file_names_the_homes_and_the_command_that_fetches_it(home: Path) -> None:
    with pytest.raises(UnavailableError) as fetched:
        data.require("toy", DataFile("a.gz", url="https://example.org/a.gz"))
    with pytest.raises(UnavailableError) as put:
        data.require("toy", DataFile("a.zip"))

    homes = f"{home.parent / 'first'}, {home}"
    assert str(fetched.value) == (
        f"dataset 'toy': a.gz or a is not in {homes} (nor in a folder 'toy' there); "
        "'clbench data fetch toy' downloads it"
    )
    assert str(put.value) == (
        f"dataset 'toy': a.zip is not in {homes} (nor in a folder 'toy' there); "
        "put it there, or name its folder in CLBENCH_DATA"
    )


@pytest.mark.parametrize(
    ("name", "stored", "file", "is_right"),
    [
        ("a", CONTENT, DataFile("a", md5=MD5), True),
        ("a", b"others", DataFile("a", md5=MD5), False),
        ("a.gz", gzip.compress(CONTENT, mtime=0), DataFile("a.gz", md5="0", content_md5=MD5), True),
        ("a", CONTENT, DataFile("a.gz", md5="0", content_md5=MD5), True),
        ("a.gz", gzip.compress(b"others", mtime=0), DataFile("a.gz", content_md5=MD5), False),
        ("a.gz", gzip.compress(CONTENT, mtime=0), DataFile("a.gz", md5="0"), False),
        ("a", CONTENT, DataFile("a.gz", md5="0"), True),  # nothing is known of it in this form
    ],
)
def test_a_file_is_checked_by_what_is_known_of_it(
    name: str, stored: bytes, file: DataFile, is_right: bool, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(stored)

    if is_right:
        assert data.read(path, file) == CONTENT
        return
    with pytest.raises(DamagedFileError) as caught:
        data.read(path, file)
    assert str(caught.value) == (
        f"{path}: its checksum is not the published one: damaged, or another file"
    )


def test_a_truncated_gzip_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(CONTENT)[:-6])

    with pytest.raises(DamagedFileError, match=r"cannot be unpacked .*: truncated"):
        data.read(path, DataFile("a.gz"))


def test_the_status_of_a_dataset_is_told_file_by_file(home: Path) -> None:
    (home / "a").write_bytes(CONTENT)
    (home / "b").write_bytes(b"others")
    files = [DataFile(name, md5=MD5) for name in "abc"]

    found = list(data.status(_Dataset(*files)))

    assert found == [
        (files[0], home / "a", "ok"),
        (files[1], home / "b", "damaged"),
        (files[2], None, "missing"),
    ]


def test_missing_files_are_fetched_into_the_first_home_and_checked(
    home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    there, wrong = (
        DataFile("a", md5=MD5, url=source.as_uri()),
        DataFile("b", md5="0", url=source.as_uri()),
    )
    nowhere = DataFile("c", url=(tmp_path / "nowhere").as_uri())

    assert data.fetch(_Dataset(there)) == [home.parent / "first" / "toy" / "a"]
    assert data.fetch(_Dataset(there)) == []  # it is here now
    other = f"{source.as_uri()} gave a file that is damaged, or another one; nothing was kept"
    for file, message in (
        (wrong, f"{source.as_uri()} gave a file with another checksum; nothing was kept"),
        (DataFile("e", content_md5="0", url=source.as_uri()), other),
        (DataFile("f.gz", url=source.as_uri()), other),
        (DataFile("d"), "dataset 'toy': d cannot be downloaded"),
    ):
        with pytest.raises(ClbenchError) as caught:
            data.fetch(_Dataset(file))
        assert str(caught.value) == message
    with pytest.raises(ClbenchError, match="cannot download file://"):
        data.fetch(_Dataset(nowhere))
    assert [path.name for path in (home.parent / "first" / "toy").iterdir()] == ["a"]


def test_a_fetched_file_is_for_everybody_and_nothing_is_left_of_a_broken_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, folder = tmp_path / "source", home.parent / "first" / "toy"
    source.write_bytes(CONTENT)
    before = os.umask(0o022)
    try:
        (path,) = data.fetch(_Dataset(DataFile("a", url=source.as_uri())))
    finally:
        os.umask(before)
    mode = stat.S_IMODE(path.stat().st_mode)

    def interrupted(path: Path, target: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        data.fetch(_Dataset(DataFile("b", url=source.as_uri())))

    assert mode == 0o644
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_a_file_that_may_not_be_read_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "a").write_bytes(CONTENT)
    file = DataFile("a")

    def forbidden(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    with pytest.raises(DamagedFileError) as unread:
        data.read(home / "a", file)
    monkeypatch.setattr(Path, "is_file", forbidden)
    with pytest.raises(ClbenchError) as unseen:
        data.find("toy", file)

    assert str(unread.value) == f"{home / 'a'}: cannot be read: Permission denied"
    assert str(unseen.value).endswith("a: Permission denied")


def test_a_damaged_file_is_no_file_that_is_there(home: Path) -> None:
    (home / "a").write_bytes(b"cut off")

    with pytest.raises(ClbenchError) as caught:
        data.fetch(_Dataset(DataFile("a", md5=MD5, url="https://example.org/a")))

    assert str(caught.value) == f"{home / 'a'} is damaged; delete it, and fetch again"


def test_a_connection_that_is_cut_off_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class CutOff(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise IncompleteRead(b"half")

    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: CutOff())

    with pytest.raises(ClbenchError) as caught:
        data.fetch(_Dataset(DataFile("a", url="https://example.org/a")))

    assert str(caught.value) == (
        "cannot download https://example.org/a: IncompleteRead(4 bytes read)"
    )
