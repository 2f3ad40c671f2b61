"""Records as files: read whole or refused, written whole or not at all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import filelock
import pytest
import records
import toys
from hypothesis import given, settings
from hypothesis import strategies as st

from clbench.config import canonical, digest
from clbench.errors import ClbenchError, RecordError
from clbench.records import Failure, Record, from_text, to_text
from clbench.store import Store
from clbench.suite import Row, Suite


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_record_comes_back_as_it_was(store: Store) -> None:
    record = records.good()

    path = store.put(record)

    assert path.name == f"{record.id}.json"
    assert store.find(record.config) == record
    assert store.find(toys.config(seed=9)) is None
    assert store.scan() == ((record,), ())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:200], "not JSON, perhaps truncated"),
        (lambda t: "", "not JSON, perhaps truncated"),
        (lambda t: t.replace('"accur', '"accur\n '), "not JSON, perhaps truncated"),
        (lambda t: "[1]", "expected a record, found something else"),
        (lambda t: t.replace("90.0", "91.0").replace("85.5", "86.5"), "its checksum does not fit: damaged, or edited by hand"),
        (lambda t: t.replace('"format":1', '"format":7'), "format 7, this version reads format 1"),
    ],
)  # fmt: skip
def test_a_truncated_or_edited_record_is_named_and_refused(
    change: Callable[[str], str], message: str, store: Store
) -> None:
    record = records.good()
    path = store.put(record)
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)

    with pytest.raises(RecordError) as caught:
        store.find(record.config)

    assert str(caught.value).startswith(f"{path}: {message}")
    assert store.scan()[0] == ()
    assert [str(error) for error in store.scan()[1]] == [str(caught.value)]


def test_a_record_under_another_name_is_refused(store: Store) -> None:
    path = store.put(records.good())
    other = path.with_name("0123456789abcdef.json")
    path.rename(other)

    (error,) = store.scan()[1]

    assert str(error) == f"{other}: the file name is not the id of the record, {path.stem}"


def test_a_record_whose_checksum_was_mended_but_whose_id_was_not_is_refused() -> None:
    values = json.loads(to_text(records.good()))
    values["config"]["seed"] = 7
    del values["checksum"]
    text = json.dumps(values | {"checksum": digest(values)})

    with pytest.raises(RecordError, match="is not that of its configuration"):
        from_text(text, Path("x.json"))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_flipped_byte_is_noticed(place: int, bits: int) -> None:
    record = records.good()
    content = bytearray(to_text(record).encode())
    content[place % len(content)] ^= bits
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return

    try:
        read = from_text(text, Path(f"{record.id}.json"))
    except RecordError:
        return
    assert read == record  # white space was changed to other white space


def test_a_file_is_the_canonical_text_of_its_checksum_broken_into_lines() -> None:
    odd = 'a: "b"\\": 1\n [2,\n 3]\t\x85\u2028 NaN'  # all that could be taken for layout
    failure = Failure(type=odd, message=f"\n{odd}", traceback=f" {odd}\n")
    record = records.bad().model_copy(update={"failure": failure})
    text = to_text(record)

    joined = "".join(line.lstrip(" ") for line in text.split("\n"))
    values = json.loads(text)
    assert joined == canonical(values)
    checksum = values.pop("checksum")
    assert joined.startswith(f'{{"checksum":"{checksum}",')
    assert checksum == digest(values)
    assert from_text(text, Path(f"{record.id}.json")) == record


def test_lists_of_numbers_are_on_one_line() -> None:
    lines = to_text(records.good()).splitlines()

    assert '  "initial":[50.0,50.0,50.0],' in lines
    assert "   [99.0,50.0,50.0]," in lines


@pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"indent": 4, "sort_keys": True}])
def test_a_record_of_another_layout_is_read(layout: dict[str, Any]) -> None:
    record = records.good()
    values = json.loads(to_text(record))
    in_order = {key: values[key] for key in ("id", *Record.model_fields, "checksum")}

    assert from_text(json.dumps(in_order, **layout), Path(f"{record.id}.json")) == record


def test_a_record_as_written_is_checked_without_writing_its_numbers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clbench import records as module

    record = records.good()
    text = to_text(record)
    monkeypatch.setattr(module, "digest", None)  # would be called in vain

    assert from_text(text, Path(f"{record.id}.json")) == record


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_is_no_number_of_json_is_refused_whatever_its_checksum(number: float) -> None:
    values = json.loads(to_text(records.good()))
    values["config"]["task"]["params"]["odd"] = number
    del values["checksum"]
    text = canonical({"checksum": digest(values), **values})

    with pytest.raises(RecordError, match="not JSON"):
        from_text(text, Path("x.json"))


def test_a_failure_never_replaces_a_good_record(store: Store) -> None:
    store.put(records.bad())
    store.put(records.good())
    store.put(records.bad())

    found = store.find(toys.config())

    assert found is not None
    assert found.status == "ok"


def test_any_record_replaces_a_damaged_one(store: Store) -> None:
    store.put(records.good()).write_text("torn")

    store.put(records.bad())

    assert store.find(toys.config()) == records.bad()


def test_a_failure_does_not_replace_a_good_record_that_comes_while_it_is_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clbench import store as module

    really, others = module.written_whole, []

    def write(path: Path, *, durable: bool) -> AbstractContextManager[BinaryIO]:
        if not others:  # between the look and the writing
            others.append(Thread(target=Store(store.root).put, args=(records.good(),)))
            others[0].start()
            others[0].join(0.5)
        return really(path, durable=durable)

    monkeypatch.setattr(module, "written_whole", write)

    store.put(records.bad())
    others[0].join()

    assert store.find(toys.config()) == records.good()


def test_where_there_are_no_locks_records_are_kept_without(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def acquire(self: filelock.FileLock, **options: object) -> None:
        raise NotImplementedError("no locks")

    monkeypatch.setattr(filelock.FileLock, "acquire", acquire)

    store.put(records.good())

    assert store.find(toys.config()) == records.good()


def test_a_folder_that_cannot_be_written_to_is_an_error_with_its_path(tmp_path: Path) -> None:
    blocker = tmp_path / "results"
    blocker.write_text("a file, not a folder")

    with pytest.raises(
        ClbenchError, match=f"^cannot write {blocker}/records/.*json: Not a directory$"
    ):
        Store(blocker).put(records.good())


def test_a_write_that_fails_leaves_the_old_record_and_nothing_else(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.put(records.good())

    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(ClbenchError, match=r"json: No space left on device$"):
        store.put(records.good(last=10.0))

    assert store.find(toys.config()) == records.good()
    assert list(path.parent.iterdir()) == [path]


def test_two_processes_can_write_the_same_records_at_once(store: Store) -> None:
    code = (
        "import sys; sys.path[:0] = sys.argv[2:]; import records, toys\n"
        "from pathlib import Path; from clbench.store import Store\n"
        "store = Store(Path(sys.argv[1]))\n"
        "for i in range(200): store.put(records.good(toys.config(seed=i % 10)))\n"
    )
    here = str(Path(__file__).parent)
    command = [sys.executable, "-c", code, str(store.root), here]

    workers = [subprocess.Popen(command) for _ in range(2)]
    while any(worker.poll() is None for worker in workers):
        assert store.scan()[1] == ()  # a reader never meets a torn file
        time.sleep(0.02)

    assert [worker.returncode for worker in workers] == [0, 0]
    assert len(store.scan()[0]) == 10
    assert len(list((store.root / "records").iterdir())) == 10


def test_a_record_is_read_once_and_again_when_its_file_was_replaced(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clbench import store as module

    store.put(records.good(last=10.0))
    read: list[Path] = []
    really = module._read

    def counted(path: Path) -> Record:
        read.append(path)
        return really(path)

    monkeypatch.setattr(module, "_read", counted)

    first, second = store.find(toys.config()), store.find(toys.config())
    assert store.scan()[0] == (first,)
    store.put(records.good(last=20.0))  # as another process would: a new file
    third = store.find(toys.config())

    assert first is second
    assert third == records.good(last=20.0)
    assert len(read) == 2
    store.put(records.good(last=30.0))
    assert store.scan()[0] == (records.good(last=30.0),)


def test_a_file_of_equal_size_is_read_again_even_where_the_clock_is_coarse(store: Store) -> None:
    path = store.put(records.good(last=10.0))
    before = path.stat()
    assert store.find(toys.config()) == records.good(last=10.0)

    store.put(records.good(last=20.0))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert path.stat().st_size == before.st_size
    assert store.find(toys.config()) == records.good(last=20.0)


def test_a_table_without_gaps_reads_no_other_records(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clbench import tables

    monkeypatch.setattr(Store, "scan", None)  # would be called in vain
    suite = _suite_of(store)

    (section,) = tables.collect(suite, store, None).sections

    assert [line.status for line in section.lines] == ["ok"]


def _suite_of(store: Store) -> Suite:
    """A suite of one cell, which has a record."""
    row = Row("task", "method", "task", "method", (toys.config(),), None, ())
    store.put(records.good())
    return Suite(Path("toy.yaml"), "toy", "", "", "", None, (toys.config().seed,), {}, (row,))
