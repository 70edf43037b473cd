"""The book says whose state is ready and which declaration serves, whoever writes at once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from shops import project

from features.evolution.differences import Definition, define
from features.evolution.state_book import StateBook
from features.plan import compile_plan
from features.store import MemoryStore
from tidemill.errors import StateMissing
from tidemill.topics import Names


def definition(state: str = "", schema: str = "") -> Definition:
    """The shop's declaration, of another state or schema if told."""
    found = define(compile_plan(project), 1)
    return msgspec.structs.replace(found, state=state or found.state, schema=schema or found.schema)


@pytest.fixture
def store() -> MemoryStore:
    """An empty store."""
    return MemoryStore()


@pytest.fixture
def book(store: MemoryStore) -> StateBook:
    """The book in it."""
    return StateBook(store, Names("shop", 4, "11111111", "a" * 12))


async def test_an_empty_store_has_no_book(book: StateBook) -> None:
    """Nothing serves and no state is ready."""
    assert (None, {}) == (await book.active(), await book.states())


async def test_the_first_worker_begins_its_state(book: StateBook) -> None:
    """Where nothing was applied, any declaration may begin, and is the one that serves."""
    await book.begin(definition())
    assert definition() == await book.active()
    assert {definition().state: "start"} == {s: r.made_by for s, r in (await book.states()).items()}


async def test_beginning_again_changes_nothing(book: StateBook, store: MemoryStore) -> None:
    """A restart, or a second worker, finds its state."""
    await book.begin(definition())
    before = {key: dict(side) for key, side in store.sides.items()}
    await book.begin(msgspec.structs.replace(definition(), since_ms=99))
    assert before == store.sides


async def test_another_state_must_be_backfilled_first(book: StateBook) -> None:
    """A worker whose windows lack what was applied before is told what to do."""
    await book.begin(definition())
    with pytest.raises(StateMissing, match="22222222: found only .*tidemill backfill"):
        await book.begin(definition("22222222"))
    await book.add("22222222", 5)
    await book.begin(definition("22222222"))
    assert definition() == await book.active()


async def test_another_schema_of_the_same_state_needs_nothing(book: StateBook) -> None:
    """A request feature more leaves the state as it is."""
    await book.begin(definition())
    await book.begin(definition(schema="b" * 12))
    assert 1 == len(await book.states())


async def test_what_serves_is_remembered(book: StateBook) -> None:
    """The api says which declaration answers; the same one again keeps its time."""
    await book.begin(definition())
    other = definition(schema="b" * 12)
    await book.serve(other)
    await book.serve(msgspec.structs.replace(other, since_ms=77))
    assert other == await book.active()


async def test_a_removed_state_is_not_ready(book: StateBook) -> None:
    """No worker may go on with what is about to be deleted."""
    await book.begin(definition())
    await book.add("22222222", 5)
    await book.remove("22222222")
    await book.remove("33333333")
    assert [definition().state] == list(await book.states())


async def test_the_book_is_shared_by_all_declarations(book: StateBook, store: MemoryStore) -> None:
    """Whatever the names' state and schema, it is one book."""
    await book.begin(definition())
    assert definition() == await StateBook(store, Names("shop", 4, "9", "9")).active()


async def test_of_two_first_workers_of_different_states_one_begins(store: MemoryStore) -> None:
    """They race on an empty store: the second finds the first one's state and is refused."""

    class Slow(MemoryStore):
        async def side(self, key: str) -> dict[str, bytes]:
            found = await store.side(key)
            await asyncio.sleep(0)
            return found

        async def claim(self, fence: str) -> dict[str, int]:
            await asyncio.sleep(0)
            return await store.claim(fence)

        async def commit(self, commit: object) -> None:
            await asyncio.sleep(0)
            await store.commit(commit)

    names = Names("shop", 4)
    results = await asyncio.gather(
        *(StateBook(Slow(), names).begin(definition(state)) for state in ("22222222", "33333333")),
        return_exceptions=True,
    )
    assert 1 == sum(isinstance(result, StateMissing) for result in results)
    assert 1 == len(await StateBook(store, names).states())
