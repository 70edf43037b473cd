"""Ownership of one partition: the fence as last seen, and commits only the owner can make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from features.store import Commit, OnlineStore
from tidemill.bus import Message
from tidemill.errors import FencedError, StateLost
from tidemill.topics import Names

OFFSET = "offset:"


class Ownership:
    """One step's hold on one partition; offsets and effects change together or not at all."""

    def __init__(self, store: OnlineStore, names: Names, step: str, partition: int) -> None:
        self._store = store
        self.fence = names.fence(step, partition)
        self.side = names.side(step, partition)
        self.fields: dict[str, int] = {}

    async def open(self, claim: bool) -> None:
        """Read the fence; with `claim` become its owner first.

        Without `claim` raises FencedError when someone else has become the owner since, and
        StateLost when nobody has and yet the fence is not as this owner left it. Either way
        writes, and so raises StoreUnavailable when the store is full: a step that only read would
        go on, send what follows to the broker and fail at its commit, again and again.
        """
        if claim:
            self.fields = await self._store.claim(self.fence)
            return
        epoch = self.fields["epoch"]
        with suppress(FencedError):  # by whom, the fence itself says
            await self._store.commit(Commit(self.fence, self.side, epoch, {}, {"epoch": epoch}))
        (fields,) = await self._store.fence_fields([self.fence])
        found = fields.get("epoch", 0)
        if found < epoch:  # epochs only grow
            raise StateLost(self.fence, found, epoch)
        if found > epoch:
            raise FencedError(f"{self.fence}: epoch {found} is another owner's")
        self.fields = fields

    def offset(self, kind: str) -> int:
        """The next offset to process of a topic of this kind."""
        return self.fields.get(OFFSET + kind, 0)

    def unseen(self, kind: str, messages: Sequence[Message]) -> Sequence[Message]:
        """Those records that no commit has covered: a log may deliver one a second time."""
        committed = self.offset(kind)
        if not messages or messages[0].offset >= committed:
            return messages
        return [message for message in messages if message.offset >= committed]

    def get(self, name: str) -> int:
        """Any other field, 0 when it was never set."""
        return self.fields.get(name, 0)

    async def commit(  # noqa: PLR0913 - one atomic step has this many kinds of effect
        self,
        offsets: Mapping[str, int],
        *,
        fields: Mapping[str, int] | None = None,
        counters: Mapping[str, int] | None = None,
        side_set: Mapping[str, bytes] | None = None,
        side_delete: Sequence[str] = (),
        blobs: Sequence[tuple[str, bytes]] = (),
        expires_ms: Sequence[int] = (),
    ) -> None:
        """Move on to `offsets` with all effects at once. Raises FencedError or StoreUnavailable."""
        changed = {OFFSET + kind: offset for kind, offset in offsets.items()} | dict(fields or {})
        added = {name: delta for name, delta in (counters or {}).items() if delta}
        await self._store.commit(
            Commit(
                fence=self.fence,
                side=self.side,
                epoch=self.fields["epoch"],
                expected={OFFSET + kind: self.offset(kind) for kind in offsets},
                fields=changed,
                counters=added,
                side_set=side_set or {},
                side_delete=side_delete,
                blobs=blobs,
                expires_ms=expires_ms,
            )
        )
        self.fields.update(changed)
        for name, delta in added.items():
            self.fields[name] = self.get(name) + delta
