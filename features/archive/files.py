"""The archive: what went over the topics, as Parquet by project, topic and date, once."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tidemill.arm_scores import DEFAULT, of_champion
from tidemill.durable import sync_folder, write_whole
from tidemill.durations import DAY_MS
from tidemill.errors import FencedError
from tidemill.topics import EVENTS, EXAMPLES, PREDICTIONS
from tidemill.wire import Example, Prediction

BACKFILL = "backfill"
"""The partition of rows that were computed from history instead of being read from a topic."""

_EPOCH = date(1970, 1, 1)
_ORIGIN = [("partition", pa.int32()), ("offset", pa.int64())]
_VERSION = [("release", pa.string()), ("snapshot", pa.int64())]
# When the broker stamped the record; in rows of history the time itself.
_KNOWN = ("known_ms", pa.int64())

# `body` is the producer's JSON as it came, of a CloudEvent with what its attributes say.
_TEXTS = [(name, pa.string()) for name in ("event", "id", "key")]
_EVENT = [("time", pa.int64()), *_TEXTS, ("body", pa.binary())]

ARCHIVE_SCHEMAS: dict[str, pa.Schema] = {
    EVENTS: pa.schema([*_EVENT, *_ORIGIN, _KNOWN]),
    PREDICTIONS: pa.schema(
        [
            ("time", pa.int64()),
            ("id", pa.string()),
            ("key", pa.string()),
            ("vector", pa.binary()),
            ("schema", pa.string()),
            ("score", pa.float64()),
            ("baseline", pa.float64()),
            *_VERSION,
            ("scored_ms", pa.int64()),
            *_ORIGIN,
            _KNOWN,
            ("request", pa.binary()),
            # How far in the examples the learner had come, as what its model answered, and what the
            # other models said (msgpack, list of ArmScore); null in rows of versions without.
            ("learned_to", pa.int64()),
            ("arm", pa.string()),
            ("arms", pa.binary()),
        ]
    ),
    # Backfilled rows have partition, offset, join_partition and sequence -1; `score` is NaN where
    # nothing was served.
    EXAMPLES: pa.schema(
        [
            ("time", pa.int64()),
            ("key", pa.string()),
            ("vector", pa.binary()),
            ("schema", pa.string()),
            ("label", pa.float64()),
            ("label_time", pa.int64()),
            ("score", pa.float64()),
            ("baseline", pa.float64()),
            *_VERSION,
            *_ORIGIN,
            ("prediction_id", pa.string()),
            # Where the join made it: gap-free per partition, so that a re-sent example is known.
            ("join_partition", pa.int32()),
            ("sequence", pa.int64()),
            _KNOWN,
            # When the prediction was made and the request it answered; null in backfilled rows
            # that keep none.
            ("scored_ms", pa.int64()),
            ("request", pa.binary()),
            # How much it weighed for the learner, the part of that which makes up for negatives
            # that were left out, what kind of example it is, and who sent the label.
            ("weight", pa.float64()),
            ("sampled", pa.float64()),
            ("kind", pa.string()),
            ("producer", pa.string()),
        ]
    ),
}
_BEFORE: dict[str, float | str] = {
    "weight": 1.0, "sampled": 1.0, "kind": "label", "producer": "", "arm": "champion",
}  # fmt: skip
"""What columns that came later say of rows that are older; what is not named here is null."""


class ArchiveWriter:
    """Appends one partition of one topic; a record is archived once, however often its writer dies.

    Data files are complete before `_commits/` says so, all under a lock that dies with the process.
    Opening takes the partition over: files past the commit are deleted, and a writer that had it
    before is refused. Every call may block on the disk.
    """

    def __init__(self, home: Path, project: str, topic: str, partition: int | str) -> None:
        self._schema = ARCHIVE_SCHEMAS[topic]
        self._folder = _topic_folder(home, project, topic)
        self._partition = str(partition)
        commits = _commits_folder(home, project)
        commits.mkdir(parents=True, exist_ok=True)
        self._commit = commits / f"{topic}-{partition}.json"
        self._name = uuid.uuid4().hex
        with self._locked():
            self.next_offset = _committed(self._commit)["next_offset"]
            """The offset to go on reading from: every record before it is archived."""
            self._delete_uncommitted()
            self._write_commit(self.next_offset)

    def write(self, table: pa.Table, next_offset: int) -> None:
        """Archive the records from `self.next_offset` to `next_offset`, split by their date.

        `table` has the topic's columns. A table without rows only moves the offset on. Raises
        FencedError, and writes nothing, when another writer took the partition over.
        """
        if not table.schema.equals(self._schema):
            raise ValueError(f"table: found {table.schema}; allowed: {self._schema}")
        if next_offset < self.next_offset + bool(table.num_rows):
            raise ValueError(f"next_offset: found {next_offset}; allowed: > {self.next_offset}")
        with self._locked():
            self._check_owner()
            name = f"{self._partition}-{self.next_offset:012d}-{next_offset - 1:012d}.parquet"
            for day, rows in _by_date(table):
                _write_parquet(self._folder / f"date={day}" / name, rows)
            self._write_commit(next_offset)
        self.next_offset = next_offset

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open(self._commit.with_suffix(".lock"), "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _check_owner(self) -> None:
        found = _committed(self._commit)
        expected = {"next_offset": self.next_offset, "writer": self._name}
        if found != expected:
            raise FencedError(f"{self._commit.name}: found {found}; allowed: {expected}")

    def _delete_uncommitted(self) -> None:
        for path in self._folder.glob(f"date=*/{self._partition}-*"):
            if path.suffix != ".parquet" or _last_offset(path) >= self.next_offset:
                path.unlink()

    def _write_commit(self, next_offset: int) -> None:
        content = json.dumps({"next_offset": next_offset, "writer": self._name}).encode()
        write_whole(self._commit, content)


def read_archive(
    home: Path,
    project: str,
    topic: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> pa.Table:
    """The committed records with `from_ms` <= time < `to_ms`, by date, then partition, then offset.

    An archive that does not exist is empty; a column that an older file lacks is null, or what it
    would have said.
    """
    tables = [ARCHIVE_SCHEMAS[topic].empty_table()]
    for path in committed_files(home, project, topic, from_ms, to_ms):
        table = pq.ParquetFile(path).read()
        tables.append(_inside(table, ARCHIVE_SCHEMAS[topic], from_ms, to_ms))
    return pa.concat_tables(tables)


def stream_files(
    paths: Iterable[Path],
    topic: str,
    columns: Sequence[str],
    from_ms: int | None = None,
    rows: int = 262_144,
) -> Iterator[pa.Table]:
    """Some columns, `time` among them, of these files, in tables of about so many rows."""
    schema = pa.schema([field for field in ARCHIVE_SCHEMAS[topic] if field.name in columns])
    waiting: list[pa.Table] = []
    for path in paths:
        file = pq.ParquetFile(path)
        stored = [name for name in schema.names if name in file.schema_arrow.names]
        for batch in file.iter_batches(rows, columns=stored):
            waiting.append(_inside(pa.Table.from_batches([batch]), schema, from_ms))
            if sum(map(len, waiting)) >= rows:
                yield pa.concat_tables(waiting)
                waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def committed_files(
    home: Path,
    project: str,
    topic: str,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> list[Path]:
    """The whole files that may hold records of this range, in the order of `read_archive`."""
    # Commits first: a file that is committed after this look is left for the next one.
    committed = _all_committed(home, project, topic)
    files = _files(_topic_folder(home, project, topic), from_ms, to_ms)
    return [path for path in files if _last_offset(path) < committed.get(_partition_of(path), 0)]


def _inside(
    table: pa.Table, schema: pa.Schema, from_ms: int | None, to_ms: int | None = None
) -> pa.Table:
    """The rows of the range, with every column of the schema."""
    table = _completed(table, schema)
    if from_ms is not None:
        table = table.filter(pc.greater_equal(table["time"], from_ms))
    return table if to_ms is None else table.filter(pc.less(table["time"], to_ms))


def _completed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns it lacks, in the schema's order and types."""
    for field in schema:
        if field.name not in table.column_names:
            value = pa.scalar(_BEFORE.get(field.name), field.type)
            table = table.append_column(field, pa.repeat(value, len(table)))
    return table.select(schema.names).cast(schema)


