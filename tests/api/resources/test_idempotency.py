"""Labels with an Idempotency-Key are taken once, by whichever process and however often sent."""

import asyncio
from dataclasses import replace

import msgspec
import pytest

from api.http.app import create_app
from api.ports import KeyStore
from api.service import ScoringService
from tidemill.errors import StoreUnavailable

LABELS = "/v1/labels"
LABEL = msgspec.json.encode({"key": "c1|s1", "value": 1, "time": 1_399_999_999_000})
OTHER = msgspec.json.encode({"key": "c2|s1", "value": 1, "time": 1_399_999_999_000})


def key(value: bytes) -> list[tuple[bytes, bytes]]:
    """The header."""
    return [(b"idempotency-key", value)]


async def test_the_same_request_again_gets_the_first_answer(world, call):
    """It is written once; the second answer says that it is the first one's."""
    first, second = [await call("POST", LABELS, LABEL, headers=key(b"k1")) for _ in range(2)]
    assert (202, first.body) == (second.status, second.body)
    assert ["idempotent-replayed" in reply.headers for reply in (first, second)] == [False, True]
    assert 1 == len(world.producer.sent["labels"])


async def test_without_a_key_each_request_counts(world, call):
    """Twice sent is twice written."""
    for _ in range(2):
        await call("POST", LABELS, LABEL)
    assert 2 == len(world.producer.sent["labels"])


async def test_another_request_with_the_same_key_is_refused(world, call):
    """A mistake of the caller, who would lose a label silently."""
    await call("POST", LABELS, LABEL, headers=key(b"k1"))
    reply = await call("POST", LABELS, OTHER, headers=key(b"k1"))
    assert (422, "idempotency_key_reused") == (reply.status, reply.json["cause"])
    assert 1 == len(world.producer.sent["labels"])


async def test_quotes_belong_to_the_header_not_to_the_key(world, call):
    """As the draft writes it, or as most clients do."""
    for given in (b'"k1"', b"k1"):
        assert 202 == (await call("POST", LABELS, LABEL, headers=key(given))).status
    assert 1 == len(world.producer.sent["labels"])


async def test_the_same_request_under_way_is_a_conflict(world, call):
    """The second caller asks again, and then gets the answer."""
    world.producer.open.clear()
    first = asyncio.create_task(call("POST", LABELS, LABEL, headers=key(b"k1")))
    await asyncio.sleep(0)
    second = await call("POST", LABELS, LABEL, headers=key(b"k1"))
    assert (409, "request_in_progress", "1") == (
        second.status, second.json["cause"], second.headers["retry-after"],
    )  # fmt: skip
    world.producer.open.set()
    assert 202 == (await first).status
    assert 202 == (await call("POST", LABELS, LABEL, headers=key(b"k1"))).status
    assert 1 == len(world.producer.sent["labels"])


async def test_a_request_that_failed_may_be_sent_again(world, call, until):
    """The broker was away: the key is free."""
    world.producer.down = True
    assert 503 == (await call("POST", LABELS, LABEL, headers=key(b"k1"))).status
    world.producer.down = False
    async with asyncio.timeout(5):
        while (await call("POST", LABELS, LABEL, headers=key(b"k1"))).status != 202:
            await asyncio.sleep(0.001)
    assert 1 == len(world.producer.sent["labels"])


async def test_what_cannot_be_used_takes_no_key(world, call):
    """A label that is refused may be mended and sent with the same key."""
    assert 400 == (await call("POST", LABELS, b"{", headers=key(b"k1"))).status
    assert 202 == (await call("POST", LABELS, LABEL, headers=key(b"k1"))).status


@pytest.mark.parametrize("given", [b"", b'""', b"a b", b"x" * 256, b"caf\xc3\xa9", b'a"'])
async def test_a_key_that_is_none_is_refused(world, call, given):
    """With what is allowed."""
    reply = await call("POST", LABELS, LABEL, headers=key(given))
    assert (422, "idempotency-key") == (reply.status, reply.json["field"])
    assert {} == world.producer.sent


def with_keys(world, keys: KeyStore):
    """Another process of the same project, whose keys lie there."""
    ports = replace(world.service.ports, keys=keys)
    return create_app(ScoringService(world.plan, ports, world.service.settings, world.clock))


async def test_every_process_knows_the_key(world, call):
    """What one has answered, another answers again."""
    other = type(call)(with_keys(world, world.service.ports.keys))
    first = await call("POST", LABELS, LABEL, headers=key(b"k1"))
    second = await other("POST", LABELS, LABEL, headers=key(b"k1"))
    assert (first.body, "true") == (second.body, second.headers["idempotent-replayed"])
    assert 1 == len(world.producer.sent["labels"])


async def test_without_the_store_a_key_cannot_be_honoured(world, call):
    """503 rather than a label that counts twice."""

    async def gone(*_):
        raise StoreUnavailable("connection refused")

    call = type(call)(with_keys(world, KeyStore(gone, gone)))
    reply = await call("POST", LABELS, LABEL, headers=key(b"k1"))
    assert (503, "store_unavailable") == (reply.status, reply.json["cause"])
    assert 202 == (await call("POST", LABELS, LABEL)).status
