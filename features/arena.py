"""Many entities' rows in one growing array, so that one kernel call folds a whole micro-batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from features.plan import EntityPlan, GroupPlan
from features.windows import fold


class Arena:
    """The windows of one entity type, by key."""

    def __init__(self, plan: EntityPlan, capacity: int = 64) -> None:
        self.plan = plan
        self.words = np.zeros((capacity, plan.words), dtype=np.int32)
        self._slots: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those keys, each once, that are not in memory."""
        return [key for key in dict.fromkeys(keys) if key not in self._slots]

    def load(self, key: str, blob: bytes | None) -> None:
        """Put one entity into memory: its blob, or a new row without one of this layout."""
        slot = len(self._slots)
        if slot == len(self.words):
            self.words = np.concatenate((self.words, np.zeros_like(self.words)))
        self._slots[key] = slot
        if blob is not None and usable(self.plan, blob):
            self.words[slot] = np.frombuffer(blob, np.int32)
        else:
            self.words[slot, 2] = self.plan.layout

    def slots(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """The rows of keys in memory; KeyError for one that is not."""
        slots = self._slots
        return np.fromiter((slots[key] for key in keys), np.int64, len(keys))

    def slots_or_none(self, keys: Sequence[str | None]) -> NDArray[np.int64]:
        """The rows of keys, -1 for a key that is None or not in memory."""
        slots = self._slots
        return np.fromiter(
            (-1 if key is None else slots.get(key, -1) for key in keys), np.int64, len(keys)
        )

    def fold(
        self,
        group: GroupPlan,
        keys: Sequence[str],
        times: NDArray[np.int64],
        values: NDArray[np.float32],
    ) -> int:
        """Fold rows of one event into their keys' windows; returns how many came too late."""
        slots = self.slots(keys)
        return int(fold(self.words, slots, times, values, group.rings, group.lasts))

    def blob(self, key: str) -> bytes:
        """One entity as it is stored."""
        blob: bytes = self.words[self._slots[key]].tobytes()
        return blob

    def blobs(self) -> Iterator[tuple[str, bytes]]:
        """Every entity as it is stored."""
        for key, slot in self._slots.items():
            yield key, self.words[slot].tobytes()


def usable(plan: EntityPlan, blob: bytes) -> bool:
    """True when a blob has the layout the plan expects."""
    return len(blob) == plan.bytes and int(np.frombuffer(blob, np.int32, 1, 8)[0]) == plan.layout
