"""Learners on their way through the log, kept in the home so that the next replay is quick.

A checkpoint is only ever a shorter way: one that is damaged, gone or cannot be written costs time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from learners.snapshot import Snapshot
from tidemill.durable import write_whole
from tidemill.errors import ArtifactError

LIMIT_BYTES = 1 << 30
_LARGEST_SHARE = 4  # one that takes more than this part of the limit would push all others out
_SUFFIX, _LOCK = ".snapshot", ".lock"
_log = structlog.get_logger()

Ranges = Sequence[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Line:
    """One learner's way through the log: whose it is, and which ranges of offsets it leaves out.

    `key` stands for all that decides what it learns: release, declaration, version.
    """

    release: str
    key: str
    skipped: tuple[tuple[int, int], ...]

    def left_out(self, offset: int) -> list[tuple[int, int]]:
        """What it has left out when it comes to an offset."""
        return [(start, min(end, offset)) for start, end in self.skipped if start < offset]

    def name(self, offset: int) -> str:
        """The name of its state at an offset: equal names, equal states."""
        said = repr((self.key, self.left_out(offset))).encode()
        return f"{self.release}-{hashlib.sha256(said).hexdigest()[:16]}-{offset:012d}"


class Checkpoints:
    """One project's checkpoints in a folder; those used longest ago make room.

    Every call may block on the disk; none raises OSError.
    """

    def __init__(self, folder: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._folder, self._limit_bytes = folder, limit_bytes

    def best(self, line: Line, offset: int) -> Snapshot | None:
        """The last state on this way that is not past the offset, or None."""
        found = [path for path in self._of(line) if _offset(path) <= offset]
        for path in sorted(found, key=_offset, reverse=True):
            if path.stem != line.name(_offset(path)):
                continue
            with suppress(OSError):
                try:
                    snapshot = Snapshot.decode(path.read_bytes())
                    os.utime(path)
                    return snapshot
                except ArtifactError as error:
                    self.drop(line, _offset(path), error)
        return None

    def has(self, line: Line, offset: int) -> bool:
        """Whether the state at an offset is kept."""
        return self._path(line, offset).exists()

    def keep(self, line: Line, snapshot: Snapshot) -> None:
        """Keep a state, whole or not at all, and make room."""
        data = snapshot.encode()
        if len(data) * _LARGEST_SHARE > self._limit_bytes:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._alone():
                write_whole(self._path(line, snapshot.offset), data)
                self._make_room()
        except OSError as error:
            _log.warning("checkpoint_not_kept", folder=str(self._folder), error=str(error))

    def drop(self, line: Line, offset: int, why: Exception) -> None:
        """Remove a state that cannot be used."""
        path = self._path(line, offset)
        _log.warning("checkpoint_dropped", file=str(path), error=str(why))
        with suppress(OSError):
            path.unlink()

    def _of(self, line: Line) -> list[Path]:
        with suppress(OSError):
            return list(self._folder.glob(f"{line.release}-*{_SUFFIX}"))
        return []

    def _path(self, line: Line, offset: int) -> Path:
        return self._folder / f"{line.name(offset)}{_SUFFIX}"

    def _make_room(self) -> None:
        for left in self._folder.glob(".*.tmp"):  # by a replay that was killed: nobody else writes
            left.unlink(missing_ok=True)
        found = [(path, path.stat()) for path in self._folder.glob(f"*{_SUFFIX}")]
        total = 0
        for path, about in sorted(found, key=lambda each: each[1].st_mtime_ns, reverse=True):
            total += about.st_size
            if total > self._limit_bytes:
                path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self._folder / _LOCK, "a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _offset(path: Path) -> int:
    """Of a checkpoint's name; of any other's none that is ever looked for."""
    text = path.stem.rpartition("-")[2]
    return int(text) if text.isdecimal() else 2**63
