"""Examples into snapshots: the same state however batches are cut, and releases that take over."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_world import FAULTS, NOW, World, interrupted, make_prediction, model_text, plan

from features.plan import compile_plan
from learners.prior import PRIOR
from learners.snapshot import Snapshot, digest
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from streams.learn import LOOK_MS, Learn
from streams.status import StatusBoard
from tidemill import Gate, Linear
from tidemill.errors import ArtifactError, BusUnavailable
from tidemill.roles import RoleChange
from tidemill.topics import EXAMPLES, MODELS
from tidemill.wire import Announcement, decode, vectors


def stored(world: World) -> Snapshot:
    """The snapshot in the store."""
    return Snapshot.decode(world.store.blobs[world.names.snapshot("head")])


def announced(world: World) -> list[Announcement]:
    """Every announcement so far."""
    return [decode(Announcement, message.value) for message in world.bus.log(MODELS)]


def expected_state(world: World, count: int, seed: int = 1) -> bytes:
    """What a head has learned from the first `count` examples, without any step."""
    head = TreeHead.warm_start(FrozenTrees.parse(model_text(seed)), plan().project.learner)
    distinct = list({(e.partition, e.sequence): e for e in world.examples()}.values())[:count]
    matrix = vectors([example.prediction for example in distinct])
    head.learn_many(matrix, np.array([example.label for example in distinct]))
    return head.snapshot()


async def test_the_first_snapshot_is_the_release(world: World) -> None:
    """A new learner publishes what the release predicts before it has learned anything."""
    world.publish()
    reader = await world.reader(world.learn).start()
    await reader.step.tick()
    warm = TreeHead.warm_start(FrozenTrees.parse(model_text()), plan().project.learner).snapshot()
    snapshot = stored(world)
    assert ("r0001", 1, 0, 0, warm) == (
        snapshot.release, snapshot.number, snapshot.examples, snapshot.offset, snapshot.state
    )  # fmt: skip


async def test_learning_is_predict_then_learn_in_order(world: World) -> None:
    """The snapshot's state is that of one head fed example by example."""
    world.publish()
    for sequence in range(1, 21):
        world.example(sequence)
    await (await world.reader(world.learn).start()).read_all(6)
    snapshot = stored(world)
    assert expected_state(world, 20) == snapshot.state
    assert (20, 20, {0: 20}) == (snapshot.examples, snapshot.offset, snapshot.sequences)


STEPS = st.lists(st.tuples(st.integers(1, 7), st.sampled_from(FAULTS)), max_size=10)


@settings(max_examples=30, deadline=None)
@given(steps=STEPS, again=st.lists(st.integers(1, 25), max_size=6))
def test_cuts_crashes_and_repeats_change_nothing(steps: list, again: list[int]) -> None:
    """The state after any interruption is byte for byte that of an uninterrupted run."""

    async def scenario(home: str) -> None:
        world = World(Path(home))
        world.publish()
        for sequence in range(1, 26):
            world.example(sequence)
            for repeated in again:
                if repeated <= sequence and (repeated + sequence) % 5 == 0:
                    world.example(repeated)
        await interrupted(world, world.learn, steps)
        last = await (await world.reader(world.learn).start()).read_all(4)
        assert expected_state(world, 25) == stored(world).state
        assert (25, 25) == (stored(world).examples, last.step.learned)

    with TemporaryDirectory() as home:
        asyncio.run(scenario(home))


async def test_a_restart_goes_on_from_the_snapshot(world: World) -> None:
    """A new worker reads from the snapshot's offset and numbers on."""
    world.publish()
    for sequence in range(1, 6):
        world.example(sequence)
    await (await world.reader(world.learn).start()).read_all()
    number = stored(world).number
    reader = await world.reader(world.learn).start()
    assert {EXAMPLES: 5} == reader.places
    world.example(6)
    await reader.read()
    assert (number + 1, expected_state(world, 6)) == (stored(world).number, stored(world).state)


async def test_unsaved_learning_is_kept_at_a_clean_stop(world: World) -> None:
    """Closing publishes what was learned since the last snapshot."""
    world.publish()
    reader = await world.reader(lambda: world.learn(1_000)).start()
    await reader.read()
    world.example(1)
    await reader.read()
    assert 0 == stored(world).examples
    await reader.step.close()
    assert 1 == stored(world).examples


