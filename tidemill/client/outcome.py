"""The outcome of a prediction, as it is sent back."""

from __future__ import annotations

from datetime import datetime

import msgspec


class Outcome(msgspec.Struct, frozen=True):
    """What became of a prediction: its join key or id, the label's value, and when it was known.

    `time` is in milliseconds since 1970, or a datetime with a time zone; `producer` says who sends.
    """

    key: str
    value: float
    time: int | datetime
    producer: str = ""


def milliseconds(time: int | datetime) -> int:
    """A time as the api takes it. Raises ValueError for a datetime without a time zone."""
    if not isinstance(time, datetime):
        return time
    if time.utcoffset() is None:
        raise ValueError(f"time: found {time.isoformat()}; allowed: one with a time zone")
    return round(time.timestamp() * 1000)
