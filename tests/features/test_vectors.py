"""Vectors read from the store equal those of the replay, in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import shops
from hypothesis import given, settings
from hypothesis import strategies as st

from features.decoding import RequestDecoder
from features.plan import compile_plan
from features.replay import Replayer
from features.store import MemoryStore
from features.vectors import VectorReader
from tidemill.clock import FakeClock
from tidemill.errors import StoreUnavailable
from tidemill.topics import Names

PLAN = compile_plan(shops.project)
NAMES = Names("shop", 4)
DECODER = RequestDecoder(shops.project, FakeClock(shops.START + 30 * 24 * shops.HOUR), 0)


def decoded(*rows: dict[str, Any]) -> list[Any]:
    """Requests as the api decodes them."""
    good = {"card": "a", "shop": "s", "amount": 1.0}
    return DECODER.decode_batch(msgspec.json.encode({"requests": [good | row for row in rows]}))


class CountingStore(MemoryStore):
    """A store that remembers what was read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[list[str]] = []

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Read and remember."""
        self.reads.append(list(keys))
        return await super().read(keys)


class SilentStore(MemoryStore):
    """A store that never answers."""

    async def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """Wait for ever."""
        await asyncio.Event().wait()
        return []


def loaded(replayer: Replayer, store: MemoryStore) -> None:
    """Put the replay's state into a store."""
    for entity, key, blob in replayer.blobs():
        store.blobs[NAMES.blob(NAMES.entity_partition(key), entity, key)] = blob


keys = st.sampled_from(["", "a", "b", "ü", "a\x1fs", "\x1b", "{x}"])
events = st.builds(
    lambda ms, card, shop, amount, online: {
        "time": shops.START + ms,
        "card": card,
        "shop": shop,
        "amount": amount,
        "online": online,
    },
    st.integers(0, 30 * shops.HOUR),
    keys,
    keys | st.none(),
    st.integers(-9, 9).map(float) | st.just(np.nan),
    st.sampled_from([0.0, 1.0, np.nan]),
)
asked = st.builds(
    lambda ms, card, shop: {"time": shops.START + ms, "card": card, "shop": shop, "amount": 2.0},
    st.integers(0, 40 * shops.HOUR),
    keys,
    keys | st.none(),
)


@given(st.lists(events, max_size=30), st.lists(asked, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
async def test_vectors_from_the_store_equal_those_of_the_replay(
    rows: list[dict[str, Any]], requests: list[dict[str, Any]]
) -> None:
    """Online and offline, the same events and requests give the same vectors."""
    replayer, store = Replayer(PLAN), MemoryStore()
    replayer.apply("payment", shops.payments(*rows))
    visits = [row for row in rows if row["shop"] is not None]
    replayer.apply("visit", shops.visit_columns(*visits))
    loaded(replayer, store)
    online = await VectorReader(PLAN, NAMES, store).read(decoded(*requests))
    np.testing.assert_array_equal(replayer.vectors(shops.requests(*requests)), online.matrix)


async def test_all_requests_share_one_read_of_distinct_keys() -> None:
    """Requests that wait together cost one round trip, each key once."""
    store = CountingStore()
    await VectorReader(PLAN, NAMES, store).read(decoded({}, {}, {"shop": "t"}, {"card": "b"}))
    expected = 2 + 3 + 2  # cards a and b, the pairs as at bs, shops s and t
    assert [expected] == [len(read) for read in store.reads]
    assert [expected] == [len(set(read)) for read in store.reads]


async def test_no_requests_have_no_vectors() -> None:
    """An empty batch is answered without rows."""
    vectors = await VectorReader(PLAN, NAMES, MemoryStore()).read([])
    assert ((0, len(PLAN.schema.names)), (0, 3)) == (vectors.matrix.shape, vectors.ages_ms.shape)


async def test_ages_tell_how_old_each_entitys_newest_event_is() -> None:
    """The age counts from the newest event to the request; never seen is missing."""
    replayer, store = Replayer(PLAN), MemoryStore()
    times = ({"time": shops.START + ms, "amount": 1.0, "shop": None} for ms in (5_000, 1_000))
    replayer.apply("payment", shops.payments(*times))
    loaded(replayer, store)
    requests = decoded({"time": shops.START + 8_000}, {"time": shops.START + 8_000, "card": "z"})
    vectors = await VectorReader(PLAN, NAMES, store).read(requests)
    expected = [[3_000.0, np.nan, np.nan], [np.nan] * 3]
    np.testing.assert_array_equal(expected, vectors.ages_ms)


async def test_a_store_that_does_not_answer_is_unavailable_at_the_deadline() -> None:
    """The reader waits no longer than its deadline."""
    reader = VectorReader(PLAN, NAMES, SilentStore(), deadline_ms=1)
    with pytest.raises(StoreUnavailable, match="no answer within 0.001 s"):
        await reader.read(decoded({}))


async def test_without_the_store_only_windows_are_missing() -> None:
    """Request features are there, windows and what is derived from them are not."""
    vectors = VectorReader(PLAN, NAMES, SilentStore()).without_store(decoded({"amount": 7.0}))
    known = {
        name
        for name, value in zip(PLAN.schema.names, vectors.matrix[0], strict=True)
        if not np.isnan(value)
    }
    assert {"amount", "hour", "shop"} == known
    np.testing.assert_array_equal([[np.nan] * 3], vectors.ages_ms)


@pytest.mark.parametrize("cut", ["empty", "short", "layout"])
async def test_a_blob_of_another_layout_reads_as_never_seen(cut: str) -> None:
    """A blob the plan cannot read changes only its own entity's features."""
    replayer, store = Replayer(PLAN), MemoryStore()
    rows = [{"time": shops.START, "amount": 1.0, "card": card} for card in "ab"]
    replayer.apply("payment", shops.payments(*rows))
    loaded(replayer, store)
    key = NAMES.blob(NAMES.entity_partition("a"), "card", "a")
    blob = store.blobs[key]
    other = bytes([blob[8] ^ 1])
    store.blobs[key] = {
        "empty": b"",
        "short": blob[:-4],
        "layout": blob[:8] + other + blob[9:],
    }[cut]
    requests = decoded(*({"time": shops.START, "card": card} for card in "ab"))
    vectors = await VectorReader(PLAN, NAMES, store).read(requests)
    count = PLAN.schema.names.index("spent_count_card_1h")
    assert [0.0, 1.0] == vectors.matrix[:, count].tolist()
