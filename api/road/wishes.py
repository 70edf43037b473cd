"""What a caller may ask for beside the score, as parameters of the query and a trace to go on."""

from __future__ import annotations

import re

import msgspec

from api.http.call import Call
from tidemill.durations import duration_ms
from tidemill.errors import InputError

EXPLAIN, MAX_STALENESS = "explain", "max_staleness"
PARAMETERS = (EXPLAIN, MAX_STALENESS)
_BOOLEANS = {"true": True, "false": False}
_ALLOWED = re.compile(r"(?P<number>[1-9][0-9]{0,8})|[1-9][0-9]{0,4}(ms|s|min|h|d)")
_STALENESS = "milliseconds, or a duration such as 500ms, 30s, 5min, 6h or 14d"


class Wishes(msgspec.Struct, frozen=True):
    """What the requests of one call ask for.

    `max_staleness_ms` is how old an entity's newest event may be, None for any age; `traceparent`
    goes with the predictions to the log.
    """

    explain: bool = False
    max_staleness_ms: int | None = None
    traceparent: bytes | None = None


def wishes_of(call: Call) -> Wishes | None:
    """What a call asks for, None for nothing. Raises InputError for what cannot be asked."""
    if not call.scope["query_string"]:
        return Wishes(traceparent=call.traceparent) if call.traceparent else None
    query = call.query
    for name in query:
        if name not in PARAMETERS:
            raise InputError(
                "unknown_parameter", "query", name[:80], f"one of {', '.join(PARAMETERS)}"
            )
    explain = _boolean(EXPLAIN, query.get(EXPLAIN, "false"))
    staleness = query.get(MAX_STALENESS)
    most = None if staleness is None else _milliseconds(MAX_STALENESS, staleness)
    if not explain and most is None and call.traceparent is None:
        return None
    return Wishes(explain, most, call.traceparent)


def _boolean(name: str, text: str) -> bool:
    if text not in _BOOLEANS:
        raise InputError("invalid_value", name, text[:80], "true or false")
    return _BOOLEANS[text]


def _milliseconds(name: str, text: str) -> int:
    found = _ALLOWED.fullmatch(text)
    if found is None:
        raise InputError("invalid_value", name, text[:80], _STALENESS)
    return int(text) if found["number"] else duration_ms(name, text)
