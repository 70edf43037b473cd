"""The contract of the online store, on every backend."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from cli.services.valkey import EmbeddedValkey
from features.redis.client import redis_client
from features.redis.store import WRITE_CHUNK, RedisStore
from features.store import Commit, MemoryStore, OnlineStore
from tidemill.errors import FencedError, StoreUnavailable
from tidemill.topics import Names

NAMES = Names("shop", 4)
PLACES = range(NAMES.partitions)
FENCE, SIDE = NAMES.fence("updates", 0), NAMES.side("updates", 0)
BLOB, OTHER = NAMES.blob(0, "card", "a"), NAMES.blob(0, "card", "ü\x1f")
BYTES = bytes(range(256))


@pytest.fixture(params=["memory", "valkey", "cluster"])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[OnlineStore]:
    """An empty store of each backend."""
    if request.param == "memory":
        yield MemoryStore()
        return
    cluster = request.param == "cluster"
    server = request.getfixturevalue("valkey_cluster" if cluster else "valkey")
    client = redis_client(server.url, cluster=cluster)
    await client.flushall()
    yield RedisStore(client)
    await client.aclose()


def step(epoch: int, offset: int = 0, **more: object) -> Commit:
    """A commit that moves the field `offset` on by ten."""
    good = Commit(FENCE, SIDE, epoch, expected={"offset": offset}, fields={"offset": offset + 10})
    return dataclasses.replace(good, **more)  # type: ignore[arg-type]


async def state(store: OnlineStore) -> tuple[object, ...]:
    """Everything a commit can change."""
    return (
        await store.fence_fields([FENCE]),
        await store.side(SIDE),
        await store.read([BLOB, OTHER]),
    )


async def test_what_is_not_there_reads_as_nothing(store: OnlineStore) -> None:
    """Missing blobs are None, missing fences and side hashes are empty, in the order asked."""
    assert ([{}], {}, [None, None]) == await state(store)
    assert ([], []) == (await store.read([]), await store.fence_fields([]))


async def test_a_claim_raises_the_epoch_and_reads_the_fence(store: OnlineStore) -> None:
    """Each owner gets a higher epoch and the fields its predecessor left."""
    assert {"epoch": 1} == await store.claim(FENCE)
    await store.commit(step(1, counters={"applied": 3}))
    assert {"epoch": 2, "offset": 10, "applied": 3} == await store.claim(FENCE)


async def test_fences_are_read_together_and_kept_apart(store: OnlineStore) -> None:
    """The fields of several fences come in the order asked."""
    other = NAMES.fence("join", 0)
    await store.claim(FENCE)
    await store.claim(other)
    await store.claim(other)
    assert [{"epoch": 2}, {}, {"epoch": 1}] == await store.fence_fields([other, "none", FENCE])


async def test_a_commit_applies_everything(store: OnlineStore) -> None:
    """Fields, counters, side hash and blobs change in one step; bytes come back as they were."""
    await store.claim(FENCE)
    await store.commit(
        step(
            1,
            counters={"applied": 2, "late": 0},
            side_set={"p1": BYTES, "p2": b""},
            blobs=[(BLOB, BYTES), (OTHER, b"")],
        )
    )
    fields = {"epoch": 1, "offset": 10, "applied": 2, "late": 0}
    assert ([fields], {"p1": BYTES, "p2": b""}, [BYTES, b""]) == await state(store)


async def test_counters_add_up_and_may_fall(store: OnlineStore) -> None:
    """A counter starts at zero and takes every delta, also negative ones."""
    await store.claim(FENCE)
    await store.commit(step(1, counters={"applied": 5}))
    await store.commit(step(1, 10, counters={"applied": -7}))
    assert -2 == (await store.fence_fields([FENCE]))[0]["applied"]


async def test_the_side_hash_is_set_before_it_is_deleted(store: OnlineStore) -> None:
    """Fields are replaced and removed; removing what is not there, or was just set, is fine."""
    await store.claim(FENCE)
    await store.commit(step(1, side_set={"a": b"1", "b": b"2", "c": b"3"}))
    again = step(1, 10, side_set={"b": b"9", "d": b"4"}, side_delete=["a", "d", "none"])
    await store.commit(again)
    assert {"b": b"9", "c": b"3"} == await store.side(SIDE)


async def test_blobs_are_replaced(store: OnlineStore) -> None:
    """The newest blob of a key is read, several times if asked so."""
    await store.claim(FENCE)
    await store.commit(step(1, blobs=[(BLOB, b"old")]))
    await store.commit(step(1, 10, blobs=[(BLOB, b"new")]))
    assert [b"new", None, b"new"] == await store.read([BLOB, OTHER, BLOB])


REFUSED = {
    "an epoch from before": step(1, 10),
    "an epoch never given": step(3, 10),
    "an offset behind": step(2, 0),
    "an offset ahead": step(2, 20),
    "a second field that differs": step(2, expected={"offset": 10, "source:1": 5}),
    "a field that is there but expected to be missing": step(2, expected={"applied": 0}),
}


@pytest.mark.parametrize("reason", REFUSED)
async def test_a_refused_commit_changes_nothing(store: OnlineStore, reason: str) -> None:
    """A wrong epoch or a wrong expected value is a FencedError and leaves all as it was."""
    await store.claim(FENCE)
    await store.claim(FENCE)
    await store.commit(
        step(2, counters={"applied": 1}, side_set={"a": b"1"}, blobs=[(BLOB, b"old")])
    )
    before = await state(store)
    refused = dataclasses.replace(
        REFUSED[reason],
        fields={"offset": 999, "new": 1},
        counters={"applied": 100},
        side_set={"a": b"2", "b": b"2"},
        side_delete=["a"],
        blobs=[(BLOB, b"new"), (OTHER, b"new")],
    )
    with pytest.raises(FencedError, match=FENCE.replace("{", r"\{").replace("}", r"\}")):
        await store.commit(refused)
    assert before == await state(store)


@pytest.mark.parametrize("epoch", [0, 1])
async def test_a_fence_that_nobody_claimed_refuses(store: OnlineStore, epoch: int) -> None:
    """Without an owner nobody writes, whatever epoch is named."""
    with pytest.raises(FencedError):
        await store.commit(step(epoch, blobs=[(BLOB, b"new")]))
    assert ([{}], {}, [None, None]) == await state(store)


async def test_an_owner_that_lost_its_partition_is_refused(store: OnlineStore) -> None:
    """After another claim the former owner cannot write, and the new one goes on where it was."""
    zombie = (await store.claim(FENCE))["epoch"]
    await store.commit(step(zombie))
    owner = await store.claim(FENCE)
    with pytest.raises(FencedError):
        await store.commit(step(zombie, 10))
    await store.commit(step(owner["epoch"], owner["offset"]))
    assert [{"epoch": 2, "offset": 20}] == await store.fence_fields([FENCE])


async def test_a_commit_sent_twice_applies_once(store: OnlineStore) -> None:
    """The second sending is refused by the offset the first one moved."""
    await store.claim(FENCE)
    again = step(1, counters={"applied": 10})
    await store.commit(again)
    with pytest.raises(FencedError):
        await store.commit(again)
    assert [{"epoch": 1, "offset": 10, "applied": 10}] == await store.fence_fields([FENCE])


async def test_of_two_racing_for_each_step_exactly_one_wins(store: OnlineStore) -> None:
    """Two that share an epoch race for every offset: each step is applied by one of them."""
    await store.claim(FENCE)

    async def attempt(offset: int, name: str) -> str | None:
        try:
            await store.commit(step(1, offset, counters={"applied": 1, name: 1}))
        except FencedError:
            return None
        return name

    winners = []
    for offset in range(0, 300, 10):
        both = await asyncio.gather(attempt(offset, "left"), attempt(offset, "right"))
        winners.append(sum(name is not None for name in both))
    fields = (await store.fence_fields([FENCE]))[0]
    assert [1] * 30 == winners
    assert (300, 30, 30) == (
        fields["offset"],
        fields["applied"],
        fields.get("left", 0) + fields.get("right", 0),
    )


async def test_two_owners_that_keep_claiming_lose_and_repeat_nothing(store: OnlineStore) -> None:
    """However ownership changes hands, every offset is applied once."""

    async def own(name: str) -> None:
        fields = await store.claim(FENCE)
        while (offset := fields.get("offset", 0)) < 200:
            try:
                await store.commit(step(fields["epoch"], offset, counters={"applied": 10, name: 1}))
                fields = {**fields, "offset": offset + 10}
            except FencedError:
                fields = await store.claim(FENCE)

    await asyncio.wait_for(asyncio.gather(own("left"), own("right")), 20)
    fields = (await store.fence_fields([FENCE]))[0]
    assert (200, 200) == (fields["offset"], fields["applied"])


async def test_blobs_are_loaded_without_a_fence(store: OnlineStore) -> None:
    """A backfilled state of any size is written and read back."""
    blobs = [(NAMES.blob(0, "card", str(i)), str(i).encode()) for i in range(WRITE_CHUNK + 1)]
    await store.write(blobs)
    assert [blob for _, blob in blobs] == await store.read([key for key, _ in blobs])


async def test_many_partitions_are_read_and_written_together(store: OnlineStore) -> None:
    """Keys of all partitions, mixed: on a cluster they lie on different nodes."""
    keys = [NAMES.blob(place, "card", str(i)) for i in range(50) for place in PLACES]
    await store.write([(key, key.encode()) for key in keys])
    for place in PLACES:
        await store.claim(NAMES.fence("updates", place))
    fences = [NAMES.fence("updates", place) for place in (*PLACES, 0)]
    assert [{"epoch": 1}] * len(fences) == await store.fence_fields(fences)
    assert [None, *(key.encode() for key in keys)] == await store.read([OTHER, *keys])


async def eventually(store: OnlineStore, expected: list[bytes | None]) -> list[bytes | None]:
    """The two blobs once they are as expected, or after five seconds."""
    deadline = time.monotonic() + 5
    while (found := await store.read([BLOB, OTHER])) != expected and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    return found


async def test_blobs_expire_one_by_one(store: OnlineStore) -> None:
    """A blob with a time to live is gone after it, whoever wrote it; 0 means never."""
    await store.claim(FENCE)
    await store.commit(step(1, blobs=[(BLOB, b"a"), (OTHER, b"b")], expires_ms=[0, 20]))
    assert [b"a", None] == await eventually(store, [b"a", None])
    await store.write([(BLOB, b"c"), (OTHER, b"d")], [20, 0])
    assert [None, b"d"] == await eventually(store, [None, b"d"])


async def test_writing_again_renews_or_ends_the_time_to_live(store: OnlineStore) -> None:
    """The newest write alone decides when a blob expires."""
    await store.claim(FENCE)
    both = [(BLOB, b"a"), (OTHER, b"b")]
    await store.commit(step(1, blobs=both, expires_ms=[60_000, 60_000]))
    assert [b"a", b"b"] == await store.read([BLOB, OTHER])
    await store.commit(step(1, 10, blobs=both, expires_ms=[20, 60_000]))
    assert [None, b"b"] == await eventually(store, [None, b"b"])
    await store.commit(step(1, 20, blobs=both))
    assert [b"a", b"b"] == await store.read([BLOB, OTHER])


async def test_runs_of_expiries_keep_each_blob_with_its_own(store: OnlineStore) -> None:
    """Many blobs that do and do not expire in turns are all written as they were given."""
    await store.claim(FENCE)
    blobs = [(NAMES.blob(0, "card", str(i)), str(i).encode()) for i in range(1_000)]
    expires = [0 if i < 450 or 600 <= i < 601 else 60_000 + i // 300 for i in range(1_000)]
    await store.commit(step(1, blobs=blobs, expires_ms=expires))
    assert [blob for _, blob in blobs] == await store.read([key for key, _ in blobs])


async def test_a_large_micro_batch_is_one_commit(store: OnlineStore) -> None:
    """Thousands of blobs and side fields fit into one step."""
    await store.claim(FENCE)
    blobs = [(NAMES.blob(0, "card", str(i)), b"x" * 300) for i in range(5_000)]
    side = {f"p{i}": b"y" for i in range(5_000)}
    await store.commit(step(1, side_set=side, blobs=blobs))
    assert (side, [b"x" * 300] * 5_000) == (
        await store.side(SIDE),
        await store.read([key for key, _ in blobs]),
    )


async def test_a_server_that_sets_no_many_expiring_blobs_sets_one_after_the_other(
    valkey: EmbeddedValkey,
) -> None:
    """An older server, or one that does not allow the command, keeps the same."""
    client = redis_client(valkey.url)
    await client.flushall()
    await client.execute_command("ACL SETUSER", "default", "-msetex")
    try:
        store = RedisStore(client)
        await store.claim(FENCE)
        blobs = [(NAMES.blob(0, "card", f"k{i}"), b"%d" % i) for i in range(300)]
        await store.commit(step(1, blobs=blobs, expires_ms=[60_000] * 300))
    finally:
        await client.execute_command("ACL SETUSER", "default", "+msetex")
    assert [value for _, value in blobs] == await store.read([key for key, _ in blobs])
    left = [await client.pttl(blobs[place][0]) for place in (0, 299)]
    assert [True, True] == [0 < each <= 60_000 for each in left]
    await client.aclose()


async def test_a_connection_that_the_server_closed_is_opened_again(
    valkey: EmbeddedValkey,
) -> None:
    """Reads keep their connection; a read after the server closed it is answered all the same."""
    client = redis_client(valkey.url)
    store = RedisStore(client)
    await store.write([(BLOB, b"x")])
    assert [b"x"] == await store.read([BLOB])
    await client.execute_command("CLIENT KILL", "SKIPME", "yes", "TYPE", "normal")
    for _ in range(20):  # until the loop has seen that the other connection is closed
        await client.ping()
    assert [b"x"] == await store.read([BLOB])
    await client.aclose()


CALLS: dict[str, Callable[[OnlineStore], Awaitable[object]]] = {
    "read": lambda store: store.read([BLOB]),
    "claim": lambda store: store.claim(FENCE),
    "fence_fields": lambda store: store.fence_fields([FENCE]),
    "side": lambda store: store.side(SIDE),
    "commit": lambda store: store.commit(step(1)),
    "write": lambda store: store.write([(BLOB, b"x")]),
}


async def test_every_call_says_when_the_server_is_gone_and_works_when_it_is_back(
    tmp_path: Path,
) -> None:
    """A stopped server is StoreUnavailable; the same store works on when it is there again."""
    with EmbeddedValkey(tmp_path) as server:
        client, port = redis_client(server.url), server.port
        store = RedisStore(client)
        await store.claim(FENCE)
        await store.commit(step(1))
    for call in CALLS.values():
        with pytest.raises(StoreUnavailable):
            await call(store)
    with EmbeddedValkey(tmp_path, port):
        assert {"epoch": 2, "offset": 10} == await store.claim(FENCE)
        await store.commit(step(2, 10))
        await client.aclose()


async def test_a_full_server_refuses_the_whole_step(valkey: EmbeddedValkey) -> None:
    """Out of memory is StoreUnavailable and half of no step is written."""
    client = redis_client(valkey.url)
    await client.flushall()
    store = RedisStore(client)
    await store.claim(FENCE)
    await client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreUnavailable, match="maxmemory"):
            await store.commit(step(1, counters={"applied": 1}, blobs=[(BLOB, b"x")]))
    finally:
        await client.config_set("maxmemory", 0)
    assert ([{"epoch": 1}], {}, [None, None]) == await state(store)
    await client.aclose()


async def test_a_key_is_taken_by_one_of_several(store: OnlineStore) -> None:
    """Of callers at once one gets nothing; the others get what it has put there."""
    found = await asyncio.gather(*(store.take(BLOB, b"%d" % n, 60_000) for n in range(20)))
    assert 1 == found.count(None)
    winner = b"%d" % found.index(None)
    assert {None, winner} == set(found)
    assert [winner] == await store.read([BLOB])
    assert winner == await store.take(BLOB, b"later", 60_000)


async def test_what_was_taken_is_free_again_after_a_while(store: OnlineStore) -> None:
    """The key expires; what is written over it expires as the write says."""
    assert None is await store.take(BLOB, b"", 60_000)
    assert b"" == await store.take(BLOB, b"2", 60_000)
    await store.write([(BLOB, b"answer")], [1])
    async with asyncio.timeout(5):
        while await store.take(BLOB, b"3", 60_000) is not None:
            await asyncio.sleep(0.002)
    assert [b"3"] == await store.read([BLOB])
