"""A learner that is fed poison is stopped, what came is put aside, and an operator decides."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_world import (
    FAULTS,
    NOW,
    World,
    interrupted,
    make_prediction,
    make_project,
    model_text,
)

from features.plan import compile_plan
from learners.snapshot import Snapshot
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from streams.learn import ORDER_LOOK_MS, Learn
from streams.quarantine import Order
from streams.snapshots import newest_snapshot
from streams.status import StatusBoard
from tidemill import Breaker
from tidemill.topics import QUARANTINE
from tidemill.wire import Quarantined, decode, vectors

WINDOW, EXAMPLES = 200, 1000
POISON = range(601, 801)  # sequences whose labels are turned round
PROJECT = replace(make_project(), breaker=Breaker(window=WINDOW))


def world_at(home: Path) -> World:
    """A world whose breaker has small windows, with a release."""
    world = World(home)
    world.context = replace(world.context, plan=compile_plan(PROJECT))
    world.publish()
    return world


def feed(world: World, sequences: Iterable[int]) -> None:
    """Examples of scores that fit, but for those of a producer that lies."""
    rng = np.random.default_rng(5)
    draws = rng.random((EXAMPLES + 1, 2))
    for sequence in sequences:
        score, chance = (0.05 + 0.9 * draws[sequence]).tolist()
        label, bad = float(chance < score), sequence in POISON and sequence % 2 == 0
        made = make_prediction(f"k{sequence}", NOW + sequence, sequence)
        world.example(
            sequence,
            prediction=msgspec.structs.replace(made, score=score),
            label=1 - label if bad and abs(score - 0.5) > 0.1 else label,
            producer="liar" if sequence % 2 == 0 else "honest",
        )


def stored(world: World) -> Snapshot:
    """The snapshot in the store."""
    return Snapshot.decode(world.store.blobs[world.names.snapshot("head")])


def state_after(world: World, sequences: Iterable[int]) -> bytes:
    """What a head has learned from these examples, without any step."""
    head = TreeHead.warm_start(FrozenTrees.parse(model_text()), PROJECT.learner)
    wanted = set(sequences)
    chosen = [example for example in world.examples() if example.sequence in wanted]
    matrix = vectors([example.prediction for example in chosen])
    head.learn_many(matrix, np.array([example.label for example in chosen]))
    return head.snapshot()


def quarantined(world: World) -> list[int]:
    """The offsets put aside, each once."""
    found = [decode(Quarantined, message.value).offset for message in world.bus.log(QUARANTINE)]
    return list(dict.fromkeys(found))


async def order(world: World, step: Learn, action: str) -> None:
    """Say what `tidemill learn resume` says."""
    assert step.halt is not None
    data = Order(action, step.halt.began_ms).encode()
    await world.store.write([(world.names.learn_order("head"), data)])
    world.clock.advance(ORDER_LOOK_MS)


async def poisoned(world: World) -> Learn:
    """Learn until the breaker trips, and go on reading."""
    feed(world, range(1, EXAMPLES + 1))
    reader = await (await world.reader(world.learn).start()).read_all(60)
    assert isinstance(reader.step, Learn)
    return reader.step


async def test_a_poisoned_window_is_taken_back_and_put_aside(tmp_path: Path) -> None:
    """The state is that before the window; everything from there on is in the quarantine."""
    world = world_at(tmp_path)
    step = await poisoned(world)
    assert step.halt is not None
    assert ("producer_loss", 600, 1000, 400) == (
        step.halt.reason, step.halt.start, step.halt.forwarded, step.halt.examples
    )  # fmt: skip
    assert "liar" in step.halt.message
    assert state_after(world, range(1, 601)) == stored(world).state
    assert (600, 600) == (stored(world).examples, stored(world).offset)
    assert list(range(600, 1000)) == quarantined(world)


async def test_skipping_goes_on_without_what_was_put_aside(tmp_path: Path) -> None:
    """The quarantine is never learned, and what comes after it is."""
    world = world_at(tmp_path)
    feed(world, range(1, 801))
    reader = await (await world.reader(world.learn).start()).read_all(60)
    await order(world, reader.step, "skip")
    await reader.read_all()
    assert reader.step.halt is None
    feed(world, range(801, EXAMPLES + 1))
    await reader.read_all(60)
    assert state_after(world, [*range(1, 601), *range(801, 1001)]) == stored(world).state
    found = stored(world)
    assert (800, 1000, {0: 1000}, [(600, 800)]) == (
        found.examples, found.offset, found.sequences, found.skipped
    )  # fmt: skip
    assert b"" == world.store.blobs[world.names.learn_order("head")]
    alone = await newest_snapshot(world.store, world.names, "head")
    assert alone is not None
    assert found == alone


async def test_replaying_learns_what_was_put_aside(tmp_path: Path) -> None:
    """An operator who finds it true has all of it learned, without a second trip."""
    world = world_at(tmp_path)
    feed(world, range(1, EXAMPLES + 1))
    reader = await (await world.reader(world.learn).start()).read_all(60)
    await order(world, reader.step, "replay")
    await reader.read_all(60)
    assert reader.step.halt is None
    assert state_after(world, range(1, 1001)) == stored(world).state
    assert 1000 == stored(world).examples


async def test_an_order_for_another_pause_is_not_obeyed(tmp_path: Path) -> None:
    """What was meant for an earlier pause does nothing to this one."""
    world = world_at(tmp_path)
    feed(world, range(1, EXAMPLES + 1))
    reader = await (await world.reader(world.learn).start()).read_all(60)
    stale = Order("replay", reader.step.halt.began_ms - 1).encode()
    await world.store.write([(world.names.learn_order("head"), stale)])
    world.clock.advance(ORDER_LOOK_MS)
    await reader.read_all(60)
    assert reader.step.halt is not None


async def test_a_release_that_comes_while_paused_learns_nothing_poisoned(tmp_path: Path) -> None:
    """A new release takes over at the pause, and leaves out later what was skipped."""
    world = world_at(tmp_path)
    feed(world, range(1, 801))
    reader = await (await world.reader(world.learn).start()).read_all(60)
    world.publish({"examples:0": 0}, seed=1)
    reader.step.wake()
    await reader.read_all(60)
    assert ("r0002", 600) == (stored(world).release, stored(world).offset)
    assert state_after(world, range(1, 601)) == stored(world).state
    await order(world, reader.step, "skip")
    await reader.read_all(60)
    world.publish({"examples:0": 0}, seed=1)
    reader.step.wake()
    feed(world, range(801, 821))
    await reader.read_all(60)
    assert ("r0003", [(600, 800)]) == (stored(world).release, stored(world).skipped)
    assert state_after(world, [*range(1, 601), *range(801, 821)]) == stored(world).state


STEPS = st.lists(st.tuples(st.integers(1, 300), st.sampled_from(FAULTS)), max_size=12)


@settings(max_examples=15, deadline=None)
@given(faults=STEPS, action=st.sampled_from(["skip", "replay"]))
def test_crashes_change_nothing_of_it(faults: list[tuple[int, str]], action: str) -> None:
    """Whatever fails on the way: the same state, the same quarantine, each example once."""

    async def scenario(home: str) -> None:
        world = world_at(Path(home))
        feed(world, range(1, 801))
        await interrupted(world, world.learn, faults)
        reader = await (await world.reader(world.learn).start()).read_all(140)
        assert list(range(600, 800)) == quarantined(world)
        assert state_after(world, range(1, 601)) == stored(world).state
        await order(world, reader.step, action)
        await (await reader.start()).read_all(140)
        feed(world, range(801, EXAMPLES + 1))
        await reader.read_all(140)
        learned = range(1, 1001) if action == "replay" else [*range(1, 601), *range(801, 1001)]
        assert state_after(world, learned) == stored(world).state

    with TemporaryDirectory() as home:
        asyncio.run(scenario(home))


@pytest.mark.parametrize("data", [None, b"", b"?", b'{"action":"burn","began_ms":1}'])
def test_what_is_no_order_is_none(data: bytes | None) -> None:
    """Bytes that nobody can have meant are passed over."""
    assert Order.decode(data) is None


async def test_the_status_says_why(tmp_path: Path) -> None:
    """Reason, words, since when and how many, for api and console; nothing while it learns."""
    world = world_at(tmp_path)
    step = await poisoned(world)
    board = StatusBoard(world.context, step)
    await board.publish()
    found = msgspec.json.decode(world.store.blobs[world.names.status()])["paused"]
    assert step.halt is not None
    expected = ("producer_loss", str(step.halt.message), step.halt.began_ms, 400)
    assert expected == tuple(found.values())
    await order(world, step, "skip")
    reader = world.reader(world.learn)
    await (await reader.start()).read_all()
    await StatusBoard(world.context, reader.step).publish()
    assert msgspec.json.decode(world.store.blobs[world.names.status()])["paused"] is None
