"""Which archived examples count: each prediction once, up to where a learner goes on from.

The rules are those of `dataset.extract`, for archives that are larger than memory: keys are looked
at in buckets on disk, of which one fits, and what is left out is kept as a list of offsets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from batch.datasets.buckets import RECORD, Buckets, bucket_count
from batch.datasets.dataset import Quarantined
from batch.datasets.hashing import hash_strings, mixed
from features.archive.files import stream_files
from tidemill.topics import EXAMPLES

PIECE_ROWS = 1_000_000
SAMPLED = 1_000
"""Of each so many rows one label time is kept, to tell where the order can be cut."""
_LOW_BITS = np.uint64(2**22 - 1)
_NARROW = ("time", "label_time", "schema", "prediction_id", "offset", "join_partition", "sequence")


@dataclass(frozen=True, slots=True)
class Range:
    """Requests with `from_ms` <= time < `to_ms`."""

    from_ms: int | None = None
    to_ms: int | None = None


@dataclass
class Counted:
    """What was seen of the examples of a range before any is taken.

    `bound`: live examples at or past this offset are the learner's; `again`: offsets of examples
    that another one stands for; `label_times`: some of the taken rows' label times, one of
    each so many; `offsets` as in a manifest; `labelled_ms`: the newest label, `newest`: the last
    offset, of all that was looked at.
    """

    range: Range
    bound: int
    quarantined: Quarantined
    again: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    label_times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    rows: int = 0
    schemas: frozenset[str] = frozenset()
    offsets: dict[str, int] = field(default_factory=dict)
    labelled_ms: int = -(2**63)
    newest: int = -1

    def reached(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which examples are of the range and no learner's."""
        kept: NDArray[np.bool_] = table["offset"].to_numpy() < self.bound
        if self.range.to_ms is not None:
            kept &= table["time"].to_numpy() < self.range.to_ms
        return kept

    def counts(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which examples are taken."""
        offsets = table["offset"].to_numpy()
        kept = self.reached(table) & ~self.quarantined.holds(offsets)
        return kept & ~_among(offsets, self.again) if len(self.again) else kept


def count_once(
    files: Sequence[Path], range_: Range, quarantined: Quarantined, scratch: Path
) -> Counted:
    """Look at the examples of a range in these files of the archive. Raises OSError."""
    found = Counted(range_, _bound(files, range_, quarantined.since), quarantined)
    archived = sum(pq.ParquetFile(path).metadata.num_rows for path in files)
    buckets = bucket_count(archived)
    sequences, ids = (Buckets(scratch / name, buckets) for name in ("sequences", "ids"))
    sampled, schemas = [found.label_times], set[str]()
    for table in stream_files(files, EXAMPLES, _NARROW, range_.from_ms, PIECE_ROWS):
        found.labelled_ms = _largest(table["label_time"], found.labelled_ms)
        found.newest = _largest(table["offset"], found.newest)
        table = only(table, found.reached(table))
        _reach(found.offsets, table)
        table = only(table, ~quarantined.holds(table["offset"].to_numpy()))
        found.rows += len(table)
        sampled.append(table["label_time"].to_numpy()[::SAMPLED])
        schemas.update(table["schema"].unique().to_pylist())
        live = only(table, table["offset"].to_numpy() >= 0)
        sequences.add(_sequences(only(live, live["sequence"].to_numpy() >= 0)))
        ids.add(_ids(live))
    if found.offsets:
        found.offsets[f"{EXAMPLES}:0"] = min(found.bound, found.newest + 1)
    found.again = _again(sequences, ids)
    found.label_times = np.sort(np.concatenate(sampled))
    found.schemas = frozenset(schemas)
    return found


def only(table: pa.Table, rows: NDArray[np.bool_]) -> pa.Table:
    """Some of the rows; a copy only where it is needed."""
    return table if rows.all() else table.filter(pa.array(rows))


def newest_times(files: Sequence[Path]) -> tuple[int, int]:
    """The moment (ms) after the newest request, and that of the newest label."""
    newest, labelled = 0, 0
    for table in stream_files(files, EXAMPLES, ("time", "label_time")):
        newest = _largest(table["time"], newest)
        labelled = _largest(table["label_time"], labelled)
    return newest + 1, labelled


def _bound(files: Sequence[Path], range_: Range, since: int | None) -> int:
    """The first offset that is the learner's."""
    bound = 2**63 - 1 if since is None else since
    if range_.to_ms is None:
        return bound
    for table in stream_files(files, EXAMPLES, ("time", "offset"), range_.from_ms):
        offsets, times = (table[name].to_numpy() for name in ("offset", "time"))
        late = offsets[(offsets >= 0) & (times >= range_.to_ms)]
        bound = min(bound, int(late.min(initial=bound)))
    return bound


def _largest(column: pa.ChunkedArray, before: int) -> int:
    return int(column.to_numpy().max(initial=before))


def _reach(reached: dict[str, int], table: pa.Table) -> None:
    """Note how far each join partition's live rows go."""
    live = table["offset"].to_numpy() >= 0
    partitions, sequences = (table[n].to_numpy()[live] for n in ("join_partition", "sequence"))
    for partition in np.unique(partitions):
        highest = int(sequences[partitions == partition].max())
        name = f"sequence:{partition}"
        reached[name] = max(reached.get(name, highest), highest)


def _sequences(sent: pa.Table) -> NDArray[np.void]:
    records = np.empty(len(sent), RECORD)
    records["other"] = sent["join_partition"].to_numpy()
    records["key"] = mixed(sent["sequence"].to_numpy().view(np.uint64), records["other"])
    records["offset"] = sent["offset"].to_numpy()
    return records


def _ids(live: pa.Table) -> NDArray[np.void]:
    # Two hashes: that two ids of a billion examples agree in both has no chance.
    keys = hash_strings(live["prediction_id"], 1)
    records = np.empty(len(live), RECORD)
    records["key"], records["other"] = keys, hash_strings(live["prediction_id"], 2)
    records["offset"] = live["offset"].to_numpy()
    nameless = hash_strings(pa.chunked_array([pa.array([""])]), 1)[0]
    named: NDArray[np.void] = records[keys != nameless]
    return named


def _again(sequences: Buckets, ids: Buckets) -> NDArray[np.int64]:
    """What the join sent again, then all but the last example of each prediction."""
    resent = [np.empty(0, np.int64)]
    for records in sequences:
        some = _repeated(records)
        order = np.lexsort((some["offset"], some["other"], some["key"]))
        resent.append(some["offset"][order][_same_as_before(some[order])])
    again = np.sort(np.concatenate(resent))
    older = [again]
    for records in ids:
        some = _repeated(records[~_among(records["offset"], again)])
        order = np.lexsort((-some["offset"], some["other"], some["key"]))
        older.append(some["offset"][order][_same_as_before(some[order])])
    return np.sort(np.concatenate(older))


def _repeated(records: NDArray[np.void]) -> NDArray[np.void]:
    """Those whose key is not theirs alone."""
    keys = np.sort(records["key"])
    twice = np.unique(keys[1:][keys[1:] == keys[:-1]])
    found: NDArray[np.void] = records[_among(records["key"], twice)]
    return found


def _same_as_before(records: NDArray[np.void]) -> NDArray[np.bool_]:
    same = np.zeros(len(records), np.bool_)
    same[1:] = (records["key"][1:] == records["key"][:-1]) & (
        records["other"][1:] == records["other"][:-1]
    )
    return same


def _among(values: NDArray[np.generic], known: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Which values, whole numbers of 8 bytes, are among those known."""
    # Most are not, and their low bits say so at a tenth of what a hash table takes.
    bits, some = (np.ascontiguousarray(each).view(np.uint64) for each in (values, known))
    marks = np.zeros(int(_LOW_BITS) + 1, np.bool_)
    marks[some & _LOW_BITS] = True
    found: NDArray[np.bool_] = marks[bits & _LOW_BITS]
    maybe = np.flatnonzero(found)
    found[maybe] = pc.is_in(pa.array(bits[maybe]), value_set=pa.array(some)).to_numpy(False)
    return found
