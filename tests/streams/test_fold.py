"""Updates into windows: each row once, though re-sent, cut differently or sent by a zombie."""

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_world import NOW, PARTITIONS, World, make_project, plan

from features.replay import Replayer
from tidemill.durations import HOUR_MS as HOUR
from tidemill.errors import BusUnavailable, FencedError, StoreUnavailable
from tidemill.topics import EVENTS, UPDATES
from tidemill.wire import UpdateBatch, decode


async def rekey_all(world: World, limit: int = 1_000) -> None:
    """Send the updates of every source partition."""
    for source in range(PARTITIONS):
        await (await world.reader(world.rekey, source).start()).read_all(limit)


async def fold_all(world: World, limit: int = 1_000) -> None:
    """Fold every target partition."""
    for target in range(PARTITIONS):
        await (await world.reader(world.fold, target).start()).read_all(limit)


def card_partition(world: World) -> int:
    """The partition that owns card c1."""
    return world.names.entity_partition("c1")


async def test_state_is_what_a_replay_computes(world: World) -> None:
    """What the worker stores is what the same kernel computes over the same columns."""
    amounts = [3.0, 8.5, 1.25, 40.0]
    for i, amount in enumerate(amounts):
        world.event(amount=amount, time=NOW + 60_000 * i)
    await rekey_all(world)
    await fold_all(world)
    replayer = Replayer(plan())
    columns = {
        "time": NOW + 60_000 * np.arange(4),
        "card": np.array(["c1"] * 4, dtype=object),
        "shop": np.array(["s1"] * 4, dtype=object),
        "amount": np.array(amounts),
    }
    replayer.apply("payment", columns)
    place = world.names.entity_partition
    expected = {world.names.blob(place(k), e, k): blob for e, k, blob in replayer.blobs()}
    assert expected == world.store.blobs


async def test_entities_are_loaded_from_the_store_after_a_restart(world: World) -> None:
    """A new worker goes on from the stored windows, not from empty ones."""
    for i in range(4):
        world.event(time=NOW + i)
        await rekey_all(world)
        await fold_all(world)
    blob = world.store.blobs[world.names.blob(card_partition(world), "card", "c1")]
    sums = np.frombuffer(blob, np.float64)  # where sums lie among the words
    assert (True, 4) == (20.0 in sums, world.total("updates", "events_applied"))


async def test_batches_sent_again_and_cut_differently_apply_once(world: World) -> None:
    """Rows that reach a partition in several records count once."""
    for i in range(6):
        world.event(time=NOW + i)
    for cut in (4, 1, 3):
        reader = await world.reader(world.rekey).start()
        world.store.faults = ["before"]
        with pytest.raises(StoreUnavailable):
            await reader.read(cut)
    await rekey_all(world, 5)
    await fold_all(world)
    assert 6 == world.total("updates", "events_applied")


async def test_a_zombie_writes_nothing(world: World) -> None:
    """A fold whose partition was taken over is refused and changes nothing."""
    target = card_partition(world)
    world.event()
    await rekey_all(world)
    zombie = await world.reader(world.fold, target).start()
    await world.reader(world.fold, target).start()
    with pytest.raises(FencedError):
        await zombie.read()
    assert {} == world.store.blobs
    with pytest.raises(FencedError):
        await zombie.step.open(target, claim=False)


async def test_updates_of_another_state_are_passed_over(world: World) -> None:
    """Rows of another declaration are folded by its own worker, beside this one."""
    world.event()
    await rekey_all(world)
    for target in range(PARTITIONS):
        batch = decode(UpdateBatch, world.bus.log(UPDATES, target)[0].value)
        other = msgspec.structs.replace(batch, state="another", next_offset=2)
        world.bus.append(UPDATES, other.encode(), partition=target)
    await fold_all(world)
    assert (1, 3) == (world.total("updates", "events_applied"), world.total("updates", "source:0"))


async def test_late_values_are_counted(world: World) -> None:
    """A value older than its ring is counted and changes no tile; the event still counts."""
    world.event(shop=None, time=NOW)
    world.event(shop=None, time=NOW - 3 * HOUR)
    await rekey_all(world)
    await fold_all(world)
    expected = (2, 1)  # one event late in the ring of an hour
    counts = ("events_applied", "late_values")
    assert expected == tuple(world.total("updates", name) for name in counts)


async def test_a_lost_answer_does_not_apply_twice(world: World) -> None:
    """A commit that happened but was not confirmed is found when the partition opens again."""
    target = card_partition(world)
    world.event()
    await rekey_all(world)
    reader = await world.reader(world.fold, target).start()
    world.store.faults = ["after"]
    await reader.read_all()
    assert 1 == world.total("updates", "events_applied")
    assert {UPDATES: 1} == reader.places


