"""A learner follows the journal of roles, and enters there what it gives up."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from stream_world import NOW, World, make_prediction, plan

from features.plan import compile_plan
from learners.snapshot import Snapshot
from streams.learn import LOOK_MS, Learn
from tidemill import Gate
from tidemill.registry import ROLES
from tidemill.roles import RoleChange
from tidemill.topics import MODELS
from tidemill.wire import Announcement, decode


def stored(world: World) -> Snapshot:
    """The snapshot in the store."""
    return Snapshot.decode(world.store.blobs[world.names.snapshot("head")])


def order(world: World, release: str, instead_of: str = "") -> None:
    """An operator wants this release to be champion."""
    action = "rolled_back" if instead_of else "promoted"
    change = RoleChange(
        release, action, plan().schema.hash, world.clock.now_ms(), "ann", instead_of=instead_of
    )
    world.registry.enter(lambda standings: change)


async def learning(world: World, examples: int = 20, good: bool = True) -> object:
    """A reader that has learned so many examples on r0001, whose answers were good or bad."""
    project = replace(plan().project, gate=Gate(min_rows=10))
    world.context = replace(world.context, plan=compile_plan(project))
    world.publish()
    reader = await world.reader(world.learn).start()
    for sequence in range(1, examples + 1):
        right = 0.5 + (0.3 if bool(sequence % 2) == good else -0.3)
        made = make_prediction(f"k{sequence}", NOW + sequence, sequence)
        world.example(sequence, prediction=msgspec.structs.replace(made, score=right))
    await reader.read_all()
    return reader


async def next_release(world: World, reader: object, seed: int = 2) -> None:
    """Another release is published and all is read."""
    world.publish(seed=seed)
    reader.step.wake()
    await reader.read_all(5)


async def test_a_release_that_was_given_up_is_not_tried_again(world: World) -> None:
    """Neither by a worker that starts afresh nor as the champion of the next retrain."""
    reader = await learning(world)
    await next_release(world, reader)
    standings = world.registry.standings()
    change = standings.changes[-1]
    found = ("r0002", "given_up", "worker", plan().schema.hash)
    assert found == (change.release, change.action, change.by, change.schema)
    assert change.why.startswith("found a mean loss of ")
    assert ("r0001", "given_up") == (world.registry.champion(), standings.role("r0002"))
    reader = await world.reader(world.learn).start()
    await reader.read_all(5)
    assert isinstance(reader.step, Learn)
    assert (None, "r0001") == (reader.step._candidate, stored(world).release)
    assert 1 == len(world.alerts.waiting)


async def test_giving_up_is_announced(world: World) -> None:
    """Whoever looks at roles when something is announced looks at this too."""
    reader = await learning(world)
    await next_release(world, reader)
    await reader.read()
    said = [decode(Announcement, message.value) for message in world.bus.log(MODELS)]
    assert ["r0002"] == [each.release for each in said if each.kind == "release"]


async def test_a_journal_that_takes_nothing_gets_it_later(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk keeps no learner from going on; what it gave up is entered when there is room."""

    def full(decide: object) -> None:
        raise OSError("No space left on device")

    reader = await learning(world)
    world.publish(seed=2)
    with monkeypatch.context() as patched:
        patched.setattr(world.registry, "enter", full)
        reader.step.wake()
        await reader.read_all(5)
        assert ("r0002", "r0001") == (world.registry.champion(), stored(world).release)
    world.clock.advance(LOOK_MS)
    await reader.read()
    assert "r0001" == world.registry.champion()


async def test_a_rollback_is_learned_and_takes_over(world: World) -> None:
    """The older release starts where its data ended and answers once it has caught up."""
    reader = await learning(world, good=False)
    await next_release(world, reader)
    assert "r0002" == stored(world).release
    order(world, "r0001", instead_of="r0002")
    reader.step.wake()
    await reader.try_read()
    assert "r0002" == stored(world).release
    await reader.read_all(5)
    snapshot = stored(world)
    assert ("r0001", 20, {0: 20}) == (snapshot.release, snapshot.offset, snapshot.sequences)


async def test_no_two_snapshots_have_one_name(world: World) -> None:
    """A release that answers again goes on counting where it was."""
    reader = await learning(world, good=False)
    number = stored(world).number
    await next_release(world, reader)
    order(world, "r0001", instead_of="r0002")
    reader.step.wake()
    await reader.read_all(5)
    assert ("r0001", number + 1) == (stored(world).release, stored(world).number)


async def test_an_order_is_not_judged(world: World) -> None:
    """What was given up for its loss takes over when an operator promotes it."""
    reader = await learning(world)
    await next_release(world, reader)
    order(world, "r0002")
    reader.step.wake()
    await reader.read_all(5)
    assert "r0002" == stored(world).release
    assert "champion" == world.registry.standings().role("r0002")


async def test_an_order_that_is_slow_is_said_to_be(world: World) -> None:
    """It is not given up; the alert ends when it takes over."""
    reader = await learning(world)
    await next_release(world, reader)
    order(world, "r0002")
    reader.step.wake()
    await reader.try_read(1)
    for _ in range(4):
        await reader.try_read(1)
        world.clock.advance(world.catch_up_ms // 2)
    assert "r0001" == stored(world).release
    await reader.read_all(5)
    assert "r0002" == stored(world).release
    slow = [alert for alert in world.alerts.waiting if alert.name == "release_slow"]
    assert ["began", "ended"] == [alert.state for alert in slow]


async def test_an_order_to_stay_stops_a_release_that_catches_up(world: World) -> None:
    """Promoting what answers already drops the candidate."""
    reader = await learning(world, good=False)
    world.publish(seed=2)
    reader.step.wake()
    await reader.try_read()
    await reader.read(3)
    order(world, "r0001")
    reader.step.wake()
    await reader.read_all(5)
    assert (None, "r0001") == (reader.step._candidate, stored(world).release)


async def test_a_challenger_is_not_learned_on(world: World) -> None:
    """It waits until it is promoted."""
    reader = await learning(world, good=False)
    world.publish(seed=2, role="challenger")
    reader.step.wake()
    await reader.read_all(5)
    assert "r0001" == stored(world).release
    order(world, "r0002")
    reader.step.wake()
    await reader.read_all(5)
    assert "r0002" == stored(world).release


async def test_a_damaged_journal_keeps_the_champion(world: World) -> None:
    """Learning goes on with what it is on."""
    reader = await learning(world, examples=5)
    journal = world.registry.folder / ROLES
    journal.write_bytes(b"?\n")
    reader.step.wake()
    world.example(6)
    await reader.read_all()
    assert ("r0001", 6) == (stored(world).release, stored(world).examples)
