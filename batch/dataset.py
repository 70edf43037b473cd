"""Labelled examples of a time range as arrays, and how far in the log they reach."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.archive import read_examples
from tidemill.schema import FeatureSchema
from tidemill.topics import EXAMPLES


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples in the order in which their labels came; every array has one row for each."""

    vectors: NDArray[np.float32]  # (rows, features), NaN = missing
    labels: NDArray[np.int8]
    times: NDArray[np.int64]  # when scored, ms
    label_times: NDArray[np.int64]  # when the outcome came, ms
    scores: NDArray[np.float64]  # what was answered, NaN in backfilled rows
    baselines: NDArray[np.float64]  # what the frozen release said then
    live: NDArray[np.bool_]  # answered, not backfilled

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Dataset:
        """Some of the rows, by mask or by number."""
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})


@dataclass(frozen=True, slots=True)
class Extract:
    """A dataset and where it comes from.

    `offsets` is for a release's manifest: `examples:0` is the next offset of the examples topic,
    `sequence:P` the highest sequence of join partition P before it; empty when nothing was live.
    `other_schema` counts the examples left out because their vectors have another schema.
    """

    data: Dataset
    offsets: dict[str, int]
    other_schema: int


def extract(
    home: Path,
    project: str,
    schema: FeatureSchema,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> Extract:
    """Read the archive's examples with `from_ms` <= time < `to_ms`, each once.

    A learner catches up from one offset. So a live example at or past the first one that `to_ms`
    leaves out stays out too: the learner gets it, and none is trained on and learned again.
    """
    table = read_examples(home, project, from_ms)
    table, offsets = _up_to(table, to_ms)
    table = _each_once(table)
    fitting = table.filter(pc.equal(table["schema"], schema.hash))
    data = _dataset(fitting, len(schema.names))
    return Extract(data, offsets, len(table) - len(fitting))


def _up_to(table: pa.Table, to_ms: int | None) -> tuple[pa.Table, dict[str, int]]:
    offsets = table["offset"].to_numpy()
    live = offsets >= 0
    late = np.zeros(len(table), bool) if to_ms is None else table["time"].to_numpy() >= to_ms
    left_out = offsets[live & late]
    bound = int(left_out.min()) if len(left_out) else int(offsets.max(initial=-1)) + 1
    kept = ~late & (offsets < bound)
    reached = {f"{EXAMPLES}:0": bound} if (live & kept).any() else {}
    if reached:
        partitions = table["join_partition"].to_numpy()
        sequences = table["sequence"].to_numpy()
        for partition in np.unique(partitions[live & kept]):
            rows = live & kept & (partitions == partition)
            reached[f"sequence:{partition}"] = int(sequences[rows].max())
    return table.filter(pa.array(kept)), reached


def _each_once(table: pa.Table) -> pa.Table:
    """Drop what the join sent again after a crash: a partition and sequence seen before."""
    table = table.sort_by("offset")
    partitions, sequences = (table[n].to_numpy() for n in ("join_partition", "sequence"))
    live = sequences >= 0
    pairs = np.stack([partitions[live], sequences[live]], axis=1)
    first = np.unique(pairs, axis=0, return_index=True)[1]
    kept = ~live
    kept[np.flatnonzero(live)[first]] = True
    return table.filter(pa.array(kept))


def _dataset(table: pa.Table, features: int) -> Dataset:
    data = Dataset(
        vectors=_matrix(table["vector"], features),
        labels=table["label"].to_numpy(),
        times=table["time"].to_numpy(),
        label_times=table["label_time"].to_numpy(),
        scores=table["score"].to_numpy(),
        baselines=table["baseline"].to_numpy(),
        live=table["offset"].to_numpy() >= 0,
    )
    return data.take(np.lexsort((table["offset"].to_numpy(), data.label_times)))


def _matrix(column: pa.ChunkedArray, features: int) -> NDArray[np.float32]:
    """The vectors of a binary column, without a Python object for each."""
    parts = [np.empty((0, features), np.float32)]
    for chunk in column.chunks:
        if not len(chunk):
            continue
        ends = np.frombuffer(chunk.buffers()[1], np.int32)[chunk.offset :][: len(chunk) + 1]
        if chunk.null_count or not (np.diff(ends) == 4 * features).all():
            raise ValueError(f"vector: found other lengths; allowed: {4 * features} bytes")
        data = np.frombuffer(chunk.buffers()[2], "<f4")[ends[0] // 4 : ends[-1] // 4]
        parts.append(data.reshape(-1, features))
    return np.concatenate(parts)
