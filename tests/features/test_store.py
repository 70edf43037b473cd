"""The store in memory hands out copies; its contract is tested with every other store's."""

from __future__ import annotations

from features.store import MemoryStore
from tidemill.clock import FakeClock


async def test_what_was_read_is_no_view_of_the_store() -> None:
    """Changing an answer changes nothing in the store."""
    store = MemoryStore()
    fields = await store.claim("f")
    fields["epoch"] = 99
    (await store.fence_fields(["f"]))[0]["epoch"] = 99
    (await store.side("s"))["x"] = b"1"
    assert ([{"epoch": 1}], {}) == (await store.fence_fields(["f"]), await store.side("s"))


async def test_blobs_expire_by_the_clock_that_was_passed() -> None:
    """A blob is there until its last millisecond is over, and starts fresh when written again."""
    clock = FakeClock(1_000)
    store = MemoryStore(clock)
    await store.write([("a", b"1"), ("b", b"2")], [500, 0])
    clock.advance(499)
    assert [b"1", b"2"] == await store.read(["a", "b"])
    clock.advance(1)
    assert [None, b"2"] == await store.read(["a", "b"])
    await store.write([("a", b"3")])
    clock.advance(10_000)
    assert [b"3", b"2"] == await store.read(["a", "b"])
