"""The files of checkpoints: which are taken, and what damage and other programs do to them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clbench import checkpoints, provenance
from clbench.checkpoints import Checkpoints, reread

PROGRAM = {"clbench": "0"}


def _saved(folder: Path, *numbers: int) -> Checkpoints:
    kept = Checkpoints("cell", PROGRAM, folder=folder)
    for number in numbers:
        kept.save({"number": number, "tensor": torch.full((3,), float(number))})
    return kept


def _load(folder: Path, program: dict[str, str] = PROGRAM) -> tuple[Any, list[str]]:
    found = Checkpoints("cell", program, folder=folder)
    states = found.load()
    return states[0]["number"] if states else None, found.notes


def test_the_newest_of_two_generations_is_taken(tmp_path: Path) -> None:
    assert _load(tmp_path) == (None, [])

    _saved(tmp_path, 1, 2, 3)

    assert sorted(path.name for path in (tmp_path / "cell").iterdir()) == ["0.pt", "1.pt"]
    assert _load(tmp_path) == (3, [])


def test_who_goes_on_keeps_its_last_checkpoint_beside_the_next(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2, 3)
    kept = Checkpoints("cell", PROGRAM, folder=tmp_path)

    kept.load()
    kept.save({"number": 4})

    assert [state["number"] for state in kept.load()] == [4, 3]


def test_a_checkpoint_is_due_so_many_seconds_after_the_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(checkpoints, "time", clock)
    kept = Checkpoints("cell", PROGRAM, seconds=10.0, folder=tmp_path)

    def is_due(now: float) -> bool:
        clock.now = now
        return kept.is_due

    assert [is_due(109.0), is_due(110.0), is_due(115.0)] == [False, True, True]
    kept.save({})
    assert [is_due(124.0), is_due(125.0)] == [False, True]


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 truncated"])
def test_where_the_newer_is_damaged_the_older_serves(tmp_path: Path, content: bytes) -> None:
    _saved(tmp_path, 1, 2, 3)
    (tmp_path / "cell" / "1.pt").write_bytes(content)

    number, notes = _load(tmp_path)

    assert number == 2
    assert len(notes) == 1
    assert notes[0].startswith("checkpoint 1.pt cannot be read (")


@pytest.mark.parametrize("missing", ["number", "state"])
def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path, missing: str) -> None:
    _saved(tmp_path, 1)
    path = tmp_path / "cell" / "1.pt"
    content = torch.load(path)
    del content[missing]
    torch.save(content, path)
    torch.save([content], path.with_name("0.pt"))

    number, notes = _load(tmp_path)

    assert number is None
    assert notes == ["checkpoint 0.pt is no checkpoint", "checkpoint 1.pt is no checkpoint"]


def test_a_flipped_byte_anywhere_does_no_harm(tmp_path: Path) -> None:
    _saved(tmp_path, 1, 2)
    path = tmp_path / "cell" / "0.pt"
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        number, _ = _load(tmp_path)
        assert number in (1, 2)


def test_checkpoints_of_another_program_are_left_alone(tmp_path: Path) -> None:
    _saved(tmp_path, 1)

    number, notes = _load(tmp_path, {"clbench": "1"})

    assert number is None
    assert notes == ["checkpoint 1.pt was made by another version, code or device"]


def test_the_program_is_another_where_the_code_of_a_plugin_is(tmp_path: Path) -> None:
    before, after = (provenance.program(code={"anchor": digit}) for digit in "01")
    Checkpoints("cell", before, folder=tmp_path).save({"number": 1})

    assert _load(tmp_path, before) == (1, [])
    assert _load(tmp_path, after)[0] is None
    assert after == provenance.program() | {"code of anchor": "1"}


@pytest.mark.parametrize("checkout", [("1234", True), (None, None)], ids=["changes", "no-git"])
def test_the_program_is_another_where_code_that_no_commit_stands_for_is_another(
    checkout: tuple[str | None, bool | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provenance, "_checkout", lambda: checkout)
    before = provenance.program()
    monkeypatch.setattr(provenance.sources, "digest", lambda packages: "another")
    after = provenance.program()
    monkeypatch.setattr(provenance, "_checkout", lambda: (checkout[0], False))
    clean = provenance.program()

    assert before.pop("code") not in ("another", "unknown")
    assert after.pop("code") == "another"
    assert before == after == clean


def test_a_checkout_that_clbench_is_only_installed_below_is_not_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for words in ("init", "-c user.name=a -c user.email=a@b commit --allow-empty -m one"):
        subprocess.run(["git", "-C", tmp_path, *words.split()], check=True, capture_output=True)
    installed = tmp_path / "venv" / "lib"
    installed.mkdir(parents=True)
    provenance._checkout.cache_clear()
    try:
        monkeypatch.setattr(provenance, "_HERE", tmp_path.resolve())
        commit, dirty = provenance._checkout()
        assert (len(commit or ""), dirty) == (40, False)
        provenance._checkout.cache_clear()
        monkeypatch.setattr(provenance, "_HERE", installed.resolve())
        assert provenance._checkout() == (None, None)
    finally:
        provenance._checkout.cache_clear()


def test_a_malicious_checkpoint_runs_no_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (os.system, (f"touch {tmp_path / 'pwned'}",))

    folder = tmp_path / "cell"
    folder.mkdir()
    torch.save({"number": 1, "state": Evil()}, folder / "0.pt")

    number, notes = _load(tmp_path)

    assert number is None
    assert notes == ["checkpoint 0.pt cannot be read (UnpicklingError)"]
    assert not (tmp_path / "pwned").exists()


def test_a_folder_that_cannot_be_written_to_costs_a_note_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    kept = Checkpoints("cell", PROGRAM, folder=tmp_path / "file")
    kept.save({})
    kept.save({})

    assert len(kept.notes) == 1
    assert kept.notes[0].startswith("checkpoint cannot be written (")


def _no_space(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


def _torn(*arguments: object) -> None:
    raise RuntimeError("unexpected pos 64 vs 0")  # what torch makes of a full disk


@pytest.mark.parametrize(
    ("value", "notes"),
    [
        (
            (n for n in range(3)),
            ["checkpoint cannot be written (TypeError: cannot pickle 'generator' object)"],
        ),
        (Path(), ["checkpoint 1.pt cannot be read (UnpicklingError)"]),
    ],
)
def test_what_a_checkpoint_cannot_hold_is_noted_when_the_first_is_written(
    value: object, notes: list[str], tmp_path: Path
) -> None:
    kept = Checkpoints("cell", PROGRAM, folder=tmp_path)

    kept.save({"number": 1, "seen": value})
    kept.save({"number": 2, "seen": value})

    assert kept.notes == notes
    with pytest.raises(ValueError, match=r"^a checkpoint cannot hold the state "):
        reread({"seen": value})


def test_a_state_comes_back_as_a_checkpoint_gives_it() -> None:
    back = reread({"seen": (1, "two"), "none": None, "tensor": torch.arange(3)})

    assert (back["seen"], back["none"]) == ([1, "two"], None)
    assert torch.equal(back["tensor"], torch.arange(3))


@pytest.mark.parametrize(
    ("where", "fails", "cause"),
    [
        ("os.fsync", _no_space, "OSError: [Errno 28] No space left on device"),
        ("torch.save", _torn, "RuntimeError: unexpected pos 64 vs 0"),
    ],
)
def test_a_full_disk_costs_a_note_only_and_the_older_serves(
    where: str, fails: Any, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = _saved(tmp_path, 1)
    with monkeypatch.context() as patch:
        patch.setattr(where, fails)
        kept.save({"number": 2})

    assert kept.notes == [f"checkpoint cannot be written ({cause})"]
    assert _load(tmp_path) == (1, [])


def test_a_folder_that_cannot_be_read_costs_a_note_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(folder: Path, pattern: str) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "glob", refused)  # root may read everything

    number, notes = _load(tmp_path)

    assert number is None
    assert notes == [
        f"checkpoints cannot be read ([Errno 13] Permission denied: '{tmp_path}/cell')"
    ]


def test_the_cache_is_where_the_variable_says_and_forgetting_is_thorough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLBENCH_CACHE", str(tmp_path))
    Checkpoints("cell", PROGRAM).save({})
    assert (tmp_path / "checkpoints" / "cell" / "1.pt").exists()

    checkpoints.forget("cell")
    checkpoints.forget("never-there")

    assert list((tmp_path / "checkpoints").iterdir()) == []
