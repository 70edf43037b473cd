"""Durations as people write them: `30min`, `6h`, `14d`."""

from __future__ import annotations

import re

from tidemill.errors import DeclarationError

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
_UNITS_MS = {"ms": 1, "s": 1_000, "min": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_PATTERN = re.compile(r"(\d+)(ms|s|min|h|d)")


def duration_ms(name: str, text: str) -> int:
    """Milliseconds of a duration such as `6h`; `name` says in the error where it stood.

    >>> duration_ms("wait", "6h")
    21600000
    """
    match = _PATTERN.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) == 0:
        raise DeclarationError(
            name, text, "a positive duration such as 500ms, 30s, 5min, 6h or 14d"
        )
    return int(match[1]) * _UNITS_MS[match[2]]
