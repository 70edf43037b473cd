"""Records of the topics that carry predictions, and what hangs on them: examples, announcements."""

import msgspec

from tidemill.wire import (
    Announcement,
    ArmScore,
    DeadLetter,
    Example,
    Prediction,
    decode,
)

ALLOWED = (msgspec.DecodeError,)
KINDS = (Prediction, Example, Announcement, DeadLetter)
PREDICTION = Prediction(
    "p1", "c1|3", 1_700_000_000_000, b"\0\0\x80?\0\0\xc0\x7f", "abc", 0.75, 0.5, "r0001", 3,
    1_700_000_000_001, b'{"card":"c1"}', 42, "canary", [ArmScore("r0000", 0, 41, float("nan"))],
)  # fmt: skip


def seeds() -> list[bytes]:
    """One of each kind."""
    records = (
        PREDICTION,
        Example(PREDICTION, 1.0, 1_700_000_001_000, 1_700_000_001_001, 0, 17, 0.5, "correction"),
        Announcement("snapshot", "head", "r0001", 3, "00" * 32, 1, 9, [1, 2], 42),
        DeadLetter("fuzzed.labels", 0, 5, "malformed", "body: …", None, b"{", 1),
    )
    return [record.encode() for record in records]


def one(data: bytes) -> None:
    """Whatever is read is written the same again."""
    good = False
    for kind in KINDS:
        try:
            record = decode(kind, data)
        except msgspec.DecodeError:
            continue
        good = True
        # Compared as bytes: a score may be NaN.
        assert decode(kind, record.encode()).encode() == record.encode()
    if not good:
        raise msgspec.DecodeError("of no kind")
