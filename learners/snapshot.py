"""A learner's state at an offset, as checked bytes: whole, or what changed since the one before."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tidemill.errors import ArtifactError

_MAGIC = b"TMSNAP2\n"
_DIGEST_BYTES = 32


class Snapshot(msgspec.Struct, frozen=True):
    """What a learner had become after learning every example before `offset`.

    `number` counts the snapshots of a release. `base` is the number of the whole snapshot this one
    belongs to: its own, when `state` is everything learned, else `state` is what changed since
    snapshot `number` - 1. `examples` are those learned since the release's start; `sequences` maps
    the join's partitions to the highest sequence seen, so that a re-sent example is not learned
    twice. `skipped` are ranges of offsets, from the first up to before the second, that were left
    out for good; `unguarded` is the offset before which nothing is judged (a quarantine that is
    being replayed), `guard` what the breaker had seen. What was decoded has a view of its record as
    `state`, not a copy.
    """

    learner: str
    release: str
    number: int
    base: int
    schema: str
    examples: int
    offset: int
    sequences: dict[int, int]
    state: memoryview
    created_ms: int
    skipped: list[tuple[int, int]] = []
    unguarded: int = 0
    guard: bytes = b""

    @property
    def whole(self) -> bool:
        """True when the state is everything learned."""
        return self.base == self.number

    def encode(self) -> bytes:
        """Magic, SHA-256 and msgpack; equal snapshots give equal bytes."""
        ordered = dict(sorted(self.sequences.items()))
        return _sealed(msgspec.structs.replace(self, sequences=ordered))

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """Check, then read. Raises ArtifactError before a damaged byte reaches a parser."""
        found: Snapshot = _opened(data, _SNAPSHOT)
        return found


def name_beside(learner: str, release: str) -> str:
    """Under which name the learner of a challenger keeps its snapshots."""
    return f"{learner}@{release}"


class Newest(msgspec.Struct, frozen=True):
    """Which snapshot is the newest: its release, number and base, and its bytes' hex SHA-256."""

    release: str
    number: int
    base: int
    sha256: str

    def encode(self) -> bytes:
        """Magic, SHA-256 and msgpack."""
        return _sealed(self)

    @classmethod
    def decode(cls, data: bytes) -> Newest:
        """Check, then read. Raises ArtifactError."""
        found: Newest = _opened(data, _NEWEST)
        return found

    def missing(self, release: str, number: int) -> list[int]:
        """What a reader that has `number` of `release` must read: 0 the whole one, then changes.

        Changes are numbered from 1, the first after the whole one.
        """
        if release == self.release and self.base <= number <= self.number:
            return list(range(number - self.base + 1, self.number - self.base + 1))
        return list(range(self.number - self.base + 1))


_ENCODER = msgspec.msgpack.Encoder()
_SNAPSHOT, _NEWEST = msgspec.msgpack.Decoder(Snapshot), msgspec.msgpack.Decoder(Newest)


def _sealed(record: Snapshot | Newest) -> bytes:
    body = _ENCODER.encode(record)
    return _MAGIC + hashlib.sha256(body).digest() + body


def _opened(data: bytes, decoder: msgspec.msgpack.Decoder[Any]) -> Any:
    body = memoryview(data)[len(_MAGIC) + _DIGEST_BYTES :]  # not another copy of it
    if data[: len(_MAGIC)] != _MAGIC:
        raise ArtifactError(f"snapshot: found {data[:8]!r} at its start; allowed: {_MAGIC!r}")
    if hashlib.sha256(body).digest() != data[len(_MAGIC) : len(_MAGIC) + _DIGEST_BYTES]:
        raise ArtifactError("snapshot: its sha256 does not fit its bytes")
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise ArtifactError(f"snapshot: {error}") from error


def digest(data: bytes) -> str:
    """The hex SHA-256 of an encoded snapshot, as announcements carry it."""
    return hashlib.sha256(data).hexdigest()
