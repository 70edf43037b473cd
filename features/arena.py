"""Many entities' rows in one growing array, so that one kernel call folds a whole micro-batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.plan import EntityPlan, GroupPlan
from features.sketches.state import SketchState
from features.windows import fold

KEPT_SHARE = 0.75
"""How much of a full arena stays when the entities that were idle for longest leave it."""


@dataclass(frozen=True)
class EntityRows:
    """Entities as the vectors are finalised from them.

    words int32 (entities, words); slots int64 (requests,): each request's entity, -1 for one never
    seen; `sketches` of those entities that have any, by slot.
    """

    words: NDArray[np.int32]
    slots: NDArray[np.int64]
    sketches: Mapping[int, SketchState] = field(default_factory=dict)


class Arena:
    """The state of one entity type, by key."""

    def __init__(self, plan: EntityPlan, capacity: int = 64) -> None:
        self.plan = plan
        self.words = np.zeros((capacity, plan.words), dtype=np.int32)
        self._slots: dict[str, int] = {}
        self._sketches: dict[int, SketchState] = {}
        self._touched = np.zeros(capacity, dtype=np.int64)
        self._turn = 0

    def __len__(self) -> int:
        return len(self._slots)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those keys, each once, that are not in memory."""
        slots = self._slots
        return [key for key in dict.fromkeys(keys) if key not in slots]

    def load(self, keys: Sequence[str], blobs: Sequence[bytes | None]) -> None:
        """Put entities into memory: their blobs, or new rows without one of this layout."""
        begin = len(self._slots)
        self._grow(begin + len(keys))
        for slot, (key, blob) in enumerate(zip(keys, blobs, strict=True), begin):
            self._slots[key] = slot
            if blob is not None and usable(self.plan, blob):
                self.words[slot] = np.frombuffer(blob, np.int32, self.plan.words)
                tail = blob[self.plan.bytes :]
            else:
                self.words[slot] = 0
                self.words[slot, 2] = self.plan.layout
                tail = b""
            if self.plan.sketch_rings:
                self._sketches[slot] = SketchState.decode(self.plan.sketch_rings, tail)

    def slots_or_none(self, keys: Sequence[str | None]) -> NDArray[np.int64]:
        """The rows of keys, -1 for a key that is None or not in memory."""
        slots = self._slots
        return np.fromiter(
            (-1 if key is None else slots.get(key, -1) for key in keys), np.int64, len(keys)
        )

    def rows(self, keys: Sequence[str | None]) -> EntityRows:
        """The entities of some requests, to be finalised."""
        return EntityRows(self.words, self.slots_or_none(keys), self._sketches)

    def fold(
        self,
        group: GroupPlan,
        keys: Sequence[str],
        codes: NDArray[np.integer],
        times: NDArray[np.int64],
        values: NDArray[np.float32],
    ) -> int:
        """Fold rows of one event; returns how many values came too late for their window.

        keys: distinct, all in memory; codes (rows,): each row's place in keys.
        """
        known = self._slots
        own = np.fromiter((known[key] for key in keys), np.int64, len(keys))
        self._turn += 1
        self._touched[own] = self._turn
        late = 0
        if group.sketches and len(own):
            late = self._fold_sketches(group, own, codes, times, values)
        return late + int(
            fold(self.words, own[codes], times, values, group.rings, group.lasts, group.decays,
                 group.begin, group.end, self.plan.forget_ms)
        )  # fmt: skip

    def blobs_of(self, keys: Sequence[str]) -> list[bytes]:
        """Entities as they are stored."""
        known, size = self._slots, self.plan.bytes
        own = [known[key] for key in keys]
        data = self.words[own].tobytes()
        found = [data[at : at + size] for at in range(0, len(data), size)]
        if not self.plan.sketch_rings:
            return found
        return [blob + self._sketches[slot].encode() for blob, slot in zip(found, own, strict=True)]

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Every entity as it is stored."""
        keys = list(self._slots)
        for begin in range(0, len(keys), 1000):
            some = keys[begin : begin + 1000]
            yield from zip(some, self.blobs_of(some), strict=True)

    def trim(self, limit: int) -> None:
        """Once there are more than `limit` entities, forget those touched longest ago.

        The store must have what is forgotten: call between a commit and the next fold.
        """
        count = len(self._slots)
        if count <= limit:
            return
        kept = int(limit * KEPT_SHARE)
        newest = np.argpartition(self._touched[:count], count - kept)[count - kept :]
        newest.sort()
        place = {old: new for new, old in enumerate(newest.tolist())}
        self.words[:kept] = self.words[newest]
        self._touched[:kept] = self._touched[newest]
        self._slots = {key: place[at] for key, at in self._slots.items() if at in place}
        self._sketches = {place[at]: s for at, s in self._sketches.items() if at in place}

    def _grow(self, wanted: int) -> None:
        if wanted > len(self.words):
            size = max(wanted, 2 * len(self.words))
            words = np.zeros((size, self.plan.words), np.int32)
            words[: len(self.words)] = self.words
            touched = np.zeros(size, np.int64)
            touched[: len(self._touched)] = self._touched
            self.words, self._touched = words, touched

    def _fold_sketches(
        self,
        group: GroupPlan,
        own: NDArray[np.int64],
        codes: NDArray[np.integer],
        times: NDArray[np.int64],
        values: NDArray[np.float32],
    ) -> int:
        """Entity by entity, each with its rows in the order in which they came."""
        late = 0
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(own)))
        for place, rows in enumerate(np.split(order, ends[:-1])):
            slot, moments = int(own[place]), times[rows]
            state, silences = self._sketches[slot], self._silences(group, slot, moments)
            if len(silences):
                for ring in group.sketches:
                    state.clear(ring)
                rows, moments = rows[silences[-1] :], moments[silences[-1] :]
            for ring in group.sketches:
                column = self.plan.sketch_rings[ring].column
                late += state.update(ring, moments, values[rows, column])
        return late

    def _silences(self, group: GroupPlan, slot: int, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """The rows that ended a silence after which the kernel forgets, too."""
        forget = self.plan.forget_ms
        newest = int(self.words[slot, group.begin : group.begin + 2].view(np.int64)[0])
        before = np.maximum.accumulate(np.concatenate(([newest], times[:-1])))
        return np.flatnonzero((forget > 0) & (before > 0) & (times - before > forget))


def usable(plan: EntityPlan, blob: bytes) -> bool:
    """True when a blob has the layout the plan expects."""
    fits = len(blob) >= plan.bytes if plan.sketch_rings else len(blob) == plan.bytes
    return fits and int.from_bytes(blob[8:12], "little") == plan.layout
