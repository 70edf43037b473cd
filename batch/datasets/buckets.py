"""Records spread over files by their key, so that equal keys meet in memory without all others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

BUCKET_ROWS = 4_000_000
_MOST = 4096
RECORD = np.dtype([("key", "u8"), ("other", "u8"), ("offset", "i8")])
"""A key, what tells those with one key apart, and whose it is."""


def bucket_count(rows: int) -> int:
    """How many buckets so many records take."""
    return min(_MOST, max(1, -(-rows // BUCKET_ROWS)))


class Buckets:
    """Records spread over files by their key, so that equal keys lie in one; one file: memory."""

    def __init__(self, folder: Path, buckets: int) -> None:
        self._folder, self._buckets = folder, buckets
        self._kept: list[NDArray[np.void]] = []

    def add(self, records: NDArray[np.void]) -> None:
        """Take records with a field `key`. Raises OSError."""
        if self._buckets == 1:
            self._kept.append(records)
            return
        self._folder.mkdir(exist_ok=True)
        bucket = (records["key"] % np.uint64(self._buckets)).astype(np.int64)
        order = np.argsort(bucket, kind="stable")
        cuts = np.searchsorted(bucket[order], np.arange(self._buckets + 1))
        for number in range(self._buckets):
            some = records[order[cuts[number] : cuts[number + 1]]]
            with open(self._folder / str(number), "ab") as file:
                file.write(some.tobytes())

    def __iter__(self) -> Iterator[NDArray[np.void]]:
        if self._buckets == 1:
            yield np.concatenate([np.empty(0, RECORD), *self._kept])
            return
        for number in range(self._buckets):
            path = self._folder / str(number)
            if path.exists():
                yield np.fromfile(path, RECORD)
                path.unlink()
