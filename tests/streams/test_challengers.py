"""Challengers learn beside the champion, and roles change by what a trial shows, once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_world import FAULTS, NOW, World, interrupted, make_project, model_text
from trial_world import LIMITS, examples

from features.plan import compile_plan
from learners.guard import Guard
from learners.snapshot import Snapshot
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from streams.learn import Learn
from streams.quarantine import HALT, Halt
from streams.trials.challengers import LOOK_MS, Challengers
from tidemill.registry import ROLES
from tidemill.roles import RoleChange
from tidemill.topics import EXAMPLES, MODELS
from tidemill.wire import Announcement, decode, vectors

PROJECT = replace(make_project(), trial=LIMITS)
BETTER = {"r0001": 0.8, "r0002": 0.1}
EQUAL = {"r0001": 0.3, "r0002": 0.3}


def world_at(home: Path, challengers: int = 1) -> World:
    """A world with a champion and challengers, which are not learned on yet."""
    world = World(home)
    world.context = replace(world.context, plan=compile_plan(PROJECT))
    world.publish()
    for number in range(challengers):
        world.publish(seed=2 + number, role="challenger")
    return world


def beside(world: World, interval_ms: int = 0) -> Challengers:
    """The step."""
    return Challengers(world.context, world.registry, world.alerts, interval_ms)


def feed(world: World, placed: Iterable) -> None:
    """Append these examples."""
    for _, example in placed:
        world.bus.append(EXAMPLES, example.encode())


def stored(world: World, release: str = "r0002") -> Snapshot:
    """What lies in the store of a challenger's learner."""
    return Snapshot.decode(world.store.blobs[world.names.snapshot(f"head@{release}")])


def head_of(world: World, seed: int) -> TreeHead:
    """A head that has learned all examples without any step."""
    head = TreeHead.warm_start(FrozenTrees.parse(model_text(seed)), PROJECT.learner)
    distinct = list({(e.partition, e.sequence): e for e in world.examples()}.values())
    matrix = vectors([example.prediction for example in distinct])
    head.learn_many(matrix, np.array([example.label for example in distinct]))
    return head


def learned(world: World, seed: int) -> bytes:
    """What a head has learned from all examples, without any step."""
    return head_of(world, seed).snapshot()


def roles(world: World) -> list[tuple[str, str, str]]:
    """What a trial has entered: release, action and who is watched."""
    changes = world.registry.standings().changes
    return [(c.release, c.action, c.watched) for c in changes if c.by == "trial"]


def alerts(world: World) -> list[tuple[str, str]]:
    """Names and subjects of the alerts so far."""
    return [(alert.name, alert.subject) for alert in world.alerts.waiting]


async def both(world: World, size: int = 200) -> tuple:
    """Readers of the champion's step and of the challengers', all read."""
    learn = await world.reader(world.learn).start()
    step = await world.reader(lambda: beside(world)).start()
    await learn.read_all(size)
    await step.read_all(size)
    return learn, step


async def settle(world: World, *readers: object, size: int = 200) -> None:
    """Let every step notice what the others entered, and read to the end."""
    for _ in range(4):
        world.clock.advance(LOOK_MS)
        for reader in readers:
            await reader.try_read(size)
            await reader.read_all(size)


async def test_every_arm_learns_from_all_traffic(tmp_path: Path) -> None:
    """Each from its own release, whoever answered, in the order of the log."""
    world = world_at(tmp_path, challengers=2)
    feed(world, examples(range(10), {**EQUAL, "r0003": 0.3}, canary="r0003"))
    await both(world, 70)
    for seed, release in ((2, "r0002"), (3, "r0003")):
        snapshot = stored(world, release)
        assert learned(world, seed) == snapshot.state
        assert (release, f"head@{release}", 200, 200) == (
            snapshot.release, snapshot.learner, snapshot.examples, snapshot.offset
        )  # fmt: skip


async def test_an_arms_first_snapshot_is_its_release(tmp_path: Path) -> None:
    """So that it can be scored before it has learned anything; it is announced."""
    world = world_at(tmp_path)
    await both(world)
    warm = TreeHead.warm_start(FrozenTrees.parse(model_text(2)), PROJECT.learner).snapshot()
    assert (warm, 1, 0) == (stored(world).state, stored(world).number, stored(world).offset)
    said = [decode(Announcement, message.value) for message in world.bus.log(MODELS)]
    assert ("r0002", 1) in [
        (each.release, each.snapshot) for each in said if each.learner == "head@r0002"
    ]