async def test_snapshots_keep_their_distance(world: World) -> None:
    """A snapshot is published when something was learned and the interval has passed."""
    world.publish()
    reader = await world.reader(lambda: world.learn(1_000)).start()
    await reader.read()
    numbers = []
    for sequence in range(1, 9):
        world.example(sequence)
        world.clock.advance(400)
        await reader.read()
        numbers.append(stored(world).number)
    world.clock.advance(5_000)
    await reader.step.tick()
    await reader.step.tick()
    assert [1, 1, 2, 2, 2, 3, 3, 3] == numbers
    assert 4 == stored(world).number


async def test_announcements_name_the_snapshot_and_its_labels(world: World) -> None:
    """An announcement carries the digest of the stored bytes and the labels learned since."""
    world.publish()
    reader = await world.reader(world.learn).start()
    await reader.read()
    world.example(1, label_produced_ms=41)
    world.example(2, label_produced_ms=42)
    await reader.read()
    bytes_ = world.store.blobs[world.names.snapshot("head")]
    newest = announced(world)[-1]
    expected = ("snapshot", "head", "r0001", 2, digest(bytes_), 2, [41, 42])
    assert expected == (
        newest.kind, newest.learner, newest.release, newest.snapshot, newest.sha256,
        newest.examples, newest.labels_produced_ms,
    )  # fmt: skip


async def test_an_announcement_lost_in_a_crash_is_made_again(world: World) -> None:
    """A snapshot that was stored and not announced is announced by the next worker."""
    world.publish()
    reader = await world.reader(world.learn).start()
    world.bus.reachable = False
    with pytest.raises(BusUnavailable):
        await reader.read()
    world.bus.reachable = True
    assert [] == announced(world)
    await (await reader.start()).read()
    assert [stored(world).number] == [each.snapshot for each in announced(world)]


async def catch_up(world: World, reached: int, cut: int) -> list[tuple[str, int]]:
    """Let r0002, trained on `reached` of 20 examples, catch up; the versions served meanwhile."""
    world.publish()
    reader = await world.reader(world.learn).start()
    for sequence in range(1, 21):
        world.example(sequence)
    await reader.read_all()
    world.publish({"examples:0": reached, "sequence:0": reached}, seed=2)
    reader.step.wake()
    await reader.try_read()
    served = [reader.step.version]
    while await reader.try_read(cut):
        served.append(reader.step.version)
    return served


@pytest.mark.parametrize("reached", [0, 5, 13])
async def test_a_release_takes_over_where_the_champion_is(world: World, reached: int) -> None:
    """A new release learns what came after its data, and answers only once it has all of it."""
    served = await catch_up(world, reached, 1)
    batches = 20 - reached
    assert ["r0001"] * batches + ["r0002"] == [release for release, _ in served]
    snapshot = stored(world)
    found = ("r0002", 1, 20 - reached, 20, {0: 20})
    assert found == (
        snapshot.release, snapshot.number, snapshot.examples, snapshot.offset, snapshot.sequences
    )  # fmt: skip


async def test_a_release_that_has_everything_takes_over_at_once(world: World) -> None:
    """With nothing left to learn, no example has to come before the swap."""
    await catch_up(world, 20, 1)
    assert ("r0002", 0, 20) == (stored(world).release, stored(world).examples, stored(world).offset)


async def test_a_release_that_caught_up_learned_in_order(world: World) -> None:
    """The state of a release that took over is that of one which learned from the start."""
    await catch_up(world, 0, 3)
    assert expected_state(world, 20, seed=2) == stored(world).state


async def test_catching_up_survives_a_crash(world: World) -> None:
    """A worker that dies in between begins the release again, and the champion answers on."""
    world.publish()
    reader = await world.reader(world.learn).start()
    for sequence in range(1, 11):
        world.example(sequence)
    await reader.read_all()
    world.publish(seed=2)
    await reader.start()
    await reader.read(4)
    assert "r0001" == stored(world).release
    await (await reader.start()).read_all(3)
    assert ("r0002", expected_state(world, 10, seed=2)) == (
        stored(world).release, stored(world).state
    )  # fmt: skip


