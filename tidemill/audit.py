"""The audit log: who changed or tried what, in lines that only grow and hang together by hashes.

Each line names the hash of the one before, so that a line that was changed, removed or put between
is found. Lines cut off at the end are found by whoever noted the last hash while it was there.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from tidemill.durable import sync_folder
from tidemill.errors import ArtifactError

Value = str | int | float | bool
FOLDER = "audit"
ACTIONS = {
    "role": "a release got another role",
    "key_created": "an API key was made",
    "key_rotated": "an API key got a new secret; the old one ends at a stated time",
    "key_revoked": "an API key was ended",
    "swap": "an api began to answer with another release",
    "snapshots": "how many snapshots an api adopted, and the newest, since it told last",
    "artifacts_refused": "how many artifacts an api refused since it told last",
    "refused": "calls that were refused for who called: how many of which kind since it told last",
}
_MOST_CHARACTERS = 500  # of one value: some of them come from outside
_MOST_VALUES, _MOST_NAME = 50, 100
_TAIL_BYTES = 512 * 1024  # more than the longest line


@dataclass(frozen=True, slots=True)
class Deed:
    """Something to be told: who did what to what; `action` is one of ACTIONS."""

    actor: str
    action: str
    subject: str
    detail: Mapping[str, Value] = field(default_factory=dict)


class AuditEntry(msgspec.Struct, frozen=True):
    """One line. `hash` is the sha256 of the line with an empty hash, `previous` that before it."""

    number: int
    time_ms: int
    actor: str
    action: str
    subject: str
    detail: dict[str, Value]
    previous: str
    hash: str = ""

    def digest(self) -> str:
        """What `hash` must be."""
        return hashlib.sha256(_encode(msgspec.structs.replace(self, hash=""))).hexdigest()


@dataclass(frozen=True, slots=True)
class Verified:
    """A log that hangs together: its lines, and the number and hash of the last."""

    entries: int
    head: str


class AuditLog:
    """The audit log of one project, in one file of the home; every call may block on the disk."""

    def __init__(self, home: Path, project: str) -> None:
        self.path = home / FOLDER / f"{project}.jsonl"
        self._first = hashlib.sha256(f"tidemill audit of {project}".encode()).hexdigest()

    def append(self, time_ms: int, *deeds: Deed) -> list[AuditEntry]:
        """Enter these; they are on the disk when this returns. One writer at a time.

        Raises OSError, then nothing is entered, and ArtifactError where the last line is damaged.
        """
        entries: list[AuditEntry] = []
        if not deeds:
            return entries
        with self._locked() as descriptor:
            size, last = _last_line(descriptor, self.path)
            number, previous = (0, self._first) if last is None else (last.number, last.hash)
            for deed in deeds:
                entry = _entry(deed, number := number + 1, time_ms, previous)
                previous = entry.hash
                entries.append(entry)
            _write(descriptor, size, b"".join(_encode(entry) + b"\n" for entry in entries))
        return entries

    def entries(self) -> Iterator[AuditEntry]:
        """Every line, oldest first, each checked to hang on the one before; none without a file.

        A last line that a killed writer left half written is passed over. Raises ArtifactError
        naming the first line that is not as it was written.
        """
        previous, number = self._first, 0
        for line in self._lines():
            number += 1
            entry = _checked(line, self.path, number, previous)
            previous = entry.hash
            yield entry

    def verify(self, head: str | None = None) -> Verified:
        """Check the whole log. Raises ArtifactError.

        `head`: a hash that was noted once, of which a log that was cut off has no line any more.
        """
        count, last, met = 0, self._first, head is None
        for entry in self.entries():
            count, last = entry.number, entry.hash
            met = met or last == head
        if not met:
            raise ArtifactError(
                f"{self.path}: found no line with the hash {head}; allowed: a log that still has it"
            )
        return Verified(count, last)

    def _lines(self) -> Iterator[bytes]:
        try:
            with open(self.path, "rb") as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield line[:-1]
        except FileNotFoundError:
            return
        except OSError as error:
            raise ArtifactError(f"{self.path}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)
        if new:
            sync_folder(self.path.parent)


def _entry(deed: Deed, number: int, time_ms: int, previous: str) -> AuditEntry:
    assert deed.action in ACTIONS, deed.action
    told = list(deed.detail.items())[:_MOST_VALUES]
    entry = AuditEntry(
        number=number,
        time_ms=time_ms,
        actor=deed.actor[:_MOST_CHARACTERS],
        action=deed.action,
        subject=deed.subject[:_MOST_CHARACTERS],
        detail={name[:_MOST_NAME]: _short(value) for name, value in told},
        previous=previous,
    )
    return msgspec.structs.replace(entry, hash=entry.digest())


def _short(value: Value) -> Value:
    return value[:_MOST_CHARACTERS] if isinstance(value, str) else value


def _encode(entry: AuditEntry) -> bytes:
    return msgspec.json.encode(entry)


def _checked(line: bytes, path: Path, number: int, previous: str) -> AuditEntry:
    place = f"{path}: line {number}"
    try:
        entry = msgspec.json.decode(line, type=AuditEntry)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactError(f"{place}: {error}") from error
    if entry.previous != previous:
        raise ArtifactError(
            f"{place}: found that it hangs on {entry.previous}; allowed: {previous}"
        )
    # Encoded anew, so that nothing can be slipped in that decoding passes over.
    if entry.hash != entry.digest() or _encode(entry) != line or entry.number != number:
        raise ArtifactError(f"{place}: found another content; allowed: what its hash was made of")
    return entry


def _last_line(descriptor: int, path: Path) -> tuple[int, AuditEntry | None]:
    """How much of the file is whole lines, and the last of them."""
    size = os.fstat(descriptor).st_size
    start = max(0, size - _TAIL_BYTES)
    tail = os.pread(descriptor, size - start, start)
    end = tail.rfind(b"\n") + 1
    if end == 0:
        if start:
            raise ArtifactError(f"{path}: found no end of a line; allowed: whole lines")
        return 0, None
    line = tail[tail.rfind(b"\n", 0, end - 1) + 1 : end - 1]
    try:
        entry = msgspec.json.decode(line, type=AuditEntry)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path}: last line: {error}") from error
    if entry.hash != entry.digest():
        raise ArtifactError(f"{path}: last line: found another content than its hash was made of")
    return start + end, entry


def _write(descriptor: int, size: int, data: bytes) -> None:
    """Append after `size` bytes, which drops what a killed writer left; all of it or nothing."""
    try:
        if os.fstat(descriptor).st_size > size:
            os.ftruncate(descriptor, size)
        while data:
            data = data[os.write(descriptor, data) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise
