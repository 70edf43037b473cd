"""The archive gives the state that the stream made, byte for byte, and its worker goes on there."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from stream_world import DAY, NOW, PARTITIONS, SKEW, WINDOW, World, make_project, plan

from features.archive.events import Rules
from features.archive.files import ARCHIVE_SCHEMAS, BACKFILL, ArchiveWriter
from features.evolution.state_backfill import StateBackfill
from features.plan import FeaturePlan, compile_plan
from features.store import MemoryStore
from streams.context import Context
from streams.fold import Fold
from streams.rekey import Rekey
from streams.seeding import write_blobs, write_fences
from tidemill import Event, LabelRate, Window
from tidemill.errors import DeclarationError
from tidemill.topics import EVENTS, UPDATES, Names

HOUR = 3_600_000


def traffic(world: World, count: int, seed: int) -> None:
    """Payments, refunds, notes, repeated ids, broken bodies, late and out-of-order events."""
    rng = random.Random(seed)
    for number in range(count):
        world.clock.advance(rng.randrange(200_000))
        partition, time = rng.randrange(PARTITIONS), world.clock.now_ms() - rng.randrange(HOUR)
        place = {"card": f"c{rng.randrange(5)}", "time": time}
        kind = rng.randrange(12)
        if kind == 0:
            world.bus.append(EVENTS, b"no json", partition=partition)
        elif kind == 1:
            body = {"event": "refund", "amount": float(rng.randrange(40)), **place}
            world.bus.append(EVENTS, msgspec.json.encode(body), partition=partition)
        elif kind == 2:
            body = {"event": "note", **place}
            world.bus.append(EVENTS, msgspec.json.encode(body), partition=partition)
        elif kind == 3:
            world.event(partition, **place | {"time": time - 30 * DAY})
        else:
            repeated = {"id": f"e{rng.randrange(30)}"} if kind < 6 else {}
            amount = float(rng.randrange(50))
            world.event(partition, amount=amount, shop=f"s{number % 3}", **place, **repeated)


async def stream(world: World, own: FeaturePlan, names: Names, store: MemoryStore) -> None:
    """Rekey and fold the whole log for one declaration."""
    context = Context(
        own, names, store, world.context.producer, world.measurements, world.clock
    )  # fmt: skip

    def rekey() -> Rekey:
        made = world.rekey()
        return Rekey(context, made._decoder, world.letters(), WINDOW)

    for partition in range(PARTITIONS):
        await (await world.reader(rekey, partition).start()).read_all(7)
    for partition in range(PARTITIONS):
        await (await world.reader(lambda: Fold(context), partition).start()).read_all(5)


async def archive(world: World) -> None:
    """Archive everything there is."""
    for partition in range(PARTITIONS):
        reader = await (await world.reader(world.archive, partition).start()).read_all()
        await reader.step.close()


async def backfilled(world: World, own: FeaturePlan, names: Names) -> MemoryStore:
    """A store that holds what the archive gives."""
    store = MemoryStore(world.clock)
    made = StateBackfill(world.home, own, Rules(SKEW, WINDOW), world.clock)
    read = 0

    def advance(count: int) -> None:
        nonlocal read
        read += count

    made.run(advance)
    assert made.total == read
    written = await write_blobs(store, names, own, made.replayer, lambda _: None)
    assert made.replayer.entities == written == len(store.blobs)
    updates = {p: len(world.bus.log(UPDATES, p)) for p in range(PARTITIONS)}
    await write_fences(store, names, made.reached, updates)
    return store


def fences(store: MemoryStore) -> dict[str, dict[str, int]]:
    """The fences without what is not the state's: epochs, and late values that no state keeps.

    Events applied are counted where they came from or where they went: only their sum is the same.
    """
    left_out = {"epoch", "late_values", "events_applied"}
    found = {
        key: {name: value for name, value in fields.items() if name not in left_out and value}
        for key, fields in store.fences.items()
    }
    applied = sum(fields.get("events_applied", 0) for fields in store.fences.values())
    return found | {"all": {"events_applied": applied}}


def names_of(own: FeaturePlan) -> Names:
    """The names of one declaration."""
    return Names("payments", PARTITIONS, own.state, own.schema.hash)


def larger() -> FeaturePlan:
    """The project with two windows more."""
    project = make_project()
    payment, refund = project.events[0], project.events[1]
    by = project.features[0].by
    more = (
        Window("paid_long", payment, ("mean", "max"), by, ("30d",), payment.amount),
        Window("back_count", refund, ("count",), by[:1], ("1h",)),
    )
    return compile_plan(replace(project, features=(*project.features, *more)))


@pytest.mark.parametrize("declared", [plan, larger])
async def test_the_archive_gives_the_streams_state(
    world: World, declared: Callable[[], FeaturePlan]
) -> None:
    """Blobs, offsets, stream times and counts are those of a worker that read the log."""
    own = declared()
    traffic(world, 400, 1)
    streamed = MemoryStore(world.clock)
    await stream(world, own, names_of(own), streamed)
    await archive(world)
    made = await backfilled(world, own, names_of(own))
    assert streamed.blobs == made.blobs
    assert fences(streamed) == fences(made)


async def test_its_worker_goes_on_from_there(world: World, tmp_path: Path) -> None:
    """What comes after the backfill is applied once, nothing before it again."""
    own, uninterrupted = larger(), World(tmp_path / "uninterrupted")
    for each in (world, uninterrupted):
        traffic(each, 300, 2)
    await archive(world)
    made = await backfilled(world, own, names_of(own))
    for each in (world, uninterrupted):
        traffic(each, 200, 3)
    await stream(world, own, names_of(own), made)
    expected = MemoryStore(world.clock)
    await stream(uninterrupted, own, names_of(own), expected)
    assert expected.blobs == made.blobs


async def test_two_declarations_are_folded_side_by_side(world: World) -> None:
    """Both write to one topic of updates; each state is what it would be alone."""
    traffic(world, 150, 4)
    both = MemoryStore(world.clock)
    for own in (plan(), larger()):
        await stream(world, own, names_of(own), both)
    for own in (plan(), larger()):
        alone = MemoryStore(world.clock)
        await stream(world, own, names_of(own), alone)
        found = {key: blob for key, blob in both.blobs.items() if own.state in key}
        assert alone.blobs == found


async def test_running_it_again_gives_the_same(world: World) -> None:
    """A backfill that was killed half way is simply run again."""
    own = larger()
    traffic(world, 120, 5)
    await archive(world)
    first = await backfilled(world, own, names_of(own))
    again = await backfilled(world, own, names_of(own))
    assert (first.blobs, fences(first)) == (again.blobs, fences(again))


async def test_a_worker_of_that_state_is_fenced_off(world: World) -> None:
    """Whoever owned the state's partitions before cannot write any more."""
    own = larger()
    made = await backfilled(world, own, names_of(own))
    fence = names_of(own).fence("events", 0)
    before = made.fences[fence]["epoch"]
    await write_fences(made, names_of(own), StateBackfill(
        world.home, own, Rules(SKEW, WINDOW), world.clock).reached, {})  # fmt: skip
    assert before + 1 == made.fences[fence]["epoch"]