@pytest.mark.parametrize("flaw", ["schema", "file"])
async def test_a_bad_release_is_refused(world: World, flaw: str) -> None:
    """A release that fails its checks changes nothing: the champion learns on."""
    world.publish()
    reader = await world.reader(world.learn).start()
    await reader.read_all()
    if flaw == "schema":
        world.publish(schema="another")
    else:
        (world.registry.folder / world.publish() / "trees.safetensors").write_bytes(b"tampered")
    reader.step.wake()
    await reader.try_read()
    world.example(1)
    await reader.read_all()
    assert ("r0001", 1) == (stored(world).release, stored(world).examples)
    reader.step.wake()
    await reader.read()
    assert "r0001" == stored(world).release


async def test_a_release_is_found_without_its_announcement(world: World) -> None:
    """It may have gone to another worker of the group: the registry is looked at anyway."""
    world.publish()
    reader = await world.reader(world.learn).start()
    await reader.read_all()
    world.publish(seed=2)
    await reader.try_read()
    assert "r0001" == stored(world).release
    world.clock.advance(LOOK_MS)
    await reader.read_all()
    assert "r0002" == stored(world).release


async def test_a_learner_that_lost_its_partition_looks_for_nothing(world: World) -> None:
    """It would otherwise take the partition back from whoever has it."""
    world.publish()
    reader = await world.reader(world.learn).start()
    await reader.read_all()
    reader.step.forget(0)
    world.publish(seed=2)
    world.clock.advance(LOOK_MS)
    await reader.step.tick()


async def test_learners_of_two_schemas_do_not_meet(world: World) -> None:
    """Each has its own fence, snapshot and releases, on the same examples."""
    world.publish()
    for sequence in range(1, 4):
        world.example(sequence)
    first = world.context
    other = replace(world.names, schema="f" * 12)
    for names in (replace(world.names, schema=plan().schema.hash), other):
        world.context = replace(first, names=names)
        await (await world.reader(world.learn).start()).read_all()
    snapshots = [key for key in world.store.blobs if ":snapshot:" in key]
    assert 2 == len(snapshots)
    assert 1 == len({world.store.blobs[key] for key in snapshots})


async def test_without_a_release_nothing_is_learned_or_lost(world: World) -> None:
    """Examples before the first release wait in the log for it."""
    reader = await world.reader(world.learn).start()
    world.example(1)
    await reader.read_all()
    assert (("", 0), 0) == (reader.step.version, reader.step.learned)
    world.publish()
    reader.step.wake()
    await reader.read_all()
    assert 1 == stored(world).examples


async def test_a_first_release_learns_what_the_prior_answered_after_its_data(world: World) -> None:
    """Its learner begins where its training data ended, though the prior scored the rest too."""
    for sequence in range(1, 11):
        answered = make_prediction(f"k{sequence}", NOW, sequence)
        prior = msgspec.structs.replace(answered, score=0.5, baseline=0.5, release=PRIOR)
        world.example(sequence, prediction=msgspec.structs.replace(prior, snapshot=0))
    reader = await (await world.reader(world.learn).start()).read_all()
    world.publish({"examples:0": 6, "sequence:0": 6})
    reader.step.wake()
    await reader.read_all(3)
    snapshot = stored(world)
    assert ("r0001", 4, 10, {0: 10}) == (
        snapshot.release, snapshot.examples, snapshot.offset, snapshot.sequences
    )  # fmt: skip
    assert isinstance(reader.step, Learn)
    assert {"service": 0.5, "release": 0.5} == reader.step.progress.summary()["auc"]


async def test_examples_of_another_schema_only_count_as_seen(world: World) -> None:
    """A vector of other features is never shown to the learner."""
    world.publish()
    world.example(1)
    foreign = msgspec.structs.replace(world.examples()[0].prediction, schema="x", vector=b"1234")
    world.example(2, prediction=foreign)
    await (await world.reader(world.learn).start()).read_all()
    snapshot = stored(world)
    assert (1, 2, {0: 2}) == (snapshot.examples, snapshot.offset, snapshot.sequences)


async def test_a_damaged_snapshot_ends_the_worker(world: World) -> None:
    """State that fails its checksum is never learned on; the error names it."""
    world.publish()
    await (await world.reader(world.learn).start()).read()
    key = world.names.snapshot("head")
    world.store.blobs[key] = world.store.blobs[key][:-1] + b"?"
    with pytest.raises(ArtifactError, match="sha256"):
        await world.reader(world.learn).start()


