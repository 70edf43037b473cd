"""The bodies of scoring requests, one and several."""

import msgspec
from fuzzed_project import CLOCK, LATEST_MS, PROJECT, REQUESTS, SKEW_MS

from features.decoding import RequestDecoder
from tidemill.errors import InputError

ALLOWED = (InputError,)
DECODER = RequestDecoder(PROJECT, CLOCK, SKEW_MS)


def seeds() -> list[bytes]:
    """Single ones and a batch."""
    return [*REQUESTS, b'{"requests":[' + b",".join(REQUESTS) + b"]}"]


def one(data: bytes) -> None:
    """A request is used for its key and logged as JSON, from which it can be read again."""
    for request in _decoded(data):
        assert 0 < request.time <= LATEST_MS
        DECODER.join_key(request, "p1").encode()
        assert request == DECODER.decode(msgspec.json.encode(request))


def _decoded(data: bytes) -> list[object]:
    try:
        return [DECODER.decode(data)]
    except InputError:
        return DECODER.decode_batch(data)