def read_examples(
    home: Path, project: str, from_ms: int | None = None, to_ms: int | None = None
) -> pa.Table:
    """The archived examples of a time range, as `read_archive` gives them."""
    return read_archive(home, project, EXAMPLES, from_ms, to_ms)


def committed_offsets(home: Path, project: str, topic: str) -> dict[str, int]:
    """For each partition that is archived, the offset before which every record is."""
    return _all_committed(home, project, topic)


def archived_rows(home: Path, project: str, topic: str) -> int:
    """How many committed records there are; reads no more than the files' ends."""
    return sum(
        pq.ParquetFile(path).metadata.num_rows for path in committed_files(home, project, topic)
    )


def read_in_order(
    home: Path, project: str, topic: str, partition: str, until: int
) -> Iterator[pa.Table]:
    """One partition's records before the offset `until` in the order of its log, in parts.

    What was computed from history has no order but that of its times.
    """
    folder, by_time = _topic_folder(home, project, topic), partition == BACKFILL
    parts: dict[str, list[Path]] = {}
    for path in sorted(folder.glob(f"date=*/{partition}-*.parquet")):
        if _last_offset(path) < until:  # what was archived together lies in a file for each date
            parts.setdefault(str(path) if by_time else path.name, []).append(path)
    for name in parts if by_time else sorted(parts):
        tables = [_completed(pq.ParquetFile(p).read(), ARCHIVE_SCHEMAS[topic]) for p in parts[name]]
        yield pa.concat_tables(tables).sort_by("time" if by_time else "offset")


