"""A caller's trace goes on in the headers of what its request writes."""

import msgspec
import pytest

from api.http.trace_context import trace_headers

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LABEL = msgspec.json.encode({"key": "c1|s1", "value": 1, "time": 1_399_999_999_000})


@pytest.mark.parametrize(
    "given",
    [
        None, b"", b"x", TRACE.upper(), TRACE[:-1], TRACE + b"-more", b"ff" + TRACE[2:],
        b"00-" + b"0" * 32 + TRACE[35:], TRACE[:36] + b"0" * 16 + b"-01", TRACE + b"\n",
    ],
)  # fmt: skip
def test_a_trace_that_cannot_be_is_none(given):
    """It is passed over, as the standard says."""
    assert () == trace_headers(given)


def test_a_trace_is_carried_as_it_is():
    """Byte for byte."""
    assert [("traceparent", TRACE)] == list(trace_headers(TRACE))


async def test_labels_carry_it(world, call):
    """Each record of a call, and none where the caller named no trace."""
    await call("POST", "/v1/labels", LABEL, headers=[(b"traceparent", TRACE)])
    await call("POST", "/v1/labels", LABEL)
    found = [list(record[2:]) for record in world.producer.sent["labels"]]
    assert [[(("traceparent", TRACE),)], []] == found


async def test_predictions_carry_it(served, call, request_body):
    """Only those whose request had one."""
    body = msgspec.json.encode(request_body)
    async with served.service.running():
        await call("POST", "/v1/score", body, headers=[(b"traceparent", TRACE)])
        await call("POST", "/v1/score", body)
    found = [[list(each) for each in record[2:]] for record in served.producer.sent["predictions"]]
    assert [[[("traceparent", TRACE)]], []] == found
