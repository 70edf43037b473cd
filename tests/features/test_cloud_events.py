"""A CloudEvent is an event of ours: its data, and what its attributes say beside it."""

from typing import Any

import msgspec
import pytest

from features.cloud_events import event_bodies, event_body, structured_body
from tidemill.errors import InputError
from tidemill.memory_bus import MemoryMessage

DATA = b'{"card":"c1","amount":1.5}'
CE = {"ce_specversion": "1.0", "ce_id": "7", "ce_source": "/tills/1", "ce_type": "payment"}


def record(headers: dict[str, str | bytes], value: bytes | None = DATA) -> MemoryMessage:
    """A record with these headers."""
    pairs = [(n, v if isinstance(v, bytes) else v.encode()) for n, v in headers.items()]
    return MemoryMessage(0, None, value, 0, pairs)


def body_of(headers: dict[str, Any], value: bytes | None = DATA) -> Any:
    """The event it comes to."""
    return msgspec.json.decode(event_body(record(headers, value)))


def test_attributes_come_beside_the_data() -> None:
    """Kind, id and time; the id is the source's."""
    expected = {"event": "payment", "id": "/tills/1 7", "card": "c1", "amount": 1.5}
    assert expected == body_of(CE)
    assert expected | {"time": "2014-05-13T16:53:19Z"} == body_of(
        CE | {"ce_time": "2014-05-13T16:53:19Z", "ce_subject": "x", "traceparent": "00-…"}
    )


def test_what_the_data_says_counts() -> None:
    """A producer that wrote our own JSON may add the attributes and changes nothing."""
    own = b'{"event":"refund","id":"e1","time":5}'
    assert {"event": "refund", "id": "e1", "time": 5} == body_of(CE | {"ce_time": "x"}, own)


@pytest.mark.parametrize("name", ["payment", "com.shop.payment"])
def test_a_type_ends_with_the_event(name: str) -> None:
    """Types are often written as reversed domains."""
    assert "payment" == body_of(CE | {"ce_type": name})["event"]


def test_structured_mode_is_the_same_event() -> None:
    """All of it as one JSON object."""
    event = b'{"specversion":"1.0","id":"7","source":"/tills/1","type":"payment","data":%s}' % DATA
    headers: dict[str, str | bytes] = {"content-type": "application/cloudevents+json"}
    assert body_of(CE) == body_of(headers, event)
    nulls = event[:-1] + b',"time":null,"datacontenttype":null}'
    assert body_of(CE) == msgspec.json.decode(structured_body(nulls))


@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-…"}, {"content-type": "text/plain"}])
def test_a_record_without_attributes_is_what_it_is(headers: dict[str, str | bytes]) -> None:
    """Byte for byte, whatever else stands beside it."""
    assert DATA == event_body(record(headers))
    assert b"" == event_body(record(headers, None))


@pytest.mark.parametrize(
    ("headers", "value", "expected"),
    [
        ({n: v for n, v in CE.items() if n != "ce_id"}, DATA, ("invalid_cloudevent", "ce_id")),
        (CE | {"ce_source": ""}, DATA, ("invalid_cloudevent", "ce_source")),
        (CE | {"ce_specversion": "0.3"}, DATA, ("invalid_cloudevent", "ce_specversion")),
        (CE | {"ce_id": b"\xff"}, DATA, ("invalid_cloudevent", "ce_id")),
        (CE | {"content-type": "application/avro"}, DATA,
         ("unsupported_media_type", "content-type")),
        (CE, None, ("malformed", "data")),
        (CE, b"[1]", ("wrong_type", "data")),
        (CE, b"{" * 100_000, ("malformed", "data")),
        (CE, b'{"a":' * 100_000, ("malformed", "data")),
    ],
)  # fmt: skip
def test_one_that_is_none_is_refused(
    headers: dict[str, str | bytes], value: bytes | None, expected: tuple[str, str]
) -> None:
    """The attribute is named as it travels."""
    message = record(headers, value)
    with pytest.raises(InputError) as raised:
        event_body(message)
    assert expected == (raised.value.cause, raised.value.field)
    with pytest.raises(InputError):
        event_bodies([record({}), message])


def test_many_are_read_together() -> None:
    """Each as by itself."""
    messages = [record({}), record(CE), record({"traceparent": "x"})]
    assert [event_body(message) for message in messages] == event_bodies(messages)
