"""One stream, three ways to its vectors: served, replayed by the skew meter, and for training."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from stream_world import DAY, PARTITIONS, SKEW, WINDOW, World, plan

from batch.skew import Sample, SkewReport, measure_skew
from batch.training_set import TrainingSet, logged_vectors
from features.archive.events import Rules
from features.archive.files import read_archive
from features.decoding import RequestDecoder
from features.vectors import VectorReader
from tidemill.topics import EVENTS, PREDICTIONS
from tidemill.wire import Prediction, vector_bytes

RULES = Rules(SKEW, WINDOW)
EVERYTHING = Sample(1.0, None, 2**62)
MINUTE = 60_000


async def serve(world: World, moments: int, latest_ms: int, seed: int = 2) -> None:
    """Events from three partitions through the worker's steps, and requests from its store.

    Some events are duplicates, malformed or far too late; the others come up to `latest_ms` late.
    """
    rng = np.random.default_rng(seed)
    events = [await world.reader(world.rekey, p).start() for p in range(PARTITIONS)]
    folds = [await world.reader(world.fold, p).start() for p in range(PARTITIONS)]
    reader = VectorReader(plan(), world.names, world.store)
    decoder = RequestDecoder(plan().project, world.clock, SKEW)
    for number in range(moments):
        world.clock.advance(int(rng.integers(1, 20 * MINUTE)))
        now, partition = world.clock.now_ms(), int(rng.integers(PARTITIONS))
        body = {"card": f"c{rng.integers(4)}", "shop": f"s{rng.integers(2)}",
                "amount": float(rng.lognormal(3))}  # fmt: skip
        if rng.integers(3):
            late = int(rng.integers(latest_ms + 1)) * int(rng.integers(2))
            world.event(partition, **body, time=now - late, id=f"e{number}")
            match rng.integers(8):
                case 0:
                    world.event(partition, **body, time=now, id=f"e{number}")
                case 1:
                    world.event(partition, **body, time=now - 3 * DAY)
                case 2:
                    world.event(partition, card="c1", amount="much", time=now)
                case 3:
                    refund = {"event": "refund", "card": "c1", "amount": 20.0, "time": now}
                    world.bus.append(EVENTS, msgspec.json.encode(refund), b"c1", partition)
        else:
            for step in (*events, *folds):
                await step.read_all()
            world.clock.advance(1)
            request = decoder.decode(msgspec.json.encode(body))
            found = (await reader.read([request])).matrix
            made = Prediction(
                f"p{number}", "k", request.time, vector_bytes(found), plan().schema.hash, 0.5, 0.5,
                "r0001", 1, world.clock.now_ms(), msgspec.json.encode(request),
            )  # fmt: skip
            world.bus.append(PREDICTIONS, made.encode(), b"k", partition)
            world.clock.advance(1)
    for partition in range(PARTITIONS):
        archive = await world.reader(world.archive, partition).start()
        await archive.read_all()
        await archive.step.close()


def measure(home: Path) -> SkewReport:
    """What the skew meter says of all predictions."""
    return measure_skew(home, plan(), RULES, EVERYTHING)


@pytest.mark.parametrize("latest_ms", [0, 6 * 3_600_000])
async def test_served_and_training_vectors_are_the_same_bytes(world: World, latest_ms: int) -> None:
    """From the archive alone the training set computes what was served, late events and all."""
    await serve(world, 500, latest_ms)
    table = read_archive(world.home, "payments", PREDICTIONS)
    logged = logged_vectors(table["vector"], len(plan().schema.names))
    place = table.column_names.index("schema")
    unknown = table.set_column(place, "schema", [["unknown"] * len(table)])
    found = TrainingSet(world.home, plan(), RULES).vectors(unknown)
    assert (len(table), len(table)) == (found.computed, len(found.vectors))
    assert 100 < len(table) < len(read_archive(world.home, "payments", EVENTS))
    assert logged.tobytes() == found.vectors.tobytes()


async def test_served_vectors_of_events_in_time_have_no_skew(world: World) -> None:
    """The meter replays the raw log to the same bits."""
    await serve(world, 500, 0)
    found = measure(world.home)
    assert 100 < found.checked == found.equal
    assert (0, 0, 0) == (found.rounding, found.mismatched, found.skipped)


async def test_the_only_skew_of_late_events_is_that_they_were_late(world: World) -> None:
    """The meter tells what was late; nothing stays unexplained."""
    await serve(world, 500, 6 * 3_600_000)
    found = measure(world.home)
    assert {"late"} == set(found.causes)
    assert 0 < found.mismatched < found.checked
