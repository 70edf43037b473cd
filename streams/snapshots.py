"""A learner's snapshots in the store: whole ones, what changed since, and the last good one."""

from __future__ import annotations

from collections.abc import Callable

from features.store import OnlineStore
from learners.learner import Incremental, Learner
from learners.snapshot import Newest, Snapshot, digest
from streams.learning import Learning
from tidemill.errors import ArtifactError
from tidemill.topics import Names

# Whoever starts reads the whole snapshot and every change since, so there is an end to them.
MOST_CHANGES = 64
_TRIES = 5
Restore = Callable[[Snapshot], Learner]


class Snapshots:
    """Encodes what is to be written and reads what lies there; writing is the step's own.

    Learners that say what they touched are published by their changes, until these are as much as
    half of the whole.
    """

    def __init__(self, store: OnlineStore, names: Names, learner: str, schema: str) -> None:
        self._store, self._names = store, names
        self._learner, self._schema = learner, schema
        self._base = self._whole_bytes = self._change_bytes = 0
        self._kept: Learning | None = None

    def begin(self) -> None:
        """The next snapshot is a whole one: the state is not the one last written and its heir."""
        self._base, self._kept = 0, None

    def encode(self, learning: Learning, now_ms: int) -> tuple[bytes, list[tuple[str, bytes]]]:
        """The snapshot's bytes, and the blobs that must be written together."""
        state, base = self._state(learning)
        record = learning.snapshot(self._learner, self._schema, now_ms, state, base)
        data = record.encode()
        newest = Newest(record.release, record.number, base, digest(data))
        change = record.number - base
        blobs = [
            (self._names.snapshot(self._learner, change), data),
            (self._names.newest_snapshot(self._learner), newest.encode()),
        ]
        kept = learning.checkpoint
        if kept is not None and kept is not self._kept:
            self._kept = kept
            good = kept.snapshot(
                self._learner, self._schema, now_ms, kept.learner.snapshot(), kept.number
            )
            blobs.append((self._names.checkpoint(self._learner), good.encode()))
        return data, blobs

    def last(self, learning: Learning, now_ms: int) -> list[tuple[str, bytes]]:
        """The blobs of a whole snapshot after which there are no more; empty ones are to go."""
        self.begin()
        _, blobs = self.encode(learning, now_ms)
        if not isinstance(learning.learner, Incremental):
            return blobs
        changes = range(1, MOST_CHANGES + 2)
        return [*blobs, *((self._names.snapshot(self._learner, n), b"") for n in changes)]

    async def read(self) -> tuple[list[Snapshot], bytes, Snapshot | None] | None:
        """The newest whole snapshot with all changes, the last one's bytes, and the checkpoint.

        None when there is none. Raises ArtifactError when they do not fit together.
        """
        found = await read_missing(self._store, self._names, self._learner, ("", 0))
        if not found:
            return None
        chain = [Snapshot.decode(each) for each in found]
        first = chain[0]
        expected = [(first.release, first.number + n, first.number) for n in range(len(chain))]
        if [(each.release, each.number, each.base) for each in chain] != expected:
            numbers = [each.number for each in chain]
            raise ArtifactError(
                f"snapshots of {self._learner}: found {numbers}; allowed: a whole one, its changes"
            )
        (good,) = await self._store.read([self._names.checkpoint(self._learner)])
        return chain, found[-1], Snapshot.decode(good) if good else None

    def _state(self, learning: Learning) -> tuple[bytes, int]:
        learner = learning.learner
        if not isinstance(learner, Incremental):
            return learner.snapshot(), learning.number
        changes = learner.changes()
        much = self._change_bytes + len(changes) > self._whole_bytes // 2
        if not self._base or much or learning.number - self._base > MOST_CHANGES:
            whole = learner.snapshot()
            self._base, self._whole_bytes, self._change_bytes = learning.number, len(whole), 0
            return whole, self._base
        self._change_bytes += len(changes)
        return changes, self._base


async def read_missing(
    store: OnlineStore, names: Names, learner: str, have: tuple[str, int]
) -> list[bytes]:
    """What brings a reader that has this release and number to the newest snapshot.

    Empty when it has it, when there is none, or when a writer keeps getting in between. Raises
    ArtifactError and StoreUnavailable.
    """
    place = names.newest_snapshot(learner)
    (newest,) = await store.read([place])
    for _ in range(_TRIES):
        if newest is None:
            return []
        numbers = Newest.decode(newest).missing(*have)
        if not numbers:
            return []
        # All in one step of the store: what lies there belongs together if the newest is the same.
        *found, after = await store.read([*(names.snapshot(learner, n) for n in numbers), place])
        if after == newest:
            return [each for each in found if each is not None]
        newest = after
    return []


async def newest_snapshot(store: OnlineStore, names: Names, learner: str) -> Snapshot | None:
    """The newest snapshot alone, whole or not, for what it says beside its state.

    One that is written meanwhile may come instead. None when there is none. Raises
    StoreUnavailable, and ArtifactError when it is gone.
    """
    (data,) = await store.read([names.newest_snapshot(learner)])
    if data is None:
        return None
    newest = Newest.decode(data)
    (record,) = await store.read([names.snapshot(learner, newest.number - newest.base)])
    if record is None:
        raise ArtifactError(f"snapshot {newest.number} of {learner}: found nothing in the store")
    return Snapshot.decode(record)


def restored(chain: list[Snapshot], restore: Restore) -> Learner:
    """The learner of a whole snapshot and its changes. Raises ArtifactError."""
    learner = restore(chain[0])
    for change in chain[1:]:
        if not isinstance(learner, Incremental):
            raise ArtifactError(f"snapshot {change.number}: found changes; allowed: a whole state")
        learner.apply(change.state)
    return learner
