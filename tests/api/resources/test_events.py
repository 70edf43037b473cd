"""Events over HTTP: as declared, or as CloudEvents in each of their modes."""

import msgspec
import pytest

EVENTS = "/v1/events"
FIELDS = {"card": "c1", "shop": "s1", "amount": 12.5}
EVENT = {"event": "payment", "time": 1_399_999_999_000, "id": "e1", **FIELDS}
CLOUD = {
    "specversion": "1.0", "id": "7", "source": "/tills/1", "type": "com.shop.payment",
    "time": "2014-05-13T16:53:19Z", "datacontenttype": "application/json", "data": FIELDS,
}  # fmt: skip
STRUCTURED = [(b"content-type", b"application/cloudevents+json; charset=utf-8")]
BATCH = [(b"content-type", b"application/cloudevents-batch+json")]
BINARY = [
    (b"content-type", b"application/json"), (b"ce-specversion", b"1.0"), (b"ce-id", b"7"),
    (b"ce-source", b"/tills/1"), (b"ce-type", b"payment"), (b"ce-time", b"2014-05-13T16:53:19Z"),
    (b"ce-subject", b"caf%C3%A9"),
]  # fmt: skip


def written(world) -> list[tuple[bytes | None, object]]:
    """The records of the topic, decoded."""
    return [(r[0], msgspec.json.decode(r[1])) for r in world.producer.sent.get("events", [])]


async def test_an_event_is_written_under_its_key(world, call):
    """As it came, before the answer."""
    reply = await call.post(EVENTS, EVENT)
    assert (202, {"accepted": 1}) == (reply.status, reply.json)
    assert [(b"c1", EVENT)] == written(world)


async def test_a_list_is_written_in_order(world, call):
    """Each under its own key."""
    events = [EVENT | {"card": f"c{n}"} for n in range(3)]
    assert {"accepted": 3} == (await call.post(EVENTS, events)).json
    assert [b"c0", b"c1", b"c2"] == [key for key, _ in written(world)]


@pytest.mark.parametrize(
    ("headers", "body"), [(STRUCTURED, CLOUD), (BATCH, [CLOUD]), (BINARY, FIELDS)]
)
async def test_a_cloudevent_is_written_as_an_event(world, call, headers, body):
    """Structured, batched and binary come to the same."""
    reply = await call("POST", EVENTS, msgspec.json.encode(body), headers=headers)
    assert 202 == reply.status
    expected = {
        "event": "payment", "id": "/tills/1 7", "time": "2014-05-13T16:53:19Z", **FIELDS
    }  # fmt: skip
    assert [(b"c1", expected)] == written(world)


async def test_the_trace_goes_with_the_event(world, call):
    """In the record's headers."""
    trace = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    body = msgspec.json.encode(EVENT)
    await call("POST", EVENTS, body, headers=[(b"traceparent", trace)])
    ((_, _, headers),) = world.producer.sent["events"]
    assert [("traceparent", trace)] == list(headers)


@pytest.mark.parametrize(
    ("headers", "body", "expected"),
    [
        ([], b"", (400, "malformed", "body")),
        ([], b"[" * 100_000, (413, "body_too_large", "body")),
        ([], b"[" * 50_000, (400, "malformed", "body")),
        ([], b'{"a":' * 10_000, (400, "malformed", "body")),
        ([], b"3", (422, "wrong_type", "body")),
        ([], EVENT | {"event": "theft"}, (422, "unknown_event", "event")),
        ([], EVENT | {"amount": "1"}, (422, "wrong_type", "amount")),
        ([], EVENT | {"time": 0}, (422, "absurd_time", "time")),
        ([], EVENT | {"time": 10**15}, (422, "absurd_time", "time")),
        ([], [EVENT, EVENT | {"more": 1}], (422, "unknown_field", "[1].more")),
        ([], [EVENT] * 201, (422, "too_many_events", "body")),
        ([(b"content-type", b"text/csv")], EVENT,
         (415, "unsupported_media_type", "content-type")),
        (STRUCTURED, CLOUD | {"specversion": "0.3"}, (422, "invalid_cloudevent", "specversion")),
        (STRUCTURED, CLOUD | {"source": 7}, (422, "invalid_cloudevent", "source")),
        (STRUCTURED, {"id": "7"}, (422, "invalid_cloudevent", "source")),
        (STRUCTURED, CLOUD | {"data": [1]}, (422, "wrong_type", "data")),
        (STRUCTURED, CLOUD | {"data_base64": "eyJ9"},
         (415, "unsupported_media_type", "datacontenttype")),
        (STRUCTURED, [CLOUD], (422, "wrong_type", "body")),
        (BATCH, CLOUD, (422, "wrong_type", "body")),
        (BATCH, [CLOUD, 1], (422, "wrong_type", "[1].body")),
        (BINARY[:-4], FIELDS, (422, "invalid_cloudevent", "ce-source")),
        ([*BINARY, (b"ce-more", b"%FF")], FIELDS, (422, "invalid_cloudevent", "ce-more")),
    ],
)  # fmt: skip
async def test_what_cannot_be_used_is_refused_whole(world, call, headers, body, expected):
    """Nothing of the call is written, and the field is named."""
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    reply = await call("POST", EVENTS, data, headers=headers)
    assert expected == (reply.status, reply.json["cause"], reply.json["field"])
    assert {} == world.producer.sent


async def test_a_broker_that_is_down_is_503(world, call):
    """The caller is told to send the events again."""
    world.producer.down = True
    reply = await call.post(EVENTS, EVENT)
    assert (503, "broker_unavailable", "events", "1") == (
        reply.status, reply.json["cause"], reply.json["field"], reply.headers["retry-after"],
    )  # fmt: skip
