"""Events as CloudEvents: structured ones, and headers beside the data as Kafka records have them.

Input that begins with header lines and an empty line is a record with those headers.
"""

from types import SimpleNamespace

from fuzzed_project import CLOCK, EVENTS, LATEST_MS, PROJECT, SKEW_MS

from features.cloud_events import event_body, structured_body
from features.decoding import EventDecoder
from tidemill.errors import InputError

ALLOWED = (InputError,)
DECODER = EventDecoder(PROJECT, CLOCK, SKEW_MS)
DATA = b'{"card":"c1","amount":12.5,"count":3,"sure":true}'
ATTRIBUTES = (
    b'"specversion":"1.0","id":"e1","source":"/shop","type":"com.shop.paid",'
    b'"time":"2023-11-14T22:13:19Z"'
)


def seeds() -> list[bytes]:
    """Structured, binary, and ours beside a header that says nothing."""
    headers = (
        b"ce_specversion: 1.0\nce_id: e1\nce_source: /shop\nce_type: com.shop.paid\n"
        b"ce_time: 2023-11-14T22:13:19Z\ncontent-type: application/json\n\n"
    )
    return [
        b"{" + ATTRIBUTES + b',"data":' + DATA + b"}",
        headers + DATA,
        b"content-type: application/cloudevents+json\n\n{" + ATTRIBUTES + b',"data":' + DATA + b"}",
        b"traceparent: 00-1-2-01\n\n" + EVENTS[0],
    ]


def one(data: bytes) -> None:
    """What is made of a CloudEvent is judged as any event is."""
    head, parted, value = data.partition(b"\n\n")
    if parted:
        body = event_body(SimpleNamespace(headers=_headers(head), value=value))
    else:
        body = structured_body(data)
    _, record = DECODER.decode(body, LATEST_MS)
    assert 0 < record.time <= LATEST_MS


def _headers(head: bytes) -> list[tuple[str, bytes]]:
    pairs = (line.partition(b": ") for line in head.split(b"\n"))
    return [(name.decode("latin-1"), value) for name, _, value in pairs]
