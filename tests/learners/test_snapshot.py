"""Snapshots come back whole or not at all."""

from __future__ import annotations

import hashlib

import pytest

from learners.snapshot import Snapshot, digest
from tidemill.errors import ArtifactError

SNAPSHOT = Snapshot("head", "r0001", 3, 3, "abc", 12, 40, {0: 7, 3: 9}, b"state", 1_700_000_000_000)


def test_round_trip() -> None:
    """What is decoded equals what was encoded."""
    assert SNAPSHOT == Snapshot.decode(SNAPSHOT.encode())


def test_equal_snapshots_have_equal_bytes() -> None:
    """The order in which partitions were seen does not show in the bytes."""
    turned = Snapshot(
        "head", "r0001", 3, 3, "abc", 12, 40, {3: 9, 0: 7}, b"state", 1_700_000_000_000
    )
    assert SNAPSHOT.encode() == turned.encode()


@pytest.mark.parametrize("place", [0, 8, 39, 40, -1])
def test_a_flipped_bit_is_refused(place: int) -> None:
    """One changed bit anywhere raises ArtifactError."""
    data = bytearray(SNAPSHOT.encode())
    data[place] ^= 1
    with pytest.raises(ArtifactError, match="snapshot"):
        Snapshot.decode(bytes(data))


@pytest.mark.parametrize("length", [0, 7, 8, 39, 40, 60])
def test_a_cut_snapshot_is_refused(length: int) -> None:
    """A snapshot that was cut off raises ArtifactError."""
    with pytest.raises(ArtifactError, match="snapshot"):
        Snapshot.decode(SNAPSHOT.encode()[:length])


def test_bytes_of_another_kind_are_refused() -> None:
    """A right checksum over something else is an ArtifactError too."""
    body = b"\x01"
    data = b"TMSNAP1\n" + hashlib.sha256(body).digest() + body
    with pytest.raises(ArtifactError, match="snapshot"):
        Snapshot.decode(data)


def test_digest_is_of_the_encoded_bytes() -> None:
    """The announced digest is the plain SHA-256 of what lies in the store."""
    data = SNAPSHOT.encode()
    assert hashlib.sha256(data).hexdigest() == digest(data)


@pytest.mark.parametrize("body", [b"\x81\xa1\xff\x01", b"\x91" * 100_000])
def test_what_no_parser_takes_is_refused(body: bytes) -> None:
    """Text that is not UTF-8, and lists in lists without end, behind a right checksum."""
    data = b"TMSNAP2\n" + hashlib.sha256(body).digest() + body
    with pytest.raises(ArtifactError, match="snapshot"):
        Snapshot.decode(data)
