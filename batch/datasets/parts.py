"""A dataset's files: row groups of a fixed size, so that equal rows give equal bytes."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

GROUP_ROWS = 131_072
_PART_BYTES = 2**28  # of features: a whole part is read at once
_MOMENT = pa.timestamp("ms", "UTC")
FACTS = pa.schema(
    [
        ("time", pa.int64()),
        ("key", pa.string()),
        ("label", pa.float64()),
        ("label_time", pa.int64()),
        ("score", pa.float64()),
        ("baseline", pa.float64()),
        ("weight", pa.float64()),
        ("offset", pa.int64()),
        ("prediction_id", pa.string()),
    ]
)
"""What is known of a row beside its features; in the files both times are timestamps."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some examples: their facts (the columns of FACTS, or more) and vectors (rows, features)."""

    facts: pa.Table
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: NDArray[Any]) -> Rows:
        """Some of the rows, by mask or by number."""
        if rows.dtype == np.bool_:
            if rows.all():
                return self
            rows = np.flatnonzero(rows)
        return Rows(self.facts.take(pa.array(rows)), self.vectors[rows])

    def between(self, start: int, stop: int) -> Rows:
        """Neighbouring rows, not copied."""
        return Rows(self.facts.slice(start, stop - start), self.vectors[start:stop])

    def column(self, name: str) -> NDArray[Any]:
        """One of the facts."""
        found: NDArray[Any] = self.facts[name].to_numpy()
        return found

    @classmethod
    def joined(cls, several: Sequence[Rows]) -> Rows:
        """Rows one after the other."""
        if len(several) == 1:
            return several[0]
        facts = pa.concat_tables([each.facts for each in several])
        return cls(facts, np.concatenate([each.vectors for each in several]))


class PartWriter:
    """Writes rows in the order in which they come; `seen` is told of each row group."""

    def __init__(
        self, folder: Path, schema: str, features: Sequence[str], seen: Callable[[Rows], None]
    ) -> None:
        self._folder, self._seen = folder, seen
        names = [f"feature_{name}" if name in FACTS.names else name for name in features]
        times = [f.with_type(_MOMENT) if f.name.endswith("time") else f for f in FACTS]
        self._schema = pa.schema(
            [*times, *((name, pa.float32()) for name in names)],
            metadata={"tidemill_schema": schema},
        )
        groups = max(1, _PART_BYTES // (4 * len(names) * GROUP_ROWS))
        self._part_rows, self._waiting, self._rows = groups * GROUP_ROWS, list[Rows](), 0
        self._writer: pq.ParquetWriter | None = None
        self._file: Any = None
        self.parts: dict[str, str] = {}
        """The files that are whole, each with its sha256."""
        self.part_rows: list[int] = []

    def add(self, rows: Rows) -> None:
        """Take rows; writes what makes a whole row group. Raises OSError."""
        self._waiting.append(rows)
        if sum(map(len, self._waiting)) < GROUP_ROWS:
            return
        joined = Rows.joined(self._waiting)
        whole = len(joined) // GROUP_ROWS * GROUP_ROWS
        for start in range(0, whole, GROUP_ROWS):
            self._write(joined.between(start, start + GROUP_ROWS))
        self._waiting = [joined.between(whole, len(joined))]

    def finish(self) -> None:
        """Write the rest and make the files last. Raises OSError."""
        if any(map(len, self._waiting)):
            self._write(Rows.joined(self._waiting))
        self._end_part()

    def close(self) -> None:
        """Let go of what was not finished."""
        writer, self._writer = self._writer, None
        with contextlib.suppress(OSError):
            if writer is not None:
                writer.close()
            if self._file is not None:
                self._file.close()

    def _write(self, rows: Rows) -> None:
        self._seen(rows)
        if self._writer is None:
            self._begin_part()
        assert self._writer is not None
        facts = rows.facts.select(FACTS.names).combine_chunks()
        by_feature = np.ascontiguousarray(rows.vectors.T)
        arrays = [facts[name].combine_chunks() for name in FACTS.names]
        arrays = [each.cast(field.type) for each, field in zip(arrays, self._schema, strict=False)]
        arrays += [pa.array(values) for values in by_feature]
        self._writer.write_table(
            pa.Table.from_arrays(arrays, schema=self._schema), row_group_size=GROUP_ROWS
        )
        self._rows += len(rows)
        if self._rows == self._part_rows:
            self._end_part()

    def _begin_part(self) -> None:
        # Arrow's own file: after a failed write nothing of Python is called when it is let go.
        self._file = pa.OSFile(str(self._folder / part_name(len(self.parts))), "wb")
        # The bytes of a float alike, one after the other: zstd takes a third of the time, and less.
        floats = self._schema.names[len(FACTS) :]
        self._writer = pq.ParquetWriter(
            self._file, self._schema, compression="zstd", compression_level=1,
            use_dictionary=["label", "weight"], use_byte_stream_split=floats,
            write_statistics=False,
        )  # fmt: skip

    def _end_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        self._file.close()
        name = part_name(len(self.parts))
        with open(self._folder / name, "rb") as file:
            os.fsync(file.fileno())
            self.parts[name] = hashlib.file_digest(file, "sha256").hexdigest()
        self.part_rows.append(self._rows)
        self._writer, self._file, self._rows = None, None, 0


def part_name(number: int) -> str:
    """The name of a dataset's file."""
    return f"part-{number:05d}.parquet"


def rows_of(table: pa.Table) -> Rows:
    """The rows of a dataset's file, or of a part of it."""
    arrays = [table.column(place).cast(field.type) for place, field in enumerate(FACTS)]
    vectors = np.empty((len(table), table.num_columns - len(FACTS)), np.float32)
    for place in range(vectors.shape[1]):
        vectors[:, place] = table.column(place + len(FACTS)).to_numpy()
    return Rows(pa.Table.from_arrays(arrays, schema=FACTS), vectors)


def no_rows(features: int) -> Rows:
    """Nothing, with all its columns."""
    return Rows(FACTS.empty_table(), np.empty((0, features), np.float32))


def as_arrays(rows: Rows) -> dict[str, NDArray[Any]]:
    """The columns of a Dataset."""
    return {
        "keys": rows.facts["key"].to_numpy(),
        "vectors": rows.vectors,
        "labels": rows.column("label"),
        "times": rows.column("time"),
        "label_times": rows.column("label_time"),
        "scores": rows.column("score"),
        "baselines": rows.column("baseline"),
        "live": pc.greater_equal(rows.facts["offset"], 0).to_numpy(),
        "weights": rows.column("weight"),
    }
