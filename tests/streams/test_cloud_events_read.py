"""CloudEvents on `events` count as events do, and stay readable in the archive."""

import msgspec
from stream_world import NOW, World

from features.archive.files import read_archive
from tidemill.topics import EVENTS

FIELDS = {"card": "c1", "shop": "s1", "amount": 5.0}
HEADERS = [
    ("ce_specversion", b"1.0"), ("ce_id", b"7"), ("ce_source", b"/tills/1"),
    ("ce_type", b"com.shop.payment"), ("content-type", b"application/json"),
]  # fmt: skip


def cloud_event(world: World, headers=HEADERS, **fields: object) -> None:
    """Append one in binary mode; its time is the data's own."""
    body = msgspec.json.encode(FIELDS | {"time": NOW} | fields)
    world.bus.append(EVENTS, body, b"c1", 0, headers)


async def test_they_count_among_other_events(world: World) -> None:
    """In whichever order they come, and beside records with other headers."""
    world.event()
    cloud_event(world)
    world.bus.append(EVENTS, world.event().value, b"c1", 0, [("traceparent", b"00-1")])
    await (await world.reader(world.rekey).start()).read()
    assert [] == world.dead_letters()
    assert 4 == world.fence("events")["events_accepted"]


async def test_source_and_id_make_a_duplicate(world: World) -> None:
    """The same event of another source is another event."""
    cloud_event(world)
    cloud_event(world)
    other = [(name, b"/tills/2" if name == "ce_source" else value) for name, value in HEADERS]
    cloud_event(world, other)
    await (await world.reader(world.rekey).start()).read()
    assert [(1, "duplicate")] == [(each.offset, each.cause) for each in world.dead_letters()]


async def test_one_that_is_none_is_a_dead_letter_with_its_headers(world: World) -> None:
    """Nothing of it is lost, and good ones pass."""
    cloud_event(world, HEADERS[1:])
    cloud_event(world)
    await (await world.reader(world.rekey).start()).read()
    (letter,) = world.dead_letters()
    assert (0, "invalid_cloudevent") == (letter.offset, letter.cause)
    assert HEADERS[1:] == [tuple(each) for each in letter.headers]
    assert FIELDS | {"time": NOW} == msgspec.json.decode(letter.value)


async def test_the_archive_holds_them_as_events(world: World) -> None:
    """A backfill reads them without their headers; one that is none is left out."""
    world.event(id="e1")
    cloud_event(world)
    cloud_event(world, HEADERS[1:])
    reader = await world.reader(world.archive).start()
    await reader.read()
    await reader.step.close()
    rows = read_archive(world.home, "payments", EVENTS).to_pylist()
    assert [(0, "e1"), (1, "/tills/1 7")] == [(row["offset"], row["id"]) for row in rows]
    assert {"event": "payment", "id": "/tills/1 7", "time": NOW} | FIELDS == (
        msgspec.json.decode(rows[1]["body"])
    )
