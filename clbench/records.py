"""Record: what one cell gave, and its JSON form."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import from_json

from clbench.config import CellConfig, digest
from clbench.errors import RecordError
from clbench.params import Params

FORMAT: Literal[1] = 1

Status = Literal["ok", "failed", "timed-out", "out-of-memory", "skipped"]


class MetricInfo(Params):
    """The metric of R, as stored (see `clbench.metrics.Metric`)."""

    name: str
    unit: str
    better: Literal["higher", "lower"]


class Curve(Params):
    """Learning of one task, sampled at about a hundred points."""

    task: int
    """Task id (in joint training: 0)."""
    iterations: tuple[int, ...]
    """Steps taken on the task, at each point."""
    loss: tuple[float, ...]
    """Mean task loss since the previous point."""
    score: tuple[float, ...]
    """Training score of the batch at each point, before the step on it, in the metric's unit."""


class Online(Params):
    """Prediction before update, of a task-free stream: means over the samples of each task."""

    loss: tuple[float, ...]
    """(K,): mean loss."""
    score: tuple[float, ...]
    """(K,): score in the metric's unit."""
    plasticity: tuple[float, ...] = ()
    """(K,): mean plasticity; empty where it was not measured."""
    first_loss: tuple[float, ...] = ()
    """(K,): loss of the first sample of each task, for windows that are off by one."""
    first_score: tuple[float, ...] = ()
    """(K,): score of the first sample of each task."""


class Result(Params):
    """What a cell measured; equal for equal configurations on equal hardware."""

    metric: MetricInfo
    R: tuple[tuple[float | None, ...], ...]
    """(K, K): score on task j after learning task i; None where not measured."""
    initial: tuple[float | None, ...]
    """(K,): score on each task before any learning (for forward transfer)."""
    curves: tuple[Curve, ...]
    num_parameters: dict[str, int]
    """``trained``: numbers that learning changes; ``main_net``: those of the main net."""
    iterations: int
    """Training steps in all."""
    online: Online | None = None
    """Given for task-free streams, and only for them."""
    statistics: dict[str, tuple[float, ...]] = Field(default_factory=dict)
    """Name -> (K,): what the nets and learners tell of themselves after each task."""
    artefacts: dict[str, tuple[tuple[float, ...], ...]] = Field(default_factory=dict)
    """Name -> matrix: what the learner shows of itself at the end, such as task embeddings."""


class Timing(Params):
    """Seconds of wall time by what they were spent on."""

    data: float
    train: float
    consolidate: float
    evaluate: float
    total: float


class Failure(Params):
    """Why a cell has no result."""

    type: str
    message: str
    traceback: str
    where: str = ""
    """The last place in a plugin, or else in clbench: ``package/module.py:71``; empty: unknown."""

    @field_validator("*", mode="before")
    @classmethod
    def _writable(cls, text: Any) -> Any:
        """Half characters, as of file names that are not UTF-8, cannot be written."""
        return text.encode(errors="replace").decode() if isinstance(text, str) else text


class Provenance(Params):
    """Where and with what a record was made; never part of its identity."""

    suite: str
    row: str
    started: str
    """UTC, ISO 8601."""
    commit: str | None
    dirty: bool | None
    packages: dict[str, str]
    python: str
    platform: str
    cpu: str
    device: str
    threads: int
    peak_memory_mib: float | None
    notes: tuple[str, ...] = ()
    """What went wrong without changing the result, such as a checkpoint that cannot be read."""
    lockstep: int = 1
    """Cells of other seeds that ran as one program with this one, and itself."""
    code: dict[str, str] = Field(default_factory=dict)
    """Third-party distribution that the cell used -> digest of its source code."""


class Record(Params):
    """One cell's outcome; one JSON file."""

    format: Literal[1] = FORMAT
    status: Status
    config: CellConfig
    result: Result | None = None
    """Given exactly where status is ``ok``."""
    failure: Failure | None = None
    """Given where status is anything else."""
    timing: Timing | None = None
    provenance: Provenance | None = Field(default=None)

    @model_validator(mode="after")
    def _check(self) -> Record:
        if (self.status == "ok") != (self.result is not None):
            raise ValueError("a result is given exactly where the status is ok")
        return self

    @property
    def id(self) -> str:
        """Of the configuration."""
        return self.config.id


class _Stored(Record):
    """A record with what a file adds to it; checked as it stands, as a thousand files are read."""

    stored_id: str = Field(alias="id")
    checksum: str


_WITHIN_ROW = re.compile(r"\n +(?=[-0-9n])|(?<=[0-9l])\n +(?=\])")
"""The line breaks beside the numbers and nulls of a list."""


def to_text(record: Record) -> str:
    """The content of a record file: indented JSON with the id and a checksum.

    Lists of numbers are on one line. Keys are sorted, and no space is after a colon: less its line
    breaks and indentation it is the canonical text that the checksum is of, but for the checksum
    itself, which comes first.
    """
    values: dict[str, Any] = {"id": record.id, **record.model_dump(mode="json")}
    values["checksum"] = digest(values)
    layout: dict[str, Any] = {"indent": 1, "sort_keys": True, "separators": (",", ":")}
    text = json.dumps(values, **layout, ensure_ascii=False, allow_nan=False)
    return _WITHIN_ROW.sub("", text) + "\n"


def from_text(text: str, path: Path) -> Record:
    """The record in the text of a file.

    Raises:
        RecordError: The file is truncated, was changed by hand, or is of another format.
    """
    if not _is_as_written(text):
        _check(text, path)
    try:
        stored = _Stored.model_validate_json(text, strict=True)
    except ValidationError as error:
        _check(text, path)  # it may know a better reason
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RecordError(path, f"{where}: {first['msg'].lower()}") from error
    record = Record.model_construct(**{name: getattr(stored, name) for name in Record.model_fields})
    found_id = record.id
    if stored.stored_id != found_id:
        what = f"its id {stored.stored_id} is not that of its configuration, {found_id}"
        raise RecordError(path, what)
    if path.stem != found_id:
        raise RecordError(path, f"the file name is not the id of the record, {found_id}")
    return record


_CHECKSUM = re.compile(r'\{"checksum":"([0-9a-f]{64})",')


def _is_as_written(text: str) -> bool:
    """Whether a text has the layout of `to_text` and, if it is JSON, a checksum that fits.

    No string of JSON has a line break in it, so none is changed where lines are put together.
    Other layouts are for `_check`, which is slow: it writes every number anew.
    """
    joined = "".join(map(str.lstrip, text.split("\n")))
    found = _CHECKSUM.match(joined)
    if found is None or "NaN" in text or "Infinity" in text:  # JSON has no such numbers
        return False
    return found[1] == hashlib.sha256(b"{" + joined[found.end() :].encode()).hexdigest()


def _check(text: str, path: Path) -> None:
    """Whether a text of any layout is JSON, a record's, of this format, and undamaged.

    Raises:
        RecordError: It is not.
    """
    try:
        values = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise RecordError(path, f"not JSON, perhaps truncated ({error})") from error
    if not isinstance(values, dict):
        raise RecordError(path, "expected a record, found something else")
    found_format = values.get("format")
    if found_format != FORMAT:
        raise RecordError(path, f"format {found_format!r}, this version reads format {FORMAT}")
    checksum = values.pop("checksum", None)
    if checksum != digest(values):
        raise RecordError(path, "its checksum does not fit: damaged, or edited by hand")
