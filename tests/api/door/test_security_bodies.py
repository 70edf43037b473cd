"""No body, however made, is more than a refusal: depth, size and strange content on every route."""

import msgspec
import pytest
from guarded import Guarded

POSTED = (
    "/v1/score", "/v1/score:batch", "/v1/labels", "/v1/events", "/v2/models/payments/infer",
    "/v1/models/r0001:promote", "/v1/models/r0001:rollback", "/v1/models/r0001:challenge",
)  # fmt: skip
DEEP = 30_000
BODIES = {
    "deep list": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"a":' * 8_000 + b"1" + b"}" * 8_000,
    "deep and open": b"[" * DEEP,
    "deep in a field": b'{"card":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "deep in an unknown field": b'{"by":"a","why":"b","x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "nothing": b"",
    "null": b"null",
    "a number": b"1e400",
    "a long number": b'{"amount":' + b"9" * 30_000 + b"}",
    "bytes": bytes(range(256)),
    "a lone surrogate": b'{"card":"\\ud800"}',
    "a null character": b'{"card":"\\u0000","shop":"s","amount":1}',
    "a field twice": b'{"card":"a","card":"b","shop":"s","amount":1}',
}


@pytest.fixture
def ask(served, caller_of):
    """Calls the app behind a guard that knows no key."""
    return caller_of(Guarded(served).app)


@pytest.mark.parametrize("path", POSTED)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_strange_body_is_refused_or_taken(ask, path, body):
    """It is never an error of ours, and every refusal says what is wrong."""
    reply = await ask("POST", path, body, headers=[(b"content-type", b"application/json")])
    assert reply.status < 500, reply.body
    assert msgspec.json.decode(reply.body) is not None


async def test_refusals_show_no_insides(ask):
    """No path of a file, no traceback, no name of a class."""
    for path in POSTED:
        text = (await ask("POST", path, b"[" * DEEP)).body.decode()
        assert not any(word in text for word in ("Traceback", ".py", "0x", "/tmp", "site-packages"))