def history(home: Path, rows: list[dict[str, object]]) -> None:
    """Archive events that never were on the topic."""
    writer = ArchiveWriter(home, "payments", EVENTS, BACKFILL)
    columns: dict[str, list[object]] = {
        "time": [row["time"] for row in rows],
        "event": [row["event"] for row in rows],
        "id": [None] * len(rows),
        "key": [row["card"] for row in rows],
        "body": [msgspec.json.encode(row) for row in rows],
        "partition": [-1] * len(rows),
        "offset": [-1] * len(rows),
        "known_ms": [row["time"] for row in rows],
    }
    import pyarrow as pa

    writer.write(pa.table(columns, schema=ARCHIVE_SCHEMAS[EVENTS]), len(rows))


async def test_history_counts_too(world: World) -> None:
    """Events of history are folded before the live ones, and belong to no partition's offset."""
    own = larger()
    old = [
        {"event": "payment", "card": "c1", "shop": "s1", "amount": 7.0, "time": NOW - 3 * DAY},
        {"event": "payment", "card": "c1", "shop": "s1", "amount": 9.0, "time": NOW - 2 * DAY},
    ]
    history(world.home, old)
    world.event(card="c1", amount=2.0, time=NOW)
    await archive(world)
    made = StateBackfill(world.home, own, Rules(SKEW, WINDOW), world.clock)
    made.run(lambda _: None)
    assert (3, {0: 1, 1: 0, 2: 0}) == (made.total, made.reached.offsets)
    asked = {
        "time": np.array([NOW + 1]), "card": np.array(["c1"], object),
        "shop": np.array(["s1"], object), "amount": np.array([1.0]),
    }  # fmt: skip
    vector = dict(zip(own.schema.names, made.replayer.vectors(asked)[0].tolist(), strict=True))
    assert (6.0, 2.0) == (vector["paid_long_mean_card_30d"], vector["paid_sum_card_1h"])


async def test_a_sample_ends_early(world: World) -> None:
    """With a limit about so many events are read."""
    traffic(world, 300, 6)
    await archive(world)
    made = StateBackfill(world.home, larger(), Rules(SKEW, WINDOW), world.clock)
    reads: list[int] = []
    made.run(reads.append, limit=1)
    assert 1 <= sum(reads) <= made.total


def with_rates() -> FeaturePlan:
    """The project with the rate of its label by card."""
    project = make_project()
    rate = LabelRate("bad", project.features[0].by[:1], ("24h",), prior=0.1)
    return compile_plan(replace(project, features=(*project.features, rate)))


async def test_labels_are_backfilled_from_the_examples(world: World) -> None:
    """A label rate's state comes from the archived examples, each once."""
    own = with_rates()
    for sequence in (1, 2, 3, 2):
        body = msgspec.json.encode({"card": "c1", "shop": "s1", "amount": 1.0, "time": NOW})
        world.example(sequence)
        example = world.examples()[-1]
        prediction = msgspec.structs.replace(example.prediction, request=body)
        world.bus.log("examples").pop()
        world.example(sequence, prediction=prediction)
    streamed = MemoryStore(world.clock)
    await stream(world, own, names_of(own), streamed)
    await archive(world)
    made = await backfilled(world, own, names_of(own))
    assert streamed.blobs == made.blobs
    assert fences(streamed) == fences(made)


def demanding() -> FeaturePlan:
    """The declaration with a mandatory field that no event ever had."""
    project = make_project()
    old = project.events[0]
    new = Event("payment", "card", {**old.fields, "city": str})
    features = tuple(
        replace(f, event=new) if isinstance(f, Window) and f.event == old else f
        for f in project.features
    )
    return compile_plan(replace(project, events=(new, *project.events[1:]), features=features))


async def test_a_declaration_that_cannot_read_the_archive_makes_no_state(world: World) -> None:
    """A new mandatory field would drop all events before it; it is refused, not done silently."""
    traffic(world, 60, 3)
    await archive(world)
    made = StateBackfill(world.home, demanding(), Rules(SKEW, WINDOW), world.clock)
    with pytest.raises(DeclarationError, match="archived events that it cannot read .city: found"):
        made.run(lambda _: None)