async def test_an_arm_begins_where_its_data_ended(tmp_path: Path) -> None:
    """A challenger that was trained before the champion has more to learn, and learns it."""
    world = world_at(tmp_path, challengers=0)
    feed(world, examples(range(10), EQUAL))
    await both(world)
    world.publish(seed=2, role="challenger", offsets={"examples:0": 120, "sequence:0": 120})
    _, step = await both(world)
    snapshot = stored(world)
    assert (80, 200, {0: 200}) == (snapshot.examples, snapshot.offset, snapshot.sequences)
    assert 200 == step.step._comparison.offset


async def test_nobody_beside_the_champion_costs_nothing(tmp_path: Path) -> None:
    """No record is decoded, nothing is written."""
    world = world_at(tmp_path, challengers=0)
    world.bus.append(EXAMPLES, b"not an example")
    step = await world.reader(lambda: beside(world)).start()
    await step.read_all()
    assert {} == world.store.sides.get(world.names.side("challengers", 0), {})
    assert world.names.trial() not in world.store.blobs


async def test_a_challenger_of_another_schema_is_not_ours(tmp_path: Path) -> None:
    """It stands beside another champion."""
    world = world_at(tmp_path, challengers=0)
    world.publish(role="challenger", schema="another")
    _, step = await both(world)
    assert {} == step.step.hosted


async def test_a_better_one_takes_over_with_what_it_has_learned(tmp_path: Path) -> None:
    """The champion before is watched, and its learner goes on beside."""
    world = world_at(tmp_path)
    feed(world, examples(range(100), BETTER))
    learn, step = await both(world)
    assert [("r0002", "promoted", "r0001")] == roles(world)
    assert ("challenger_promoted", "r0002") in alerts(world)
    await settle(world, learn, step)
    champion = Snapshot.decode(world.store.blobs[world.names.snapshot("head")])
    assert ("r0002", 2000, learned(world, 2)) == (
        champion.release, champion.examples, champion.state
    )  # fmt: skip
    assert ["r0001"] == list(step.step.hosted)
    assert (learned(world, 1), 2000) == (
        stored(world, "r0001").state, stored(world, "r0001").offset
    )  # fmt: skip
    assert ["r0001"] == world.registry.standings().challengers()


async def test_the_one_before_keeps_its_own_guard(tmp_path: Path) -> None:
    """It is judged by how far its own weights move, not by where those of the new one are."""
    world = world_at(tmp_path)
    feed(world, examples(range(100), BETTER))
    learn, step = await both(world)
    await settle(world, learn, step)
    guard = Guard(PROJECT.breaker, PROJECT.task)
    guard.restore(stored(world, "r0001").guard)
    assert head_of(world, 1).update_norm() == guard._state.norm
    assert head_of(world, 2).update_norm() != guard._state.norm


async def test_one_that_turns_bad_is_taken_back(tmp_path: Path) -> None:
    """The champion before answers again, with all it has learned meanwhile."""
    world = world_at(tmp_path)
    feed(world, examples(range(60), BETTER))
    learn, step = await both(world)
    await settle(world, learn, step)
    feed(world, examples(range(60, 95), {"r0001": 0.1, "r0002": 2.0}, champion="r0002"))
    await settle(world, learn, step)
    assert ("r0001", "rolled_back", "") == roles(world)[-1]
    standings = world.registry.standings()
    assert ("champion", "rolled_back") == (standings.role("r0001"), standings.role("r0002"))
    champion = Snapshot.decode(world.store.blobs[world.names.snapshot("head")])
    assert ("r0001", learned(world, 1)) == (champion.release, champion.state)
    assert {} == step.step.hosted
    assert ("champion_rolled_back", "r0001") in alerts(world)


async def test_a_watch_ends_by_itself(tmp_path: Path) -> None:
    """The former champion is let go."""
    world = world_at(tmp_path)
    feed(world, examples(range(60), BETTER))
    learn, step = await both(world)
    await settle(world, learn, step)
    feed(world, examples(range(60, 260), BETTER, champion="r0002"))
    await settle(world, learn, step)
    assert ("r0001", "unwatched", "") == roles(world)[-1]
    assert ({}, []) == (step.step.hosted, world.registry.standings().challengers())
    assert "former" == world.registry.standings().role("r0001")


async def test_no_two_snapshots_have_one_name(tmp_path: Path) -> None:
    """Of a release that goes from beside the champion to its place, and back."""
    world = world_at(tmp_path)
    feed(world, examples(range(60), BETTER))
    learn, step = await both(world)
    await settle(world, learn, step)
    feed(world, examples(range(60, 95), {"r0001": 0.1, "r0002": 2.0}, champion="r0002"))
    await settle(world, learn, step)
    said = [decode(Announcement, message.value) for message in world.bus.log(MODELS)]
    digests: dict[tuple[str, int], set[str]] = {}
    for each in said:
        if each.kind == "snapshot":
            digests.setdefault((each.release, each.snapshot), set()).add(each.sha256)
    assert {1} == {len(found) for found in digests.values()}


STEPS = st.lists(st.tuples(st.integers(1, 300), st.sampled_from(FAULTS)), max_size=12)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_kills_and_cuts_decide_alike_and_once(steps: list) -> None:
    """The journal has one entry, and the learners have the bytes of an uninterrupted run."""

    async def scenario(home: str) -> None:
        world = world_at(Path(home))
        feed(world, examples(range(60), BETTER))
        await interrupted(world, lambda: beside(world), steps)
        last = await (await world.reader(lambda: beside(world)).start()).read_all(500)
        assert [("r0002", "promoted", "r0001")] == roles(world)
        world.clock.advance(LOOK_MS)
        learn = await world.reader(world.learn).start()
        await settle(world, learn, last)
        champion = Snapshot.decode(world.store.blobs[world.names.snapshot("head")])
        assert ("r0002", learned(world, 2)) == (champion.release, champion.state)

    with TemporaryDirectory() as home:
        asyncio.run(scenario(home))


async def test_a_journal_that_takes_nothing_gets_it_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decided stands behind the fence until there is room on the disk."""

    def full(decide: object) -> None:
        raise OSError("No space left on device")

    world = world_at(tmp_path)
    feed(world, examples(range(100), BETTER))
    with monkeypatch.context() as patched:
        patched.setattr(world.registry, "enter", full)
        learn, step = await both(world)
        assert [] == roles(world)
        assert step.step._pending is not None
    await settle(world, learn, step)
    assert [("r0002", "promoted", "r0001")] == roles(world)


async def test_a_retrain_in_between_makes_a_decision_void(tmp_path: Path) -> None:
    """The champion it was compared with is none any more: both begin anew."""
    world = world_at(tmp_path)
    feed(world, examples(range(30), EQUAL))
    learn, step = await both(world)
    world.publish(seed=5, offsets={"examples:0": 600, "sequence:0": 600})
    await step.step._publish()
    pairs = step.step._comparison
    await _decide(step, "promoted", "r0002")
    assert ([], "r0003") == (roles(world), world.registry.champion())
    assert pairs is not step.step._comparison
    await settle(world, learn, step)
    assert ["r0002"] == list(step.step.hosted)
    assert {("r0003", "r0002")} == set(step.step._comparison._pairs)


async def test_an_operator_who_retires_it_meanwhile_is_obeyed(tmp_path: Path) -> None:
    """The trial's decision comes too late."""
    world = world_at(tmp_path)
    feed(world, examples(range(30), EQUAL))
    _, step = await both(world)
    order = RoleChange("r0002", "retired", world.context.plan.schema.hash, NOW, "ann")
    world.registry.enter(lambda standings: order)
    await _decide(step, "promoted", "r0002")
    assert [] == roles(world)
    assert "retired" == world.registry.standings().role("r0002")
    assert {} == step.step.hosted


async def _decide(step: object, action: str, release: str) -> None:
    """What a verdict leads to, and the loop's answer to it."""
    if action == "promoted":
        step.step._comparison.promoted(release)
    with pytest.raises(Exception, match="opens again"):
        await step.step._resolve(action, release, "because")
    step.step.forget(0)
    step.places = dict(await step.step.open(0, claim=False))


async def test_an_operators_promotion_takes_over_from_beside(tmp_path: Path) -> None:
    """The learner goes on from where it was; nobody is watched."""
    world = world_at(tmp_path)
    feed(world, examples(range(30), EQUAL))
    learn, step = await both(world)
    before = stored(world).number
    order = RoleChange("r0002", "promoted", world.context.plan.schema.hash, NOW, "ann")
    world.registry.enter(lambda standings: order)
    await settle(world, learn, step)
    champion = Snapshot.decode(world.store.blobs[world.names.snapshot("head")])
    assert ("r0002", learned(world, 2)) == (champion.release, champion.state)
    assert champion.number > before + 900
    assert ({}, None) == (
        step.step.hosted, world.registry.standings().watched(world.context.plan.schema.hash)
    )  # fmt: skip


