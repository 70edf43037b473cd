"""Predictions and labels into examples: paired once, in sequence, whatever comes first or twice."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_world import DAY, NOW, World, interrupted

from tidemill.errors import BusUnavailable, StoreUnavailable
from tidemill.topics import BADCASES, EXAMPLES, LABELS, PREDICTIONS
from tidemill.wire import BadCaseFound, decode


def pairs(world: World) -> list[tuple[str, int]]:
    """Key and label of each example in the topic."""
    return [(example.prediction.key, example.label) for example in world.examples()]


def causes(world: World) -> list[str]:
    """Why each dead letter is one."""
    return [letter.cause for letter in world.dead_letters()]


async def test_a_label_joins_its_prediction(world: World) -> None:
    """The example carries prediction, label, both times, and its place in the join."""
    world.prediction("a")
    world.label("a", 1, NOW + 5)
    await (await world.reader(world.join).start()).read()
    (example,) = world.examples()
    found = (example.prediction.id, example.label, example.label_time, example.label_produced_ms)
    assert ("id-a", 1, NOW + 5, NOW, 0, 1) == (*found, example.partition, example.sequence)


async def test_a_label_may_come_before_its_prediction(world: World) -> None:
    """A label that is read first waits for its prediction."""
    world.label("a")
    reader = await world.reader(world.join).start()
    await reader.read()
    world.prediction("a")
    await reader.read()
    assert [("a", 1)] == pairs(world)


async def test_a_second_label_is_refused(world: World) -> None:
    """The first label counts, whether or not the prediction has come in between."""
    for key in "ab":
        world.label(key, 1)
        world.label(key, 0)
    reader = await world.reader(world.join).start()
    await reader.read()
    world.prediction("a")
    await reader.read()
    world.label("a", 0)
    await reader.read()
    assert ([("a", 1)], ["second_label"] * 3) == (pairs(world), causes(world))
    assert 3 == world.fence("join")["refused_second_label"]


@pytest.mark.parametrize("first", [PREDICTIONS, LABELS])
async def test_a_late_label_is_refused(world: World, first: str) -> None:
    """A label after the declared wait is a dead letter, whichever of the two is read first."""
    late = ("a", 1, NOW - DAY)
    reader = await world.reader(world.join).start()
    for kind in (first, LABELS if first == PREDICTIONS else PREDICTIONS):
        if kind == PREDICTIONS:
            world.prediction("a", NOW - 2 * DAY - 1)
        else:
            world.label(*late)
        await reader.read()
    assert ([], ["late_label"]) == (pairs(world), causes(world))


async def test_a_label_after_its_prediction_expired_is_late(world: World) -> None:
    """Once stream time has passed the wait, a label of any time comes too late."""
    world.prediction("a", NOW - 2 * DAY)
    world.prediction("b", NOW)
    reader = await world.reader(world.join).start()
    await reader.read()
    world.label("a", 1, NOW - 2 * DAY)
    await reader.read()
    assert (["late_label"], 1) == (causes(world), world.fence("join")["expired"])


async def test_a_label_with_a_clock_ahead_ends_nobodys_wait(world: World) -> None:
    """Stream time follows the requests: one label from the future makes no honest one late."""
    world.prediction("a", NOW - DAY + 60_000)
    reader = await world.reader(world.join).start()
    await reader.read()
    world.label("nobody", 1, NOW + 3_000_000)
    await reader.read()
    world.label("a", 1, NOW)
    await reader.read()
    assert [("a", 1)] == pairs(world)


async def test_a_label_without_prediction_is_refused_after_the_wait(world: World) -> None:
    """A label nobody asked for is a dead letter once its wait is over, as it came."""
    world.label("nobody", 1, NOW - 2 * DAY)
    reader = await world.reader(world.join).start()
    await reader.read()
    assert [] == causes(world)
    world.prediction("other", NOW)
    await reader.read()
    (letter,) = world.dead_letters()
    original = world.bus.log(LABELS, 0)[0].value
    found = (letter.topic, letter.offset, letter.cause, letter.key, letter.value)
    assert ("payments.labels", 0, "unknown_prediction", b"nobody", original) == found


async def test_a_repeated_prediction_does_not_make_two_examples(world: World) -> None:
    """The newest prediction before the label counts; one after it does not."""
    world.prediction("a", score=0.1)
    world.prediction("a", score=0.2)
    reader = await world.reader(world.join).start()
    await reader.read()
    world.label("a")
    await reader.read()
    world.prediction("a", score=0.3)
    await reader.read()
    assert [0.2] == [example.prediction.score for example in world.examples()]
    assert 2 == world.fence("join")["repeated_predictions"]


async def test_malformed_input_is_a_dead_letter(world: World) -> None:
    """Neither a broken prediction nor a broken label stops the others."""
    world.bus.append(PREDICTIONS, b"\x01", b"k", 0)
    world.bus.append(PREDICTIONS, None, b"k", 0)
    for body in (b"{", b'{"key":"a","value":2,"time":5}', b'{"key":"a","value":1,"time":-5}', None):
        world.bus.append(LABELS, body, b"k", 0)
    world.prediction("a")
    world.label("a")
    await (await world.reader(world.join).start()).read()
    expected = ["malformed"] * 3 + ["invalid_value", "absurd_time", "malformed"]
    assert ([("a", 1)], expected) == (pairs(world), causes(world))


async def test_bad_cases_follow_their_example(world: World) -> None:
    """A rule that needs the label is judged on the example."""
    for key, value in (("a", 0), ("b", 1)):
        world.prediction(key)
        world.label(key, value)
    await (await world.reader(world.join).start()).read()
    cases = [decode(BadCaseFound, message.value) for message in world.bus.log(BADCASES)]
    found = [(case.reason, case.prediction.key, case.label) for case in cases]
    assert [("sure_but_wrong", "a", 0)] == found


async def test_a_crash_before_the_commit_loses_nothing(world: World) -> None:
    """What was not committed is read again by the next worker, and only then sent."""
    world.prediction("a")
    world.label("a")
    reader = await world.reader(world.join).start()
    world.store.faults = ["before"]
    with pytest.raises(StoreUnavailable):
        await reader.read()
    assert [] == world.examples()
    await (await reader.start()).read()
    assert [("a", 1)] == pairs(world)


async def test_a_crash_after_the_commit_sends_the_outbox_again(world: World) -> None:
    """What was committed and not sent is sent by the next worker, under the same sequence."""
    world.prediction("a")
    world.label("a")
    reader = await world.reader(world.join).start()
    world.store.faults = ["after"]
    with pytest.raises(StoreUnavailable):
        await reader.read()
    assert [] == world.examples()
    await (await reader.start()).read()
    assert [("a", 1)] == pairs(world)
    await (await reader.start()).read()
    assert [1, 1] == [example.sequence for example in world.examples()]


async def test_a_broker_that_is_down_keeps_the_outbox(world: World) -> None:
    """Examples that could not be written are written when the broker is back."""
    world.prediction("a")
    world.label("a")
    reader = await world.reader(world.join).start()
    world.bus.reachable = False
    with pytest.raises(BusUnavailable):
        await reader.read()
    with pytest.raises(BusUnavailable):
        await reader.step.tick()
    world.bus.reachable = True
    await reader.step.tick()
    assert [("a", 1)] == pairs(world)


async def test_a_broker_that_breaks_halfway_gets_all_again(world: World) -> None:
    """After a part of the outbox was written it is written again from its first example."""
    for key in "abc":
        world.prediction(key)
        world.label(key)
    reader = await world.reader(world.join).start()
    world.bus.room = 2
    with pytest.raises(BusUnavailable):
        await reader.read()
    world.bus.reachable = True
    await reader.step.tick()
    assert [1, 2, 1, 2, 3] == [example.sequence for example in world.examples()]


async def test_the_outbox_is_emptied_by_the_next_batch(world: World) -> None:
    """The store keeps only what may still have to be sent."""
    world.prediction("a")
    world.label("a")
    reader = await world.reader(world.join).start()
    await reader.read()
    side = world.store.sides[world.names.side("join", 0)]
    assert {"key:a", "outbox:1"} == set(side)
    world.prediction("b")
    await reader.read()
    assert {"key:a", "key:b"} == set(side)


async def test_keys_that_look_like_the_outbox_are_joined(world: World) -> None:
    """A join key may be any text."""
    for key in ("outbox:1", "key:outbox:1", ""):
        world.prediction(key)
        await (await world.reader(world.join).start()).read()
        world.label(key)
        await (await world.reader(world.join).start()).read()
    found = dict.fromkeys(pairs(world))
    assert [("outbox:1", 1), ("key:outbox:1", 1), ("", 1)] == list(found)


async def test_records_delivered_again_change_nothing(world: World) -> None:
    """Records below the committed offsets make no second example, dead letter or count."""
    world.prediction("a")
    world.label("a")
    reader = await world.reader(world.join).start()
    await reader.read()
    before = dict(world.fence("join"))
    records = {kind: list(world.bus.log(kind, 0)) for kind in (PREDICTIONS, LABELS)}
    await reader.step.process(0, records)
    assert (1, []) == (len(world.examples()), causes(world))
    assert before == world.fence("join")


KEY = st.sampled_from(["a", "b", "c", "outbox:1", "outbox:2", "key:a"])
INPUT = st.tuples(st.sampled_from([PREDICTIONS, LABELS]), KEY, st.integers(0, 1))
STEP = st.tuples(
    st.integers(1, 6),
    st.sampled_from(["", "", "before", "after", "crash", "zombie", "broker", "halfway"]),
)


@settings(max_examples=150, deadline=None)
@given(inputs=st.lists(INPUT, max_size=25), steps=st.lists(STEP, max_size=15))
def test_every_pair_is_joined_once(inputs: list, steps: list) -> None:
    """A key with a prediction and a label makes one example, of its first label, in sequence."""

    async def scenario() -> None:
        world = World(Path("unused"))
        first_labels: dict[str, int] = {}
        predicted = set()
        for place, (kind, key, value) in enumerate(inputs):
            if kind == PREDICTIONS:
                world.prediction(key, NOW + place)
                predicted.add(key)
            else:
                world.label(key, value, NOW + place)
                first_labels.setdefault(key, value)
        await interrupted(world, world.join, steps)
        await (await world.reader(world.join).start()).read_all(2)
        expected = {key: value for key, value in first_labels.items() if key in predicted}
        distinct = {example.sequence: example for example in world.examples()}
        assert list(range(1, len(expected) + 1)) == sorted(distinct)
        found = [(example.prediction.key, example.label) for example in distinct.values()]
        assert sorted(expected.items()) == sorted(found)
        # Sent again is sent the same, and a sequence never comes before its predecessor did.
        seen = 0
        for example in world.examples():
            assert example == distinct[example.sequence]
            assert example.sequence <= seen + 1
            seen = max(seen, example.sequence)
        labels = sum(kind == LABELS for kind, _, _ in inputs)
        assert labels - len(first_labels) == world.fence("join").get("refused_second_label", 0)
        assert len(expected) == world.fence("join").get("joined", 0)

    asyncio.run(scenario())


async def test_partitions_count_for_themselves(world: World) -> None:
    """Each partition of the join has its own gap-free sequence."""
    for partition in (0, 1):
        for key in ("a", "b"):
            world.prediction(key, partition=partition)
            world.label(key, partition=partition)
        await (await world.reader(world.join, partition).start()).read(1)
        await (await world.reader(world.join, partition).start()).read(1)
    places = [(example.partition, example.sequence) for example in world.examples()]
    assert [(0, 1), (0, 2), (1, 1), (1, 2)] == list(dict.fromkeys(places))
    assert 0 == len(world.bus.log(EXAMPLES)) - len(places)