def continues_a_log(home: Path) -> bool:
    """True when any project's archive has read from a topic and goes on from its offset."""
    commits = (home / "archive").glob("project=*/_commits/*.json")
    live = (path for path in commits if not path.stem.endswith(f"-{BACKFILL}"))
    return any(_committed(path)["next_offset"] > 0 for path in live)


def predictions_table(
    predictions: Sequence[Prediction],
    partition: int,
    offsets: Sequence[int],
    known_ms: Sequence[int],
) -> pa.Table:
    """Predictions of one partition of their topic as the archive keeps them."""
    columns = _shared_columns(predictions, partition, offsets, known_ms)
    columns["id"] = [p.id for p in predictions]
    columns["learned_to"] = [p.offset for p in predictions]
    columns["arm"] = [p.arm for p in predictions]
    columns["arms"] = [msgspec.msgpack.encode(p.arms) if p.arms else None for p in predictions]
    return pa.table(columns, schema=ARCHIVE_SCHEMAS[PREDICTIONS])


def examples_table(
    examples: Sequence[Example],
    partition: int,
    offsets: Sequence[int],
    known_ms: Sequence[int],
) -> pa.Table:
    """Examples of one partition of their topic as the archive keeps them.

    Their score is the champion's, which models are judged against, whoever answered; NaN where the
    default head did. The predictions say what was answered.
    """
    predictions = [_judged(example.prediction) for example in examples]
    columns = _shared_columns(predictions, partition, offsets, known_ms)
    columns["prediction_id"] = [example.prediction.id for example in examples]
    columns["join_partition"] = [example.partition for example in examples]
    for name in ("label", "label_time", "sequence", "weight", "sampled", "kind", "producer"):
        columns[name] = [getattr(example, name) for example in examples]
    return pa.table(columns, schema=ARCHIVE_SCHEMAS[EXAMPLES])


def _judged(prediction: Prediction) -> Prediction:
    if prediction.arm == DEFAULT:
        return msgspec.structs.replace(prediction, score=math.nan)
    return of_champion(prediction)


_REPEATING = ("event", "schema", "release", "weight", "sampled", "kind", "producer", "arm")
_SHARED = (
    "time", "key", "vector", "schema", "score", "baseline", "release", "snapshot", "scored_ms",
)  # fmt: skip


def _shared_columns(
    predictions: Sequence[Prediction],
    partition: int,
    offsets: Sequence[int],
    known_ms: Sequence[int],
) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {n: [getattr(p, n) for p in predictions] for n in _SHARED}
    columns["request"] = [p.request or None for p in predictions]
    columns["partition"] = [partition] * len(predictions)
    columns["offset"] = list(offsets)
    columns["known_ms"] = list(known_ms)
    return columns


def _topic_folder(home: Path, project: str, topic: str) -> Path:
    return home / "archive" / f"project={project}" / f"topic={topic}"


def _commits_folder(home: Path, project: str) -> Path:
    return home / "archive" / f"project={project}" / "_commits"


def _committed(path: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {"next_offset": 0}
    return found


def _all_committed(home: Path, project: str, topic: str) -> dict[str, int]:
    return {
        path.stem.removeprefix(f"{topic}-"): _committed(path)["next_offset"]
        for path in _commits_folder(home, project).glob(f"{topic}-*.json")
    }


def _partition_of(path: Path) -> str:
    return path.stem.split("-")[0]


def _last_offset(path: Path) -> int:
    return int(path.stem.split("-")[2])


def _files(folder: Path, from_ms: int | None, to_ms: int | None) -> list[Path]:
    def overlaps(day: Path) -> bool:
        start = (date.fromisoformat(day.name.removeprefix("date=")) - _EPOCH).days * DAY_MS
        begun = to_ms is None or start < to_ms
        return begun and (from_ms is None or start + DAY_MS > from_ms)

    days = sorted(day for day in folder.glob("date=*") if overlaps(day))
    return [path for day in days for path in sorted(day.glob("*.parquet"))]


def _by_date(table: pa.Table) -> Iterator[tuple[date, pa.Table]]:
    days = table["time"].to_numpy() // DAY_MS
    for day in np.unique(days):
        yield _EPOCH + timedelta(days=int(day)), table.filter(pa.array(days == day))


def _write_parquet(path: Path, table: pa.Table) -> None:
    """Write to a name nobody reads, then give it its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staging = path.with_suffix(".tmp")
    # Ids, keys, vectors, bodies and offsets hardly repeat: a dictionary would only cost time.
    repeating = [f.name for f in table.schema if f.name in _REPEATING]
    with open(staging, "wb") as file:
        pq.write_table(table, file, compression="zstd", use_dictionary=repeating)
        file.flush()
        os.fsync(file.fileno())
    os.rename(staging, path)
    sync_folder(path.parent)
