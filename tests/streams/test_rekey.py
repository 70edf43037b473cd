"""The first step of an event: what is accepted, what is a dead letter, and what a crash changes."""

from collections import Counter

import numpy as np
import pytest
from stream_world import DAY, NOW, PARTITIONS, SKEW, World

from streams.dead_letters import TooManyDeadLetters
from tidemill.bus import Message
from tidemill.durations import HOUR_MS
from tidemill.errors import StoreUnavailable
from tidemill.topics import DEADLETTERS, EVENTS, UPDATES
from tidemill.wire import UpdateBatch, UpdateGroup, decode


def batches(world: World) -> list[UpdateBatch]:
    """Every update record in all target partitions."""
    return [
        decode(UpdateBatch, message.value)
        for target in range(PARTITIONS)
        for message in world.bus.log(UPDATES, target)
    ]


def groups(world: World) -> list[UpdateGroup]:
    """Every group of rows."""
    return [group for batch in batches(world) for group in batch.groups]


async def test_every_accepted_event_is_first_once(world: World) -> None:
    """Each accepted event is marked first in exactly one of its rows, also one no window takes."""
    for i in range(7):
        world.event(card=f"c{i}", shop=f"s{i % 2}", time=NOW + i)
    world.event(shop=None)
    world.bus.append(EVENTS, b'{"event":"note","card":"c1","time":5}', partition=0)
    refund = b'{"event":"refund","card":"c1","amount":3,"time":1400000000000}'
    world.bus.append(EVENTS, refund, partition=0)
    await (await world.reader(world.rekey).start()).read()
    marks: Counter[int] = Counter()
    for group in groups(world):
        offsets, first = np.frombuffer(group.offsets, "<i8"), np.frombuffer(group.first, "u1")
        marks.update(dict(zip(offsets.tolist(), first.tolist(), strict=True)))
    assert dict.fromkeys(range(10), 1) == dict(marks)


async def test_every_target_hears_how_far_the_source_is(world: World) -> None:
    """Each target partition gets one record per micro-batch, rows for it or not."""
    world.event(partition=1)
    await (await world.reader(world.rekey, 1).start()).read()
    found = [(batch.source, batch.next_offset) for batch in batches(world)]
    assert [(1, 1)] * PARTITIONS == found


async def test_rows_go_to_the_owner_of_their_key(world: World) -> None:
    """A row is sent to the partition that owns its entity."""
    for i in range(20):
        world.event(card=f"c{i}", time=NOW + i)
    await (await world.reader(world.rekey).start()).read()
    wrong = [
        key
        for target in range(PARTITIONS)
        for message in world.bus.log(UPDATES, target)
        for group in decode(UpdateBatch, message.value).groups
        for key in group.keys
        if world.names.entity_partition(key) != target
    ]
    assert [] == wrong


PAYMENT = b'{"event":"payment","card":"c","shop":"s","amount":1,"time":1400000000000'
BAD = [
    (b"", "malformed"),
    (None, "malformed"),
    (b"{", "malformed"),
    (b"\xff\xfe", "malformed"),
    (b'{"event":"note","card":"c","time":5,"deep":' + b"[" * 100_000, "unknown_field"),
    (b"[]", "wrong_type"),
    (b'{"event":"theft","card":"c","time":5}', "unknown_event"),
    (b'{"card":"c","time":5}', "unknown_event"),
    (b'{"event":"refund","card":"c","time":5}', "missing_field"),
    (PAYMENT + b',"colour":"red"}', "unknown_field"),
    (b'{"event":"refund","card":7,"amount":1,"time":5}', "wrong_type"),
    (b'{"event":"refund","card":"c","amount":NaN,"time":5}', "malformed"),
    (b'{"event":"refund","card":"c","amount":1e999,"time":5}', "invalid_value"),
    (b'{"event":"refund","card":"c","amount":1,"time":0}', "absurd_time"),
    (b'{"event":"refund","card":"c","amount":1,"time":99999999999999}', "absurd_time"),
    (b'{"event":"refund","card":"c","amount":1,"time":"yesterday"}', "invalid_value"),
]


