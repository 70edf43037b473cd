"""Which archived files may hold an id: told by the time in it and by the files' ends, not by rows.

A Parquet file's end says between which values those of a column lie; every call may block on the
disk.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

CLOCKS_MS = 60_000
"""The clocks of the processes that score differ by less."""
LATE_MS = 3_600_000
"""So long after others of its time a prediction may reach the log: its api had lost the broker."""

_ANY = (0, 2**63)  # a file that does not say may hold any time
_TIMED = re.compile(r"[0-9a-f]{12}7[0-9a-f]{3}[89ab][0-9a-f]{15}")
Ends = tuple[Any, Any]


def made_ms(prediction: str) -> int | None:
    """When an id was made (a UUID of version 7); None for one that does not say."""
    return int(prediction[:12], 16) if _TIMED.fullmatch(prediction) else None


def ends(path: Path, column: str) -> Ends | None:
    """The least and the greatest value of a file's column; None where its end does not say."""
    data = pq.read_metadata(path)
    if column not in data.schema.names:
        return None
    place = data.schema.names.index(column)
    groups = [data.row_group(group).column(place) for group in range(data.num_row_groups)]
    found = [group.statistics for group in groups]
    if not found or any(each is None or not each.has_min_max for each in found):
        return None
    return min(each.min for each in found), max(each.max for each in found)


def may_hold(path: Path, column: str, values: Iterable[str]) -> bool:
    """Whether a file may have one of these values in a column."""
    found = ends(path, column)
    return found is None or any(found[0] <= value <= found[1] for value in values)


def logs_of(paths: Iterable[Path]) -> list[list[Path]]:
    """The files of each partition in the order of its log."""
    ordered = groupby(sorted(paths, key=_place), lambda path: _place(path)[0])
    return [list(files) for _, files in ordered]


def scored_around(logs: Iterable[Sequence[Path]], time_ms: int) -> Iterator[Path]:
    """Those of these logs' files of predictions that may hold one which was scored at this time.

    But for clocks that differ and for predictions that came late, the order of a log is that of
    their times: hardly more files are looked at than those.
    """
    for files in logs:
        for path in files[bisect_left(files, time_ms - CLOCKS_MS, key=_newest) :]:
            oldest, newest = ends(path, "scored_ms") or _ANY
            if oldest > time_ms + LATE_MS:
                break
            if oldest <= time_ms <= newest:
                yield path


def _newest(path: Path) -> int:
    """When the last of a file's predictions was scored."""
    _, newest = ends(path, "scored_ms") or _ANY
    return int(newest)


def _place(path: Path) -> tuple[str, int, str]:
    """A file's partition, its first offset there, and its date."""
    partition, first, _ = path.stem.split("-")
    return partition, int(first), path.parent.name
