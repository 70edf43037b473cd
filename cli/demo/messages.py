"""History's rows as what producers and callers send: JSON events, labels and score requests."""

from __future__ import annotations

from typing import Any

import msgspec

from cli.demo.history import Columns
from tidemill.sources import Event

_encode = msgspec.json.Encoder().encode


def event_records(event: Event, columns: Columns) -> list[tuple[bytes | None, bytes]]:
    """Events as (key, JSON body); a number that is missing travels as null."""
    names = ["time", *(field.name for field in event.columns)]
    place = names.index(event.key)
    return [
        (
            values[place].encode(),
            _encode({"event": event.name} | dict(zip(names, values, strict=True))),
        )
        for values in _tuples(columns, names)
    ]


def label_records(columns: Columns) -> list[tuple[bytes | None, bytes]]:
    """Labels as (key, JSON body)."""
    names = ["key", "value", "time"]
    return [
        (values[0].encode(), _encode(dict(zip(names, values, strict=True))))
        for values in _tuples(columns, names)
    ]


def request_bodies(names: list[str], columns: Columns) -> list[bytes]:
    """Score requests with these fields and their time, as JSON."""
    names = ["time", *names]
    return [_encode(dict(zip(names, values, strict=True))) for values in _tuples(columns, names)]


def _tuples(columns: Columns, names: list[str]) -> Any:
    return zip(*(columns[name].tolist() for name in names), strict=True)
