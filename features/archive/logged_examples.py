"""The archived examples in the order of their log: what a learner was given, offset by offset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from features.archive.files import committed_files, committed_offsets, stream_files
from tidemill.topics import EXAMPLES

_PARTITION = "0"  # learning has one order, so its topic has one partition
_COLUMNS = (
    "time", "vector", "schema", "label", "offset", "join_partition", "sequence", "weight",
)  # fmt: skip


class LoggedExamples:
    """One project's examples; every call may block on the disk."""

    def __init__(self, home: Path, project: str) -> None:
        self._home, self._project = home, project

    @property
    def end(self) -> int:
        """Every example before this offset has been archived."""
        return committed_offsets(self._home, self._project, EXAMPLES).get(_PARTITION, 0)

    def reach(self, first: int) -> int:
        """Up to before which offset all examples from `first` on are there.

        `first` itself where already the next one is missing: not archived yet, or deleted.
        """
        reached = first
        for start, last, _ in self._files():
            if start > reached:
                break
            reached = max(reached, last + 1)
        return reached

    def between(self, first: int, end: int) -> Iterator[pa.Table]:
        """Those with `first` <= offset < `end` that are there, in tables that are not empty."""
        for start, last, paths in self._files():
            if last < first or start >= end:
                continue
            # What was archived together lies in a file for each date.
            table = pa.concat_tables(stream_files(paths, EXAMPLES, _COLUMNS)).sort_by("offset")
            inside = pc.and_(
                pc.greater_equal(table["offset"], first), pc.less(table["offset"], end)
            )
            table = table.filter(inside)
            if len(table):
                yield table

    def _files(self) -> list[tuple[int, int, list[Path]]]:
        """First and last offset of what was archived together, and its files."""
        found: dict[tuple[int, int], list[Path]] = {}
        for path in committed_files(self._home, self._project, EXAMPLES):
            partition, start, last = path.stem.split("-")
            if partition == _PARTITION:
                found.setdefault((int(start), int(last)), []).append(path)
        return [(start, last, paths) for (start, last), paths in sorted(found.items())]