@pytest.mark.parametrize(("body", "cause"), BAD)
async def test_unusable_input_is_a_dead_letter(
    world: World, body: bytes | None, cause: str
) -> None:
    """Input that cannot be used is kept with its bytes, place and cause, and good input passes."""
    world.event()
    world.bus.append(EVENTS, body, b"key", 0)
    world.event()
    await (await world.reader(world.rekey).start()).read()
    (letter,) = world.dead_letters()
    expected = ("payments.events", 0, 1, cause, b"key", body or b"", NOW)
    found = (letter.topic, letter.partition, letter.offset, letter.cause, letter.key)
    assert expected == (*found, letter.value, letter.time_ms)
    fence = world.fence("events")
    counts = (fence["events_read"], fence["events_accepted"], fence["dead_letters"])
    assert (3, 2, 1) == counts


async def test_a_repeated_id_is_a_dead_letter(world: World) -> None:
    """The second event of an id within the window is refused."""
    world.event(id="a")
    world.event(id="a")
    world.event(id="b")
    await (await world.reader(world.rekey).start()).read()
    assert [(1, "duplicate")] == [(each.offset, each.cause) for each in world.dead_letters()]


async def test_ids_are_known_again_after_a_restart(world: World) -> None:
    """A new worker reads the window of ids again before it goes on."""
    world.event(id="a")
    await (await world.reader(world.rekey).start()).read()
    world.event(id="a")
    reader = await world.reader(world.rekey).start()
    assert {EVENTS: 0} == reader.places
    await reader.read_all(1)
    assert [(1, "duplicate")] == [(each.offset, each.cause) for each in world.dead_letters()]
    assert (2, 1) == (world.fence("events")["events_read"], world.fence("events")["dead_letters"])


async def test_an_event_too_early_stays_refused_after_a_restart(world: World) -> None:
    """What is absurd is told by the log's own time, so that time passing does not change it."""
    world.event(time=NOW + SKEW + 1, id="a")
    world.event(id="a")
    world.store.faults = ["before"]
    with pytest.raises(StoreUnavailable):
        await (await world.reader(world.rekey).start()).read()
    world.clock.advance(2 * SKEW)
    await (await world.reader(world.rekey).start()).read()
    causes = [(each.offset, each.cause) for each in world.dead_letters()]
    assert [(0, "absurd_time")] * 2 == causes


async def test_an_event_older_than_every_window_is_a_dead_letter(world: World) -> None:
    """Too late is what no window can take any more, even if another's clock is fast."""
    longest = DAY + HOUR_MS + SKEW  # the tail of a day lies within a tile of an hour
    world.event(time=NOW)
    world.event(time=NOW - longest)
    world.event(time=NOW - longest - 1)
    world.bus.append(EVENTS, b'{"event":"note","card":"c1","time":5}', partition=0)
    await (await world.reader(world.rekey).start()).read()
    assert [(2, "too_late")] == [(each.offset, each.cause) for each in world.dead_letters()]


async def test_what_is_too_late_does_not_depend_on_where_a_batch_ends(world: World) -> None:
    """A worker that goes on from the middle of the log decides as one that read all of it."""
    world.event(time=NOW)
    await (await world.reader(world.rekey).start()).read()
    world.event(time=NOW - DAY - HOUR_MS - SKEW - 1)
    await (await world.reader(world.rekey).start()).read_all(1)
    assert [(1, "too_late")] == [(each.offset, each.cause) for each in world.dead_letters()]


async def test_too_many_dead_letters_stop_the_step(tmp_path) -> None:
    """More dead letters in a row than the limit raise, once they are written."""
    world = World(tmp_path, limit=3)
    for _ in range(4):
        world.bus.append(EVENTS, b"?", partition=0)
    reader = await world.reader(world.rekey).start()
    with pytest.raises(TooManyDeadLetters):
        await reader.read()
    assert 4 == len(world.bus.log(DEADLETTERS))


async def test_good_input_ends_the_row_of_dead_letters(tmp_path) -> None:
    """The limit counts dead letters in a row only."""
    world = World(tmp_path, limit=3)
    for _ in range(3):
        world.bus.append(EVENTS, b"?", partition=0)
        world.bus.append(EVENTS, b"?", partition=0)
        world.event()
    await (await world.reader(world.rekey).start()).read_all(3)
    assert 6 == world.fence("events")["dead_letters"]


async def test_a_record_delivered_again_changes_nothing(world: World) -> None:
    """Records below the committed offset are not sent on."""
    world.event()
    reader = await world.reader(world.rekey).start()
    await reader.read()
    records: dict[str, list[Message]] = {EVENTS: list(world.bus.log(EVENTS, 0))}
    await reader.step.process(0, records)
    assert (PARTITIONS, 1) == (len(batches(world)), world.fence("events")["events_read"])
