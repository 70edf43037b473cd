"""Events as producers send them, one by one and together."""

from fuzzed_project import CLOCK, EVENTS, LATEST_MS, PROJECT, SKEW_MS

from features.decoding import EventDecoder, event_key
from tidemill.errors import InputError

ALLOWED = (InputError,)
DECODER = EventDecoder(PROJECT, CLOCK, SKEW_MS)


def seeds() -> list[bytes]:
    """One of each kind, with and without what is optional."""
    return EVENTS


def one(data: bytes) -> None:
    """The fast road for many never takes what the slow one refuses."""
    together = DECODER.decode_many([data, EVENTS[0]])
    try:
        kind, record = DECODER.decode(data, LATEST_MS)
    except InputError as error:
        # Times are judged afterwards on the fast road.
        assert together is None or error.cause == "absurd_time", together
        raise
    assert 0 < record.time <= LATEST_MS
    event_key(PROJECT.events[kind], record).encode()
    assert together is None or (kind, record) == (together[0][0], together[1][0])
