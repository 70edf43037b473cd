"""Looks answers up in the archive: one by its id, and how many each release gave.

No more is read than the columns asked for; every call may block on the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features.archive.files import committed_files, stream_files
from tidemill.topics import EXAMPLES, PREDICTIONS

_PREDICTION = (
    "id", "time", "key", "schema", "score", "baseline", "release", "snapshot", "scored_ms",
    "partition", "offset",
)  # fmt: skip
_LABEL = ("time", "prediction_id", "label", "label_time", "kind", "offset")
_VERSION = ("time", "release", "snapshot")


class FoundPrediction(msgspec.Struct, frozen=True):
    """One answer as it was logged; `partition` and `offset` are its place in the log."""

    id: str
    time: int
    key: str
    schema: str
    score: float
    baseline: float
    release: str
    snapshot: int
    scored_ms: int
    partition: int
    offset: int


class FoundLabel(msgspec.Struct, frozen=True):
    """The outcome of an answer; `offset` is its place among the examples."""

    label: float
    label_time: int
    kind: str
    offset: int


class Answered(msgspec.Struct, frozen=True):
    """How many answers, and the times of the first and the last request (ms)."""

    count: int
    first_ms: int
    last_ms: int


def find_prediction(home: Path, project: str, prediction: str) -> FoundPrediction | None:
    """The archived answer of this id, or None."""
    row = next(_rows(home, project, PREDICTIONS, _PREDICTION, ("id", prediction)), None)
    return None if row is None else msgspec.convert(row, FoundPrediction)


def find_labels(home: Path, project: str, prediction: str) -> list[FoundLabel]:
    """The archived outcomes of an answer; more than one when it was corrected."""
    rows = _rows(home, project, EXAMPLES, _LABEL, ("prediction_id", prediction))
    return [msgspec.convert(row, FoundLabel) for row in rows]


def _rows(
    home: Path, project: str, topic: str, columns: tuple[str, ...], wanted: tuple[str, str]
) -> Iterator[dict[str, Any]]:
    """The rows of which one column has this value, those of the newest file first."""
    name, value = wanted
    for path in reversed(committed_files(home, project, topic)):
        # One column tells whether the others are worth reading.
        narrow = stream_files([path], topic, ("time", name))
        if not any(pc.any(pc.equal(table[name], value)).as_py() for table in narrow):
            continue
        for table in stream_files([path], topic, columns):
            found = table.filter(pc.equal(table[name], value))
            yield from ({**row, "id": value} for row in found.to_pylist())


def answered_by(
    home: Path, project: str, release: str, snapshot: int | None = None
) -> Answered | None:
    """The archived answers of a release, or of one snapshot of it; None when there are none."""
    count, first, last = 0, 2**63 - 1, -(2**63)
    files = committed_files(home, project, PREDICTIONS)
    for table in stream_files(files, PREDICTIONS, _VERSION):
        mine = pc.equal(table["release"], release)
        if snapshot is not None:
            mine = pc.and_(mine, pc.equal(table["snapshot"], snapshot))
        times: pa.ChunkedArray = table.filter(mine)["time"]
        if len(times):
            ends = pc.min_max(times).as_py()
            count += len(times)
            first, last = min(first, ends["min"]), max(last, ends["max"])
    return Answered(count, first, last) if count else None
