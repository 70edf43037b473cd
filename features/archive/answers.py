"""Looks up what became of answers in the archive: their labels, and how many each release gave.

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
from features.archive.lookup import may_hold
from tidemill.topics import EXAMPLES, PREDICTIONS

_LABEL = ("time", "prediction_id", "label", "label_time", "kind", "offset")
_VERSION = ("time", "release", "snapshot")


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


def find_labels(home: Path, project: str, prediction: str, time_ms: int) -> list[FoundLabel]:
    """What became of an answer to a request of this time; more than once where it was corrected."""
    rows = _labels(home, project, prediction, time_ms)
    return [msgspec.convert(row, FoundLabel) for row in rows]


def _labels(home: Path, project: str, prediction: str, time_ms: int) -> Iterator[dict[str, Any]]:
    """The examples of one prediction, those of the newest file first."""
    for path in reversed(committed_files(home, project, EXAMPLES, time_ms, time_ms + 1)):
        if not may_hold(path, "prediction_id", [prediction]):
            continue
        # One column tells whether the others are worth reading.
        narrow = stream_files([path], EXAMPLES, ("time", "prediction_id"))
        if not any(pc.any(pc.equal(t["prediction_id"], prediction)).as_py() for t in narrow):
            continue
        for table in stream_files([path], EXAMPLES, _LABEL):
            found = table.filter(pc.equal(table["prediction_id"], prediction))
            yield from found.to_pylist()


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
