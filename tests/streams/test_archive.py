"""Records into Parquet: each once, whatever is delivered again, dies, or finds the disk full."""

import errno
import os

import pytest
from stream_world import NOW, World, plan

from features.archive.definitions import read_definitions
from features.archive.files import read_archive, read_examples
from streams.step import Reopen
from tidemill.errors import FencedError, StoreUnavailable
from tidemill.topics import EVENTS, EXAMPLES, PREDICTIONS


def offsets(world: World, topic: str = EVENTS) -> list[int]:
    """The offsets in a topic's archive."""
    return read_archive(world.home, "payments", topic)["offset"].to_pylist()


async def test_all_three_topics_are_archived(world: World) -> None:
    """Events, predictions and examples are written when the step closes."""
    event = world.event(id="e1")
    world.prediction("a")
    world.example(1)
    reader = await world.reader(world.archive).start()
    await reader.read()
    await reader.step.close()
    (row,) = read_archive(world.home, "payments", EVENTS).to_pylist()
    expected = ("payment", "e1", "c1", event.value, NOW, event.timestamp)
    names = ("event", "id", "key", "body", "time", "known_ms")
    assert expected == tuple(row[name] for name in names)
    assert ["a"] == read_archive(world.home, "payments", PREDICTIONS)["key"].to_pylist()
    assert [1] == read_examples(world.home, "payments")["sequence"].to_pylist()


async def test_a_topic_without_this_partition_is_left_out(world: World) -> None:
    """Examples have one partition, so the others do not ask for them."""
    reader = await world.reader(world.archive, 1).start()
    assert {EVENTS: 0, PREDICTIONS: 0} == reader.places


async def test_the_archive_says_what_its_vectors_mean(world: World) -> None:
    """The declaration lies beside the archive under its schema's hash."""
    await world.reader(world.archive).start()
    found = read_definitions(world.home, "payments")
    assert {plan().schema.hash: list(plan().schema.names)} == {
        schema: list(definition.features) for schema, definition in found.items()
    }


async def test_records_wait_for_enough_or_for_their_time(world: World) -> None:
    """A buffer is written when it has its rows, or its oldest record has waited long enough."""
    reader = await world.reader(lambda: world.archive(3, 5_000)).start()
    world.event()
    world.event()
    await reader.read()
    assert [] == offsets(world)
    world.event()
    await reader.read()
    assert [0, 1, 2] == offsets(world)
    world.event()
    await reader.read()
    world.clock.advance(5_000)
    await reader.read()
    assert [0, 1, 2, 3] == offsets(world)


async def test_a_restart_reads_again_what_was_only_buffered(world: World) -> None:
    """Nothing counts as archived before it is on the disk."""
    reader = await world.reader(lambda: world.archive(2)).start()
    for _ in range(3):
        world.event()
        await reader.read()
    await reader.start()
    assert 2 == reader.places[EVENTS]
    world.event()
    await reader.read()
    assert [0, 1, 2, 3] == offsets(world)


async def test_a_full_disk_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that fails is an unavailable store; afterwards every record is there once."""
    reader = await world.reader(lambda: world.archive(2)).start()
    world.event()
    world.event()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "rename", full)
        with pytest.raises(StoreUnavailable, match="No space left"):
            await reader.read()
    assert [] == offsets(world)
    reader.step.forget(0)
    reader.places = dict(await reader.step.open(0, claim=False))
    await reader.read()
    assert [0, 1] == offsets(world)


async def test_records_delivered_again_are_archived_once(world: World) -> None:
    """What is already buffered or written is not buffered again."""
    reader = await world.reader(lambda: world.archive(2)).start()
    world.event()
    await reader.read()
    await reader.step.process(0, {EVENTS: list(world.bus.log(EVENTS, 0))})
    world.event()
    await reader.read()
    await reader.step.process(0, {EVENTS: list(world.bus.log(EVENTS, 0))})
    await reader.step.close()
    assert [0, 1] == offsets(world)


async def test_a_writer_that_lost_its_partition_does_not_take_it_back(world: World) -> None:
    """The files belong to the newest owner; the old one is fenced until the group asks it again."""
    world.event()
    old = await world.reader(world.archive).start()
    await old.read()
    world.event()
    late = await world.reader(lambda: world.archive(rows=1)).start()
    new = await world.reader(world.archive).start()
    with pytest.raises(Reopen):
        await late.read()
    await old.step.close()
    old.step.forget(0)
    with pytest.raises(FencedError):
        await old.step.open(0, claim=False)
    await new.read()
    await new.step.close()
    assert [0, 1] == offsets(world)
    assert 2 == (await old.step.open(0, claim=True))[EVENTS]


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"{",
        b"\xff",
        b'{"event":"payment"}',
        b'{"event":"payment","time":0}',
        b'{"event":"payment","time":9000000000000000000}',
        b'{"event":"payment","time":99999999999999999999999}',
        b'{"event":"payment","time":"2014-05-13T16:53:20"}',
        b'{"event":"payment","time":5,"deep":' + b"[" * 100_000,
    ],
)
async def test_events_that_are_dead_letters_do_not_stop_the_archive(
    world: World, body: bytes | None
) -> None:
    """What has no readable kind and time is passed over, and the offset moves on."""
    world.event()
    world.bus.append(EVENTS, body, partition=0)
    world.event()
    reader = await world.reader(world.archive).start()
    await reader.read()
    await reader.step.close()
    assert [0, 2] == offsets(world)
    assert 3 == (await reader.start()).places[EVENTS]


async def test_malformed_predictions_do_not_stop_the_archive(world: World) -> None:
    """A record that is no prediction is the join's dead letter and is not archived."""
    world.bus.append(PREDICTIONS, b"?", partition=0)
    world.bus.append(PREDICTIONS, None, partition=0)
    world.prediction("a", time=2**62)
    world.prediction("b")
    reader = await world.reader(world.archive).start()
    await reader.read()
    await reader.step.close()
    assert [3] == offsets(world, PREDICTIONS)


async def test_an_archive_of_nothing_readable_moves_on(world: World) -> None:
    """A batch without one usable record still commits its offset."""
    world.bus.append(EVENTS, b"{", partition=0)
    reader = await world.reader(world.archive).start()
    await reader.read()
    await reader.step.close()
    assert ([], 1) == (offsets(world), (await reader.start()).places[EVENTS])
    assert 0 == len(read_archive(world.home, "payments", EXAMPLES))