EVENT = st.fixed_dictionaries(
    {
        "source": st.integers(0, PARTITIONS - 1),
        "event": st.sampled_from(["payment", "payment", "refund", "note", "theft"]),
        "card": st.sampled_from(["c1", "c2", "c3"]),
        "shop": st.sampled_from(["s1", "s2", None]),
        # Whole amounts: float32 sums of them do not depend on the order of two sources.
        "amount": st.integers(0, 100),
        "id": st.sampled_from([None, None, None, "i1", "i2"]),
    }
)
FAULTS = ("", "", "before", "after", "crash", "zombie", "broker", "halfway")
ACTION = st.tuples(
    st.sampled_from(["rekey", "fold"]),
    st.integers(0, PARTITIONS - 1),
    st.integers(1, 9),
    st.sampled_from(FAULTS),
)
FIELDS = {"payment": ("card", "shop", "amount"), "refund": ("card", "amount"), "note": ("card",)}


def append(world: World, events: list[dict]) -> int:
    """Write the events; returns how many of them must be applied."""
    accepted, seen = 0, set()
    for place, event in enumerate(events):
        record = {name: event[name] for name in FIELDS.get(event["event"], ())}
        record |= {"event": event["event"], "id": event["id"], "time": NOW + 7_000 * place}
        source = event["source"]
        world.bus.append(EVENTS, msgspec.json.encode(record), partition=source)
        if event["event"] == "theft" or (event["id"] and (source, event["id"]) in seen):
            continue
        seen.add((source, event["id"]))
        accepted += 1
    return accepted


async def disturbed(world: World, actions: list[tuple[str, int, int, str]]) -> None:
    """Work through the actions, then let fresh workers finish."""
    made = {"rekey": world.rekey, "fold": world.fold}
    readers = {
        (kind, each): await world.reader(made[kind], each).start()
        for kind in made
        for each in range(PARTITIONS)
    }
    for kind, partition, count, fault in actions:
        reader = readers[kind, partition]
        if fault == "zombie":
            heir = await world.reader(made[kind], partition).start()
            try:
                await reader.read(count)
            except FencedError:
                pass
            reader = readers[kind, partition] = heir
        world.store.faults = [fault] if fault in ("before", "after") else []
        world.bus.reachable = fault != "broker"
        world.bus.room = 1 if fault == "halfway" else None
        if fault == "crash":
            world.store.faults = ["before"]
            try:
                await reader.read(count)
            except (StoreUnavailable, BusUnavailable):
                await reader.start()
        else:
            await reader.try_read(count)
        world.bus.reachable, world.bus.room, world.store.faults = True, None, []
    await rekey_all(world, 4)
    await fold_all(world, 3)


@settings(max_examples=120, deadline=None)
@given(events=st.lists(EVENT, max_size=30), actions=st.lists(ACTION, max_size=24))
def test_crashes_and_zombies_change_nothing(events: list[dict], actions: list) -> None:
    """However batches are cut and whatever dies, the stored bytes and counts are the same."""

    async def scenario() -> None:
        calm, wild = World(Path("unused")), World(Path("unused"))
        accepted = append(calm, events)
        append(wild, events)
        await rekey_all(calm)
        await fold_all(calm)
        await disturbed(wild, actions)
        assert calm.store.blobs == wild.store.blobs
        counted = ("events_read", "events_accepted", "dead_letters")
        expected = (len(events), accepted, len(events) - accepted)
        assert expected == tuple(wild.total("events", name) for name in counted)
        for world in (calm, wild):
            assert accepted == world.total("updates", "events_applied")

    asyncio.run(scenario())


def test_the_project_has_an_event_without_windows() -> None:
    """The property above covers events that only count."""
    taken = {window.event.name for window in make_project().features if hasattr(window, "event")}
    assert {"payment", "refund"} == taken


async def test_the_time_from_event_to_feature_is_observed(world: World) -> None:
    """Of the first event of each part, once; what is sent again is not counted again."""
    first = world.event()
    world.event()
    await rekey_all(world)
    world.clock.advance(2_500)
    await fold_all(world)
    await fold_all(world)
    name, registry = "tidemill_event_to_feature_seconds", world.measurements.registry
    waited = (world.clock.now_ms() - first.timestamp) / 1000
    count = registry.get_sample_value(f"{name}_count")
    assert count >= 1
    assert count * waited == pytest.approx(registry.get_sample_value(f"{name}_sum"))