async def test_a_learner_declared_otherwise_needs_another_name(world: World) -> None:
    """A state of another kind is refused with what to do; under another name it begins anew."""
    world.publish()
    await (await world.reader(world.learn).start()).read()
    for name in ("head", "linear"):
        project = replace(plan().project, learner=Linear(name=name))
        world.context = replace(world.context, plan=compile_plan(project))
        if name == "head":
            with pytest.raises(ArtifactError, match="snapshot 1 of r0001: .* needs another name"):
                await world.reader(world.learn).start()
        else:
            await (await world.reader(world.learn).start()).read()
    assert "r0001" == Snapshot.decode(world.store.blobs[world.names.snapshot("linear")]).release


async def test_a_malformed_example_ends_the_worker(world: World) -> None:
    """The log of examples is ours alone: what cannot be read there is named, not skipped."""
    world.publish()
    world.bus.append(EXAMPLES, b"?")
    with pytest.raises(ArtifactError, match="examples offset 0"):
        await (await world.reader(world.learn).start()).read()


async def test_quality_runs_over_the_newest_examples(world: World) -> None:
    """The running quality compares what was answered with what the release would have."""
    world.publish()
    for sequence in range(1, 5):
        world.example(sequence)
    reader = await world.reader(world.learn).start()
    await reader.read()
    step = reader.step
    assert isinstance(step, Learn)
    assert {"service": 0.5, "release": 0.5} == step.progress.summary()["auc"]


async def test_a_release_that_cannot_keep_up_is_given_up(world: World) -> None:
    """Past its time it is dropped, the champion goes on, and an operator hears of it."""
    world.publish()
    reader = await world.reader(world.learn).start()
    for sequence in range(1, 21):
        world.example(sequence)
    await reader.read_all()
    world.publish(seed=2)
    reader.step.wake()
    await reader.try_read()
    for sequence in range(21, 26):
        world.example(sequence)
        await reader.try_read(1)
        world.clock.advance(world.catch_up_ms // 3)
    await reader.read_all()
    assert ("r0001", expected_state(world, 25)) == (stored(world).release, stored(world).state)
    assert ["release_given_up"] == [alert.name for alert in world.alerts.waiting]
    reader.step.wake()
    await reader.read_all()
    assert "r0001" == stored(world).release


@pytest.mark.parametrize(("offset", "takes_over"), [(0.3, False), (-0.3, True)])
async def test_a_release_that_turns_out_worse_is_given_up(
    world: World, offset: float, takes_over: bool
) -> None:
    """What it would have predicted is compared with what was answered to the same requests."""
    project = replace(plan().project, gate=Gate(min_rows=10))
    world.context = replace(world.context, plan=compile_plan(project))
    world.publish()
    reader = await world.reader(world.learn).start()
    for sequence in range(1, 21):
        right = 0.5 + (offset if sequence % 2 else -offset)
        made = make_prediction(f"k{sequence}", NOW + sequence, sequence)
        world.example(sequence, prediction=msgspec.structs.replace(made, score=right))
    await reader.read_all()
    world.publish(seed=2)
    reader.step.wake()
    await reader.read_all(5)
    assert ("r0002" if takes_over else "r0001") == stored(world).release
    assert expected_state(world, 20, seed=2 if takes_over else 1) == stored(world).state


async def test_a_release_that_cannot_be_used_is_told_of_until_another_is_wanted(
    world: World,
) -> None:
    """By an alert, a metric and the status; the champion before goes on meanwhile."""
    world.publish()
    reader = await world.reader(world.learn).start()
    await reader.read_all()
    (world.registry.folder / world.publish() / "trees.safetensors").write_bytes(b"tampered")
    reader.step.wake()
    await reader.read_all()
    step = reader.step
    assert isinstance(step, Learn) and step.refused is not None
    assert ("r0002", True) == (step.refused.subject, "sha256" in step.refused.message)
    status = StatusBoard(world.context, step)
    await status.publish()
    told = json.loads(world.store.blobs[world.names.status()])["refused"]
    assert {"release": "r0002", "message": step.refused.message, "since_ms": NOW} == told
    change = RoleChange(
        "r0001", "rolled_back", plan().schema.hash, NOW, "ann", instead_of="r0002"
    )  # fmt: skip
    world.registry.enter(lambda standings: change)
    step.wake()
    await reader.read_all()
    assert (None, "r0001") == (step.refused, stored(world).release)
    alerts = [(each.name, each.subject, each.state) for each in world.alerts.waiting]
    assert [("release_refused", "r0002", state) for state in ("began", "ended")] == alerts
    assert 1 == world.measurements.totals["tidemill_releases_refused_total"]
