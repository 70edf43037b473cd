"""Requests are read in bulk, and a field of many values does not grow without end."""

from __future__ import annotations

import msgspec
import numpy as np

from learners.quality.slices import MISSING, SliceReader


def requests(*values: object) -> list[bytes]:
    """Requests with a carrier and a field that nobody asked for."""
    return [msgspec.json.encode({"other": [1], "carrier": value}) for value in values]


def test_values_are_numbered() -> None:
    """Equal values have one code; what is not there is `missing`."""
    reader = SliceReader(("carrier", "delay"), 100)
    codes = reader.read([*requests("UA", "AA", "UA", None), b"{}"])
    assert ["UA", "AA", "UA", MISSING, MISSING] == [reader.value(0, int(code)) for code in codes[0]]
    assert codes[0][0] == codes[0][2]
    assert {MISSING} == {reader.value(1, int(code)) for code in codes[1]}


def test_a_request_of_an_earlier_version_is_missing() -> None:
    """It has no request at all; those beside it are read."""
    reader = SliceReader(("carrier",), 100)
    codes = reader.read([*requests("UA"), b"", b'{"carrier": [1]}', *requests(7)])
    assert ["UA", MISSING, MISSING, "7"] == [reader.value(0, int(code)) for code in codes[0]]


def test_values_that_no_row_has_are_forgotten() -> None:
    """What is held is renumbered and keeps its meaning."""
    reader = SliceReader(("carrier",), 3)
    codes = reader.read(requests("a", "b", "c", "d", "e"))
    held = reader.forget(codes[:, [4, 1, 4]].copy())
    assert ["e", "b", "e"] == [reader.value(0, int(code)) for code in held[0]]
    again = reader.read(requests("e", "f"))
    assert held[0][0] == again[0][0]
    assert "f" == reader.value(0, int(again[0][1]))


def test_without_fields_nothing_is_read() -> None:
    """There is a row of codes for each field: none."""
    assert (0, 2) == SliceReader((), 3).read([b"?", b"?"]).shape
    assert np.zeros((0, 2)).shape == SliceReader((), 3).forget(np.zeros((0, 2), np.int64)).shape
