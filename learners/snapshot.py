"""A learner's state at an offset, as checked bytes."""

from __future__ import annotations

import hashlib

import msgspec

from tidemill.errors import ArtifactError

_MAGIC = b"TMSNAP1\n"
_DIGEST_BYTES = 32


class Snapshot(msgspec.Struct, frozen=True):
    """What a learner had become after learning every example before `offset`.

    `number` counts the snapshots of a release; `examples` those learned since the release's start;
    `sequences` maps the join's partitions to the highest sequence learned, so that a re-sent
    example is not learned twice.
    """

    learner: str
    release: str
    number: int
    schema: str
    examples: int
    offset: int
    sequences: dict[int, int]
    state: bytes
    created_ms: int

    def encode(self) -> bytes:
        """Magic, SHA-256 and msgpack; equal snapshots give equal bytes."""
        ordered = dict(sorted(self.sequences.items()))
        body = _ENCODER.encode(msgspec.structs.replace(self, sequences=ordered))
        return _MAGIC + hashlib.sha256(body).digest() + body

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """Check, then read. Raises ArtifactError before a damaged byte reaches a parser."""
        start = len(_MAGIC) + _DIGEST_BYTES
        if data[: len(_MAGIC)] != _MAGIC:
            raise ArtifactError(f"snapshot: found {data[:8]!r} at its start; allowed: {_MAGIC!r}")
        if hashlib.sha256(data[start:]).digest() != data[len(_MAGIC) : start]:
            raise ArtifactError("snapshot: its sha256 does not fit its bytes")
        try:
            return _DECODER.decode(data[start:])
        except msgspec.DecodeError as error:
            raise ArtifactError(f"snapshot: {error}") from error


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Snapshot)


def digest(data: bytes) -> str:
    """The hex SHA-256 of an encoded snapshot, as announcements carry it."""
    return hashlib.sha256(data).hexdigest()