async def test_an_arm_whose_learner_runs_away_is_retired(tmp_path: Path) -> None:
    """With an alert and why; the others go on."""
    world = world_at(tmp_path, challengers=2)
    feed(world, examples(range(5), {**EQUAL, "r0003": 0.3}))
    _, step = await both(world)
    guarded = step.step._hosted["r0002"].learning
    guarded.guard._state.finite = False
    guarded.guard._state.examples = PROJECT.breaker.window - 10
    feed(world, examples(range(5, 10), {**EQUAL, "r0003": 0.3}))
    await step.read_all()
    change = world.registry.standings().changes[-1]
    assert ("r0002", "retired", "trial") == (change.release, change.action, change.by)
    assert change.why.startswith("its learner was stopped: not_finite")
    assert ("challenger_retired", "r0002") in alerts(world)
    assert ["r0003"] == list(step.step.hosted)
    assert 200 == stored(world, "r0003").examples


async def test_what_stops_the_champions_learner_retires_nobody(tmp_path: Path) -> None:
    """Labels that are off stop all, by the champion; an arm goes for what itself does."""
    world = world_at(tmp_path)
    placed = examples(range(60), {"r0001": 0.1, "r0002": 0.8})
    feed(world, ((n, msgspec.structs.replace(each, label=1.0)) for n, each in placed))
    step = await world.reader(lambda: beside(world)).start()
    await step.read_all(200)
    assert ([], ["r0002"]) == (roles(world), list(step.step.hosted))
    assert 1200 == step.step.hosted["r0002"].offset


async def test_an_arm_that_was_stopped_goes_while_another_champion_catches_up(
    tmp_path: Path,
) -> None:
    """Else it would learn the same, and be stopped, again and again."""
    world = world_at(tmp_path)
    feed(world, examples(range(5), EQUAL))
    _, step = await both(world)
    world.publish(seed=5, offsets={"examples:0": 100, "sequence:0": 100})
    await _decide(step, "retired", "r0002")
    assert [("r0002", "retired", "")] == roles(world)
    assert {} == step.step.hosted


async def test_nothing_is_kept_of_one_whose_watch_another_promotion_ends(tmp_path: Path) -> None:
    """Its snapshots are forgotten like those of the one promoted."""
    world = world_at(tmp_path, challengers=2)
    feed(world, examples(range(100), {**BETTER, "r0003": 0.8}))
    learn, step = await both(world)
    await settle(world, learn, step)
    assert ["r0001", "r0003"] == list(step.step.hosted)
    await _decide(step, "promoted", "r0003")
    assert ("r0003", "promoted", "r0002") == roles(world)[-1]
    going = {world.names.snapshot(f"head@{release}") for release in ("r0001", "r0003")}
    assert going <= world.store._expiries.keys()


async def test_what_the_champion_left_out_an_arm_leaves_out_too(tmp_path: Path) -> None:
    """One that has learned it begins afresh."""
    world = world_at(tmp_path)
    feed(world, examples(range(10), EQUAL))
    learn, step = await both(world)
    assert 200 == stored(world).examples
    champion = learn.step._champion
    champion.place.skipped.append((50, 60))
    await learn.step._publish()
    await step.start()
    await step.read_all()
    snapshot = stored(world)
    assert (190, [(50, 60)], 200) == (snapshot.examples, snapshot.skipped, snapshot.offset)
    assert 0 == step.step._comparison.pairs["r0002"].counts.rows  # it had counted them


