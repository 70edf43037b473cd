"""The store's book of declarations: whose state is ready in it, and which of them serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from features.evolution.differences import Definition
from features.store import Commit, OnlineStore
from tidemill.errors import FencedError, StateMissing
from tidemill.topics import DEFINITIONS, Names

ACTIVE, STATE = "active", "state:"
_ATTEMPTS = 20
Book = Mapping[str, bytes]
_encode = msgspec.json.Encoder().encode


class ReadyState(msgspec.Struct, frozen=True):
    """A state that workers may go on with: since when, and whether it began empty or backfilled."""

    since_ms: int
    made_by: Literal["start", "backfill"]


class StateBook:
    """Reads and changes the book; every call raises StoreUnavailable when the store is away."""

    def __init__(self, store: OnlineStore, names: Names) -> None:
        self._store = store
        self._fence, self._side = names.fence(DEFINITIONS, 0), names.side(DEFINITIONS, 0)

    async def active(self) -> Definition | None:
        """The declaration that serves; None before any did."""
        return _active(await self._store.side(self._side))

    async def states(self) -> dict[str, ReadyState]:
        """The states that are ready."""
        return _states(await self._store.side(self._side))

    async def begin(self, definition: Definition) -> None:
        """Let a worker go on with the definition's state, or begin it where there is none at all.

        Raises StateMissing where other states hold what was applied before and this one does not.
        """
        state = definition.state

        def decide(book: Book) -> Book:
            ready = _states(book)
            if state not in ready and ready:
                raise StateMissing(state, sorted(ready))
            record = ReadyState(definition.since_ms, "start")
            wanted = {STATE + state: _encode(record), ACTIVE: _encode(definition)}
            return {name: value for name, value in wanted.items() if name not in book}

        await self._change(decide)

    async def serve(self, definition: Definition) -> None:
        """Remember which declaration serves."""

        def decide(book: Book) -> Book:
            active = _active(book)
            same = active is not None and _meaning(active) == _meaning(definition)
            return {} if same else {ACTIVE: _encode(definition)}

        await self._change(decide)

    async def add(self, state: str, now_ms: int) -> None:
        """A backfilled state is complete."""
        record = _encode(ReadyState(now_ms, "backfill"))
        await self._change(lambda _: {STATE + state: record})

    async def remove(self, state: str) -> None:
        """A state is about to be deleted: no worker may go on with it."""
        await self._change(lambda book: {STATE + state: None} if STATE + state in book else {})

    async def _change(self, decide: Callable[[Book], Mapping[str, bytes | None]]) -> None:
        """Set (None: delete) what `decide` says of the book as it is; nothing comes in between."""
        if not decide(await self._store.side(self._side)):
            return
        for _ in range(_ATTEMPTS):
            epoch = (await self._store.claim(self._fence))["epoch"]
            changes = decide(await self._store.side(self._side))
            commit = Commit(
                self._fence, self._side, epoch, {}, {},
                side_set={name: value for name, value in changes.items() if value is not None},
                side_delete=[name for name, value in changes.items() if value is None],
            )  # fmt: skip
            try:
                return await self._store.commit(commit)
            except FencedError:  # another process changed it in between
                continue
        raise FencedError(f"{self._fence}: found others writing {_ATTEMPTS} times; allowed: one")


def _active(book: Book) -> Definition | None:
    found = book.get(ACTIVE)
    return None if found is None else msgspec.json.decode(found, type=Definition)


def _states(book: Book) -> dict[str, ReadyState]:
    return {
        name.removeprefix(STATE): msgspec.json.decode(value, type=ReadyState)
        for name, value in book.items()
        if name.startswith(STATE)
    }


def _meaning(definition: Definition) -> Definition:
    return msgspec.structs.replace(definition, since_ms=0)
