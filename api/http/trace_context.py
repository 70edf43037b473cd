"""The trace a caller is in, carried on beside the records that its request makes (W3C)."""

from __future__ import annotations

import re

from tidemill.bus import Headers

_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_NOTHING: Headers = ()


def trace_headers(traceparent: bytes | None) -> Headers:
    """The headers of a record made for this trace; none for no trace, or one that cannot be.

    W3C Trace Context, section 3.2.2: a traceparent that cannot be parsed is as if there were none.
    """
    if traceparent is None or not _TRACEPARENT.fullmatch(traceparent):
        return _NOTHING
    return (("traceparent", traceparent),)