async def test_a_damaged_arm_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is said once."""
    world = world_at(tmp_path, challengers=2)
    (world.registry.folder / "r0002" / "trees.safetensors").write_bytes(b"tampered")
    feed(world, examples(range(5), {**EQUAL, "r0003": 0.3}))
    _, step = await both(world)
    assert ["r0003"] == list(step.step.hosted)
    assert 1 == alerts(world).count(("challenger_refused", "r0002"))


async def test_a_damaged_journal_drops_nothing(tmp_path: Path) -> None:
    """The comparison goes on where it was once it can be read again."""
    world = world_at(tmp_path)
    feed(world, examples(range(10), EQUAL))
    _, step = await both(world)
    side = dict(world.store.sides[world.names.side("challengers", 0)])
    journal = world.registry.folder / ROLES
    before = journal.read_bytes()
    journal.write_bytes(b"?\n")
    await step.start()
    feed(world, examples(range(10, 12), EQUAL))
    await step.read_all()
    assert side == world.store.sides[world.names.side("challengers", 0)]
    journal.write_bytes(before)
    await settle(world, step)
    assert 240 == step.step._comparison.offset == stored(world).offset


async def test_the_report_has_what_is_known(tmp_path: Path) -> None:
    """It lies in the store beside the worker's status."""
    world = world_at(tmp_path)
    order = RoleChange(
        "r0002", "challenger", world.context.plan.schema.hash, NOW, "ann", share=0.25
    )
    world.registry.enter(lambda standings: order)
    feed(world, examples(range(15), EQUAL, canary="r0002"))
    await both(world)
    told = json.loads(world.store.blobs[world.names.trial()])
    assert ("r0001", LIMITS.block_ms, LIMITS.alpha) == (
        told["champion"], told["block_ms"], told["alpha"]
    )  # fmt: skip
    (arm,) = told["arms"]
    assert ("r0002", "challenger", 0.25, 280, 14, 105) == (
        arm["release"], arm["role"], arm["share"], arm["examples"], arm["blocks"], arm["answered"]
    )  # fmt: skip
    assert arm["low"] < arm["difference"] < arm["high"]
    assert arm["champion_loss"] - arm["loss"] == pytest.approx(arm["difference"])
    assert {"auc", "log_loss", "calibration_error"} == set(arm["measures"])
    assert "14 of 20 blocks" in arm["waiting"]


async def test_the_report_is_empty_when_the_last_has_gone(tmp_path: Path) -> None:
    """And nothing of its pair is kept."""
    world = world_at(tmp_path)
    feed(world, examples(range(10), EQUAL))
    _, step = await both(world)
    order = RoleChange("r0002", "retired", world.context.plan.schema.hash, NOW, "ann")
    world.registry.enter(lambda standings: order)
    await settle(world, step)
    assert [] == json.loads(world.store.blobs[world.names.trial()])["arms"]
    assert ["place"] == list(world.store.sides[world.names.side("challengers", 0)])
    assert isinstance(step.step, Challengers) and Learn.name == "learn"
    assert msgspec.json.decode(world.store.blobs[world.names.trial()])["champion"] == "r0001"


async def test_nobody_learns_while_the_champions_learner_is_paused(tmp_path: Path) -> None:
    """What came is read when it goes on, without what was left out."""
    world = world_at(tmp_path)
    feed(world, examples(range(10), EQUAL))
    learn, step = await both(world)
    owned = learn.step._owned
    halt = Halt("calibration", "why", 200, NOW, 200, 0, {0: 200})
    await owned.commit({}, side_set={HALT: halt.encode()})
    await settle(world, step)
    feed(world, examples(range(10, 15), EQUAL))
    await step.read_all()
    assert (200, 200) == (step.step._comparison.offset, step.step.hosted["r0002"].offset)
    learn.step._champion.skip(300, {0: 300})
    await learn.step._publish(side_delete=[HALT])
    await settle(world, step)
    feed(world, examples(range(15, 20), EQUAL))
    await step.read_all()
    snapshot = stored(world)
    assert (300, [(200, 300)], 400) == (snapshot.examples, snapshot.skipped, snapshot.offset)
    assert 280 == step.step._comparison.pairs["r0002"].counts.rows


async def test_nothing_is_decided_from_the_moment_of_a_pause(tmp_path: Path) -> None:
    """Also before the next look: what was compared since may be lies."""
    world = world_at(tmp_path)
    learn, step = await both(world)
    halt = Halt("calibration", "why", 0, NOW, 0, 0, {0: 0})
    await learn.step._owned.commit({}, side_set={HALT: halt.encode()})
    feed(world, examples(range(100), BETTER))
    await step.read_all(200)
    assert ([], True) == (roles(world), step.step._standing.paused)


async def test_a_release_that_catches_up_does_not_end_a_comparison(tmp_path: Path) -> None:
    """It may be given up: only when it has taken over, everything begins anew."""
    world = world_at(tmp_path)
    feed(world, examples(range(10), EQUAL))
    learn, step = await both(world)
    world.publish(seed=5, offsets={"examples:0": 0, "sequence:0": 0})
    await settle(world, step)
    assert {("r0001", "r0002")} == set(step.step._comparison._pairs)
    await settle(world, learn, step)
    assert {("r0003", "r0002")} == set(step.step._comparison._pairs)


