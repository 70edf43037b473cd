"""Archived predictions by their ids: what was answered, and what it was computed from.

No more is read than the columns asked for, of the files that may hold the id; every call may block
on the disk.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from features.archive.files import committed_files, stream_files
from features.archive.lookup import logs_of, made_ms, may_hold, scored_around
from tidemill.topics import PREDICTIONS
from tidemill.wire import ArmScore

_ARMS = msgspec.msgpack.Decoder(list[ArmScore])


class FoundPrediction(msgspec.Struct, frozen=True):
    """One answer as it was logged; `partition` and `offset` are its place in the log.

    `learned_to` is how far in the examples the learner had come, None where a version logged it
    that did not say; `arm` says as what its model answered.
    """

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
    learned_to: int | None = None
    arm: str = "champion"


class LoggedPrediction(FoundPrediction, frozen=True):
    """The same with all it was computed from: the vector (float32), the request as JSON.

    `arms` is what the other models said of the same vector, as it lies in the archive.
    """

    vector: bytes = b""
    request: bytes | None = None
    arms: bytes | None = None

    @property
    def others(self) -> list[ArmScore]:
        """What the other models said; nothing where there were none."""
        return _ARMS.decode(self.arms) if self.arms else []


Found = TypeVar("Found", bound=FoundPrediction)


def find_prediction(home: Path, project: str, prediction: str) -> FoundPrediction | None:
    """The archived answer of this id, or None."""
    return _found(home, project, [prediction], FoundPrediction).get(prediction)


def find_predictions(home: Path, project: str, ids: Collection[str]) -> dict[str, LoggedPrediction]:
    """The archived answers of these ids by id, in one look; those that are nowhere are left out."""
    return _found(home, project, ids, LoggedPrediction)


def _found(home: Path, project: str, ids: Collection[str], kind: type[Found]) -> dict[str, Found]:
    rows = _rows(home, project, kind.__struct_fields__, set(ids))
    return {row["id"]: msgspec.convert(row, kind) for row in rows}


def _rows(
    home: Path, project: str, columns: tuple[str, ...], ids: set[str]
) -> Iterator[dict[str, Any]]:
    """The rows of these ids, each once."""
    files = committed_files(home, project, PREDICTIONS)
    logs = logs_of(files)
    times = {each: made_ms(each) for each in sorted(ids)}
    for each, time in times.items():
        if time is not None:
            yield from _in_files(scored_around(logs, time), columns, {each})
    untimed = {each for each, time in times.items() if time is None}
    yield from _in_files(reversed(files), columns, untimed)


def _in_files(
    paths: Iterable[Path], columns: tuple[str, ...], missing: set[str]
) -> Iterator[dict[str, Any]]:
    """The rows of these ids, those of the first file first, until none is missing."""
    for path in paths if missing else ():
        if not may_hold(path, "id", missing):
            continue
        wanted = pa.array(sorted(missing), pa.string())
        # One column tells whether the others are worth reading.
        narrow = stream_files([path], PREDICTIONS, ("time", "id"))
        if not any(pc.any(pc.is_in(each["id"], value_set=wanted)).as_py() for each in narrow):
            continue
        for table in stream_files([path], PREDICTIONS, columns):
            for row in table.filter(pc.is_in(table["id"], value_set=wanted)).to_pylist():
                if row["id"] in missing:  # an api that got no answer from the broker sends again
                    missing.discard(row["id"])
                    yield row
        if not missing:
            return
