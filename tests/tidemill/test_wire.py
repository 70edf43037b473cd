"""Records travel as msgpack and come back equal; anything else is refused."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from tidemill import wire
from tidemill.wire import (
    Alert,
    Announcement,
    BadCaseFound,
    DeadLetter,
    Example,
    Prediction,
    Quarantined,
    Record,
    UpdateBatch,
    UpdateGroup,
)

PREDICTION = Prediction(
    id="p1",
    key="card|1",
    time=1_367_389_800_000,
    vector=wire.vector_bytes(np.array([1.5, np.nan], dtype=np.float32)),
    schema="0123456789ab",
    score=0.25,
    baseline=0.5,
    release="r0001",
    snapshot=7,
    scored_ms=1_367_389_800_010,
    request=b'{"card":"1","time":1367389800000}',
)
GROUP = UpdateGroup(0, 1, ["a", "ü"], b"c" * 8, b"o" * 16, b"t" * 16, b"v" * 8, b"\x01\x00")
RECORDS = {
    "prediction": PREDICTION,
    "example": Example(PREDICTION, 1, 2, 3, 0, 41),
    "bad case": BadCaseFound("missed", PREDICTION, None, 5),
    "quarantined": Quarantined(41, "producer_loss", b"\x90"),
    "update batch": UpdateBatch("0123456789ab", 2, 100, [GROUP]),
    "dead letter": DeadLetter("shop.events", 1, 9, "malformed", "text", None, b"\xff\x00", 5),
    "alert": Alert("paused", "updates", "ended", "resumed", 6, 5),
    "announcement": Announcement("snapshot", "head", "r0001", 7, "ab" * 32, 5, 100, [1, 2]),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_comes_back_equal(name: str) -> None:
    """Decoding what a record encoded gives the same record."""
    record = RECORDS[name]
    assert record == wire.decode(type(record), record.encode())


@pytest.mark.parametrize("found", RECORDS)
@pytest.mark.parametrize("wanted", RECORDS)
def test_a_record_of_another_kind_is_refused(found: str, wanted: str) -> None:
    """No record decodes as one of another kind."""
    if found == wanted:
        return
    with pytest.raises(msgspec.DecodeError):
        wire.decode(type(RECORDS[wanted]), RECORDS[found].encode())


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"{}", b"\x94\xa1\xff\x01\x01\x90", b"\x91" * 100_000, b"\xc0"],
    ids=["empty", "no msgpack", "JSON", "not UTF-8", "deep", "null"],
)
@pytest.mark.parametrize("name", RECORDS)
def test_garbage_is_a_decode_error(name: str, data: bytes) -> None:
    """Bytes that are no record raise nothing but DecodeError."""
    with pytest.raises(msgspec.DecodeError):
        wire.decode(type(RECORDS[name]), data)


@pytest.mark.parametrize("name", RECORDS)
def test_every_cut_of_a_record_is_a_decode_error(name: str) -> None:
    """A truncated record is refused wherever it was cut."""
    data = RECORDS[name].encode()
    for length in range(len(data)):
        with pytest.raises(msgspec.DecodeError):
            wire.decode(type(RECORDS[name]), data[:length])


def test_a_prediction_of_an_earlier_version_is_read() -> None:
    """A log from before predictions carried their request decodes, without one."""
    older = msgspec.msgpack.encode(list(msgspec.structs.astuple(PREDICTION))[:-4])
    expected = msgspec.structs.replace(PREDICTION, request=b"")
    assert expected == wire.decode(Prediction, older)


def test_a_record_cannot_be_changed() -> None:
    """Records are frozen."""
    with pytest.raises(AttributeError):
        PREDICTION.score = 1.0  # type: ignore[misc]


def test_every_kind_of_record_can_be_decoded() -> None:
    """The list of decoders has every record of the module."""
    assert set(Record.__subclasses__()) == {type(record) for record in RECORDS.values()}


def test_vectors_travel_as_little_endian_float32() -> None:
    """The vectors of predictions come back as one matrix, missing values kept."""
    expected = np.array([[1.5, np.nan], [1.5, np.nan]], dtype=np.float32)
    np.testing.assert_array_equal(expected, wire.vectors([PREDICTION, PREDICTION]))
    assert b"\x00\x00\xc0\x3f" == PREDICTION.vector[:4]


def test_no_predictions_have_no_vectors() -> None:
    """The matrix of no predictions has no rows."""
    assert 0 == len(wire.vectors([]))