def enter(world: World, release: str, action: str, by: str = "worker") -> None:
    """Another than the trial gives a release this role."""
    change = RoleChange(release, action, world.context.plan.schema.hash, NOW, by)
    world.registry.enter(lambda standings: change)


async def watched(tmp_path: Path) -> tuple:
    """A world in which r0002 has taken r0001's place and is watched; learner and step."""
    world = world_at(tmp_path)
    feed(world, examples(range(60), BETTER))
    learn, step = await both(world)
    await settle(world, learn, step)
    assert ["r0001"] == list(step.step.hosted)
    return world, learn, step


async def test_a_retrain_that_is_given_up_ends_no_watch(tmp_path: Path) -> None:
    """The one before learns on and is compared all the time, up to the moment decided first."""
    world, learn, step = await watched(tmp_path)
    before = step.step._comparison.pairs["r0001"]
    until, blocks = before.until_ms, before.sums.blocks
    world.publish(seed=5, offsets={"examples:0": 0, "sequence:0": 0})
    feed(world, examples(range(60, 70), BETTER, champion="r0002"))
    await settle(world, step)
    assert ("r0003", ["r0001"]) == (world.registry.champion(), list(step.step.hosted))
    enter(world, "r0003", "given_up")
    await settle(world, step)
    pair = step.step._comparison.pairs["r0001"]
    assert ("r0002", "r0001", until) == (pair.champion, pair.release, pair.until_ms)
    assert blocks + 10 == pair.sums.blocks
    assert 1400 == stored(world, "r0001").offset
    feed(world, examples(range(70, 105), {"r0001": 0.1, "r0002": 2.0}, champion="r0002"))
    await settle(world, learn, step)
    assert ("r0001", "rolled_back", "") == roles(world)[-1]


async def test_a_retrain_that_takes_over_ends_the_watch(tmp_path: Path) -> None:
    """Nobody learns beside it any more."""
    world, learn, step = await watched(tmp_path)
    world.publish(seed=5, offsets={"examples:0": 1200, "sequence:0": 1200})
    await settle(world, learn, step)
    champion = Snapshot.decode(world.store.blobs[world.names.snapshot("head")])
    assert ("r0003", {}) == (champion.release, step.step.hosted)
    assert ["place"] == list(world.store.sides[world.names.side("challengers", 0)])


async def test_a_watch_that_is_over_ends_while_another_catches_up(tmp_path: Path) -> None:
    """It is entered once, not decided again and again."""
    world, _, step = await watched(tmp_path)
    world.publish(seed=5, offsets={"examples:0": 0, "sequence:0": 0})
    feed(world, examples(range(60, 260), BETTER, champion="r0002"))
    await settle(world, step)
    assert ("r0001", "unwatched", "") == roles(world)[-1]
    assert (1, {}) == (roles(world).count(("r0001", "unwatched", "")), step.step.hosted)


async def test_what_an_operator_has_learned_an_arm_learns_unjudged(tmp_path: Path) -> None:
    """It would be retired for what the champion was let off for."""
    world = world_at(tmp_path)
    feed(world, examples(range(10), EQUAL))
    learn, step = await both(world)
    learn.step._champion.place.unguarded = 5_000
    await learn.step._publish()
    await step.start()
    guarded = step.step.hosted["r0002"]
    assert 5_000 == guarded.place.unguarded
    guarded.guard._state.finite = False
    guarded.guard._state.examples = PROJECT.breaker.window - 10
    feed(world, examples(range(10, 15), EQUAL))
    await step.read_all()
    assert ([], 300) == (roles(world), stored(world).examples)


async def test_an_arm_that_is_ahead_waits_for_what_was_answered(tmp_path: Path) -> None:
    """Every example counts in the running quality, also those that it alone has learned."""
    world = world_at(tmp_path)
    feed(world, examples(range(100), BETTER))
    learn = await world.reader(world.learn).start()
    await learn.read(300)
    step = await world.reader(lambda: beside(world)).start()
    await step.read_all(200)
    assert [("r0002", "promoted", "r0001")] == roles(world)
    await settle(world, learn, step)
    champion = Snapshot.decode(world.store.blobs[world.names.snapshot("head")])
    assert ("r0002", learned(world, 2)) == (champion.release, champion.state)
    assert 2_000 == learn.step.progress.report().examples
