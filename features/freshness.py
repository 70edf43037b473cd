"""How far the events have come: what is applied to the windows of every partition."""

from __future__ import annotations

from features.store import OnlineStore
from tidemill.topics import Names

UPDATES_FENCE = "updates"  # the fence of the step that folds updates into windows
SOURCE = "source:"  # its field for the next offset of a source partition of events


async def applied_offsets(store: OnlineStore, names: Names) -> dict[int, int]:
    """For each partition of events, the offset below which every entity is up to date.

    Raises StoreUnavailable.
    """
    partitions = range(names.partitions)
    fences = [names.fence(UPDATES_FENCE, target) for target in partitions]
    fields = await store.fence_fields(fences)
    return {
        source: min(each.get(f"{SOURCE}{source}", 0) for each in fields) for source in partitions
    }
