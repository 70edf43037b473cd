"""Rows in the order of their labels, more of them than fit into memory: an external sort.

Rows are spread over files by label time, each small enough to be sorted in memory, at bounds that a
sample of the label times gives (a distribution sort; Knuth, The Art of Computer Programming 3,
5.4.9). Equal label times lie in one file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.datasets.parts import Rows

BUCKET_BYTES = 2**28
_FACTS_BYTES = 100  # about what a row's facts take
_MOST_BUCKETS = 256  # each is an open file


def bucket_rows(features: int) -> int:
    """How many rows one file is to have."""
    return BUCKET_BYTES // (4 * features + _FACTS_BYTES)


def bounds_of(
    sample: NDArray[np.int64], rows_each: int, rows_bucket: int, rows: int
) -> NDArray[np.int64]:
    """Where to cut, by a sorted sample in which one row stands for `rows_each`."""
    rows_bucket = max(rows_bucket, -(-rows // _MOST_BUCKETS))
    step = max(1, rows_bucket // rows_each)
    return np.unique(sample[step::step])


class SortedRows:
    """Takes rows in any order, in whole pieces, and gives them in the order of their labels.

    `bounds` are the label times (ms) at which a new file begins. Of rows with one label time those
    with the lower offset come first, and of those the ones that were added first.
    """

    def __init__(self, folder: Path, bounds: NDArray[np.int64]) -> None:
        self._folder, self._bounds = folder, bounds
        self._kept: list[Rows] = []
        self._files: dict[int, Any] = {}
        folder.mkdir(exist_ok=True)

    def add(self, rows: Rows) -> None:
        """Take rows. Raises OSError."""
        if not len(rows):
            return
        if not len(self._bounds):
            self._kept.append(rows)
            return
        bucket = np.searchsorted(self._bounds, rows.column("label_time"), "right")
        for number in np.unique(bucket).tolist():
            self._write(number, rows.take(bucket == number))

    def __iter__(self) -> Iterator[Rows]:
        """All rows, a file at a time; can be asked again. Raises OSError."""
        if self._kept:
            yield _sorted(Rows.joined(self._kept))
        self.close()
        for number in range(len(self._bounds) + 1):
            path = self._path(number)
            if path.exists():
                yield _sorted(_read(path))

    def facts(self) -> Iterator[pa.Table]:
        """The facts of all rows in no order, without reading their vectors."""
        yield from (rows.facts for rows in self._kept)
        self.close()
        for number in range(len(self._bounds) + 1):
            if self._path(number).exists():
                with pa.memory_map(str(self._path(number))) as source:
                    yield pa.ipc.open_stream(source).read_all().drop_columns(["vector"])

    def close(self) -> None:
        """End the files; nothing can be added any more. Raises OSError."""
        for writer, file in self._files.values():
            writer.close()
            file.close()
        self._files = {}

    def _write(self, number: int, rows: Rows) -> None:
        kind = pa.binary(4 * rows.vectors.shape[1])
        data = pa.py_buffer(np.ascontiguousarray(rows.vectors))
        vectors = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, data])
        table = rows.facts.append_column("vector", vectors)
        if number not in self._files:
            file = pa.OSFile(str(self._path(number)), "wb")
            self._files[number] = (pa.ipc.new_stream(file, table.schema), file)
        self._files[number][0].write_table(table)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:05d}.arrow"


def _read(path: Path) -> Rows:
    with pa.memory_map(str(path)) as source:
        table = pa.ipc.open_stream(source).read_all()
        width = table.schema.field("vector").type.byte_width
        vectors = [
            np.frombuffer(chunk.buffers()[1], "<f4").reshape(-1, width // 4)[chunk.offset :][
                : len(chunk)
            ]
            for chunk in table["vector"].chunks
        ]
        return Rows(table.drop_columns(["vector"]).combine_chunks(), np.concatenate(vectors))


def _sorted(rows: Rows) -> Rows:
    order = np.lexsort((rows.column("offset"), rows.column("label_time")))
    return rows.take(order)
