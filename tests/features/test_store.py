"""The store in memory hands out copies; its contract is tested with every other store's."""

from __future__ import annotations

from features.store import MemoryStore


async def test_what_was_read_is_no_view_of_the_store() -> None:
    """Changing an answer changes nothing in the store."""
    store = MemoryStore()
    fields = await store.claim("f")
    fields["epoch"] = 99
    (await store.fence_fields(["f"]))[0]["epoch"] = 99
    (await store.side("s"))["x"] = b"1"
    assert ([{"epoch": 1}], {}) == (await store.fence_fields(["f"]), await store.side("s"))
