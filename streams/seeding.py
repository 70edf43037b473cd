"""Put a backfilled state into the store: blobs first, then the fences its worker goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from features.evolution.state_backfill import Reached
from features.freshness import SOURCE
from features.plan import FeaturePlan
from features.replay import Replayer
from features.store import Commit, OnlineStore
from streams.fencing import OFFSET
from streams.fold import EXPIRY_GRACE_MS, Fold
from streams.rekey import SEQUENCE, STREAM_TIME, Rekey
from tidemill.topics import EVENTS, EXAMPLES, UPDATES, Names

CHUNK = 2_000


async def write_blobs(
    store: OnlineStore,
    names: Names,
    plan: FeaturePlan,
    replayer: Replayer,
    advance: Callable[[int], None],
) -> int:
    """Write every entity under the state's own keys; returns how many. Safe to repeat.

    Raises StoreUnavailable.
    """
    grace = {e.entity.name: e.expires_ms and e.expires_ms + EXPIRY_GRACE_MS for e in plan.entities}
    count, entities = 0, replayer.blobs()
    while some := list(islice(entities, CHUNK)):
        blobs = [
            (names.blob(names.entity_partition(key), entity, key), blob)
            for entity, key, blob in some
        ]
        await store.write(blobs, [grace[entity] for entity, _, _ in some])
        count += len(some)
        advance(len(some))
    return count


async def write_fences(
    store: OnlineStore, names: Names, reached: Reached, updates: Mapping[int, int]
) -> None:
    """Say that the state has had everything the archive holds; `updates`: where to read on there.

    Whoever owned a partition of this state before is fenced off. Raises StoreUnavailable.
    """
    for fence, side, fields in _fences(names, reached, updates):
        epoch = (await store.claim(fence))["epoch"]
        await store.commit(Commit(fence, side, epoch, {}, fields))


def _fences(
    names: Names, reached: Reached, updates: Mapping[int, int]
) -> Iterator[tuple[str, str, dict[str, int]]]:
    sources = {f"{SOURCE}{source}": offset for source, offset in reached.offsets.items()}
    sources[f"{SOURCE}{names.label_source}"] = reached.examples
    for partition in range(names.partitions):
        read = reached.offsets.get(partition, 0)
        accepted = reached.accepted.get(partition, 0)
        fields = {
            OFFSET + EVENTS: read,
            STREAM_TIME: reached.stream_times.get(partition, 0),
            "events_read": read,
            "events_accepted": accepted,
            "dead_letters": read - accepted,
        }
        if partition == 0:  # the only one that reads the labels
            sequences = {f"{SEQUENCE}{p}": number for p, number in reached.sequences.items()}
            fields |= {OFFSET + EXAMPLES: reached.examples} | sequences
        yield names.fence(Rekey.name, partition), names.side(Rekey.name, partition), fields
        fields = {OFFSET + UPDATES: updates.get(partition, 0), "events_applied": accepted}
        yield names.fence(Fold.name, partition), names.side(Fold.name, partition), sources | fields
