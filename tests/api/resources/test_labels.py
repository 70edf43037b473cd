"""Labels sent over HTTP reach the log as producers would write them, or are refused by name."""

import asyncio

import msgspec
import pytest

from tidemill.wire import LabelEvent

LABELS = "/v1/labels"
LABEL = {"key": "c1|s1", "value": 1, "time": 1_399_999_999_000}


async def test_one_label_is_accepted(world, call):
    """It is written under its key, in the form the join decodes, before the answer."""
    reply = await call.post(LABELS, LABEL)
    assert (202, {"accepted": 1}) == (reply.status, reply.json)
    ((key, value),) = world.producer.sent["labels"]
    assert b"c1|s1" == key
    assert LabelEvent(**LABEL) == msgspec.json.decode(value, type=LabelEvent)


async def test_a_label_may_name_its_producer(world, call):
    """It goes to the log with it."""
    reply = await call.post(LABELS, LABEL | {"producer": "billing"})
    ((_, value),) = world.producer.sent["labels"]
    assert (202, "billing") == (reply.status, msgspec.json.decode(value)["producer"])


async def test_a_list_of_labels_is_accepted_in_order(world, call):
    """One call, several outcomes."""
    labels = [LABEL | {"key": str(n)} for n in range(5)]
    reply = await call.post(LABELS, labels)
    assert (202, {"accepted": 5}) == (reply.status, reply.json)
    assert [b"0", b"1", b"2", b"3", b"4"] == [key for key, _ in world.producer.sent["labels"]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (LABEL | {"value": 2}, (422, "invalid_value", "value")),
        (LABEL | {"value": "1"}, (422, "wrong_type", "value")),
        (LABEL | {"value": True}, (422, "wrong_type", "value")),
        (LABEL | {"time": -1}, (422, "absurd_time", "time")),
        (LABEL | {"time": 10**16}, (422, "absurd_time", "time")),
        (LABEL | {"more": 1}, (422, "unknown_field", "more")),
        ({"key": "c", "value": 1}, (422, "missing_field", "time")),
        ([LABEL, LABEL | {"value": 7}], (422, "invalid_value", "[1].value")),
        ([LABEL, LABEL | {"time": 0}], (422, "absurd_time", "[1].time")),
        ("text", (422, "wrong_type", "body")),
    ],
)
async def test_a_bad_label_is_refused_whole(world, call, value, expected):
    """Nothing of the call is written, and the field is named."""
    reply = await call.post(LABELS, value)
    error = reply.json
    assert expected == (reply.status, error["cause"], error["field"])
    assert {} == world.producer.sent


async def test_a_list_of_labels_has_a_limit(world, call):
    """As a batch of requests has: scores wait while it is checked."""
    reply = await call.post(LABELS, [LABEL] * 201)
    assert (422, "too_many_labels", "201 labels", "at most 200") == (
        reply.status, *(reply.json[name] for name in ("cause", "found", "allowed"))
    )  # fmt: skip
    assert {} == world.producer.sent
    assert 202 == (await call.post(LABELS, [LABEL] * 200)).status


async def test_a_broker_that_is_down_is_503(world, call):
    """The caller is told to send the label again."""
    world.producer.down = True
    reply = await call.post(LABELS, LABEL)
    assert (503, "broker_unavailable", "1") == (
        reply.status, reply.json["cause"], reply.headers["retry-after"],
    )  # fmt: skip


async def test_a_broker_that_hangs_is_503(world, call, monkeypatch):
    """The answer has a deadline."""
    monkeypatch.setattr("api.resources.labels.BROKER_DEADLINE_SECONDS", 0.01)
    world.producer.open.clear()
    async with asyncio.timeout(5):
        reply = await call.post(LABELS, LABEL)
    assert 503 == reply.status
