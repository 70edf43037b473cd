"""What becomes of labels that are several, late, missing, too many or of numbers."""

from __future__ import annotations

import msgspec
import pytest
from pairs import joining
from stream_world import DAY, NOW, Reader, World

from streams.join import OUTCOMES
from tidemill.label import Label
from tidemill.topics import LABELS

CORRECTED = Label(("card",), "1d", corrections="2d")
IMPLIED = Label(("card",), "1d", missing=0, corrections="2d")


async def reading(world: World, label: Label) -> Reader:
    """A reader of a join for this label."""
    world.clock.advance(9 * DAY)  # no label is ahead of it
    return await world.reader(lambda: joining(world, label)).start()


def found(world: World) -> list[tuple[str, float, str, int]]:
    """Key, label, kind and day of each example in the topic."""
    return [
        (e.prediction.key, e.label, e.kind, (e.label_time - NOW) // DAY) for e in world.examples()
    ]


def causes(world: World) -> list[str]:
    """Why each dead letter is one."""
    return [letter.cause for letter in world.dead_letters()]


def outcomes(world: World) -> dict[str, float]:
    """What the metric says."""
    name = "tidemill_join_outcomes_total"
    samples = [s for m in world.measurements.registry.collect() for s in m.samples]
    return {s.labels["outcome"]: s.value for s in samples if s.name == name}


async def test_a_second_label_corrects_the_first(world: World) -> None:
    """It makes another example of the same prediction; one that says the same does not."""
    reader = await reading(world, CORRECTED)
    world.prediction("a")
    for value in (1, 1, 0):
        world.label("a", value)
    await reader.read()
    assert [("a", 1, "label", 0), ("a", 0, "correction", 0)] == found(world)
    assert 1 == len({example.prediction.id for example in world.examples()})
    assert ([], {"joined": 1, "corrected": 1, "repeated": 1}) == (causes(world), outcomes(world))


async def test_a_label_after_the_wait_corrects_nothing_said(world: World) -> None:
    """The prediction had no example; up to the end of the corrections it still gets one."""
    reader = await reading(world, CORRECTED)
    world.prediction("a")
    world.prediction("b")
    world.prediction("later", NOW + 2 * DAY)
    await reader.read()
    world.label("a", 1, NOW + 3 * DAY)
    world.label("b", 1, NOW + 3 * DAY + 1)
    await reader.read()
    assert [("a", 1, "correction", 3)] == found(world)
    assert (["late_label"], 2) == (causes(world), world.fence("join")["expired"])


async def test_a_late_label_waits_for_the_end_of_the_wait(world: World) -> None:
    """It is read before stream time has come so far; the missing one is said first."""
    reader = await reading(world, IMPLIED)
    world.prediction("a")
    world.label("a", 1, NOW + 2 * DAY)
    await reader.read()
    assert [] == found(world)
    world.prediction("later", NOW + 3 * DAY)
    await reader.read()
    assert [("a", 0, "missing", 1), ("a", 1, "correction", 2)] == found(world)


async def test_a_missing_label_is_said_at_the_end_of_the_wait(world: World) -> None:
    """Without corrections a label after it is late."""
    reader = await reading(world, Label(("card",), "1d", missing=1))
    world.prediction("a")
    world.prediction("later", NOW + DAY + 1)
    await reader.read()
    world.label("a", 0, NOW + DAY)
    await reader.read()
    assert [("a", 1, "missing", 1)] == found(world)
    assert (["late_label"], {"missing": 1, "late": 1}) == (causes(world), outcomes(world))


async def test_fake_negatives_weigh_less_the_more_come_late(world: World) -> None:
    """The share of late positives is behind the fence and survives the worker."""
    reader = await reading(world, IMPLIED)
    for day in range(60):
        world.prediction(f"a{day}", NOW + day * DAY // 10, score=0.5)
        world.clock.advance(DAY // 10)
        if day >= 20:
            world.label(f"a{day - 20}", 1, NOW + day * DAY // 10)
        await reader.read()
        await reader.start()
    implied = [e.weight for e in world.examples() if e.kind == "missing"]
    late = [e.weight for e in world.examples() if e.kind == "correction"]
    assert implied == sorted(implied, reverse=True)
    assert late == sorted(late)
    assert 1.0 == implied[0] > implied[-1] > 0.75  # (1 - p)(1 + p) when all were late
    assert 1.0 == late[0] < late[-1] < 1.5
    fence = world.fence("join")
    assert fence["late_positives_weight"] == fence["positives_weight"] > 0


@pytest.mark.parametrize(
    ("several", "expected"), [("last", 2.0), ("sum", 9.0), ("max", 4.0), ("mean", 3.0)]
)
async def test_several_numbers_are_one_example(world: World, several: str, expected: float) -> None:
    """Gathered until the wait is over, also over a crash; the newest gives time and producer."""
    reader = await reading(world, Label(("card",), "1d", "number", several))  # type: ignore[arg-type]
    world.label("a", 3.0, NOW + 7)
    await reader.read()
    world.prediction("a")
    for value, time in ((2.0, NOW + 9), (4.0, NOW + 8)):
        body = {"key": "a", "value": value, "time": time, "producer": f"p{value:g}"}
        world.bus.append(LABELS, msgspec.json.encode(body), b"a", 0)
        await reader.read()
        await reader.start()
    assert [] == found(world)
    world.prediction("later", NOW + DAY + 1)
    await reader.read()
    (example,) = world.examples()
    assert (expected, NOW + 9, "p2") == (example.label, example.label_time, example.producer)


async def test_a_number_label_may_be_any_number(world: World) -> None:
    """Where 0 or 1 is declared, another number is a dead letter."""
    for label, expected in ((Label(("card",), "1d", "number"), [-2.5]), (CORRECTED, [])):
        again = World(world.home)
        reader = await reading(again, label)
        again.prediction("a")
        again.label("a", -2.5)
        await reader.read()
        assert expected == [example.label for example in again.examples()]
        assert (["invalid_value"] if not expected else []) == causes(again)


async def test_without_a_key_the_predictions_id_is_the_key(world: World) -> None:
    """Several predictions for one card have an outcome each."""
    reader = await reading(world, Label((), "1d"))
    for name in "ab":
        world.prediction(f"id-{name}", id=f"id-{name}")
    world.label("id-b", 0)
    world.label("id-a", 1)
    await reader.read()
    assert [("id-b", 0), ("id-a", 1)] == [(e.prediction.id, e.label) for e in world.examples()]


async def test_few_negatives_are_kept_and_weigh_more(world: World) -> None:
    """Every positive stays; what was left out is counted, and its second label is known for one."""
    reader = await reading(world, Label(("card",), "1d", keep_negatives=0.25))
    for number in range(400):
        world.prediction(f"k{number}")
        world.label(f"k{number}", number % 2)
    await reader.read()
    examples = world.examples()
    assert 200 == sum(example.label for example in examples)
    negatives = [example for example in examples if example.label == 0]
    assert {(4.0, 4.0)} == {(e.weight, e.sampled) for e in negatives}
    assert 30 < len(negatives) < 70
    assert outcomes(world) == {"joined": len(examples), "dropped_negatives": 200 - len(negatives)}
    world.label("k0", 1)
    await reader.read()
    assert ["second_label"] == causes(world)


async def test_a_correction_to_a_negative_is_never_left_out(world: World) -> None:
    """Else what it corrects would stay."""
    label = Label(("card",), "1d", corrections="1d", keep_negatives=0.01)
    reader = await reading(world, label)
    for number in range(20):
        world.prediction(f"k{number}")
        for value in (1, 0):
            world.label(f"k{number}", value)
    await reader.read()
    assert {("label", 1.0, 1.0): 20, ("correction", 0.0, 1.0): 20} == {
        each: sum(each == (e.kind, e.label, e.sampled) for e in world.examples())
        for each in {(e.kind, e.label, e.sampled) for e in world.examples()}
    }


@pytest.mark.parametrize("label", [Label(("card",), "1d"), IMPLIED], ids=str)
async def test_what_waits_is_bounded(world: World, label: Label) -> None:
    """Those that would expire first end their waits early, and leave nothing behind."""
    world.most_pending = 3
    reader = await reading(world, label)
    for place, key in enumerate("abcdef"):
        world.prediction(key, NOW + place)
        await reader.read()
        await reader.start()
    side = world.store.sides[world.names.side("join", 0)]
    assert {"key:d", "key:e", "key:f"} == {name for name in side if name.startswith("key:")}
    implied = [(key, 0) for key in "abc"] if label.missing == 0 else []
    assert implied == list(dict.fromkeys((key, value) for key, value, _, _ in found(world)))
    counted = {"missing": 3, "evicted": 3} if implied else {"expired": 3, "evicted": 3}
    assert counted == outcomes(world)
    for example in world.examples():  # said when it was, not at a moment to come
        assert example.label_time <= NOW + 5


async def test_early_labels_are_bounded_too(world: World) -> None:
    """One label too many is a dead letter, and so are those that make room."""
    world.most_pending = 2
    reader = await reading(world, CORRECTED)
    for number in range(17):
        world.label("a", 1, NOW + number)
    for key in "bc":
        world.label(key, 1, NOW + 50)
    await reader.read()
    assert ["too_many_labels"] + ["unknown_prediction"] * 16 == causes(world)
    assert {"evicted": 1, "dangling": 16} == outcomes(world)


async def test_the_producer_of_a_label_is_the_examples(world: World) -> None:
    """Nobody, where it says nothing."""
    reader = await reading(world, CORRECTED)
    for key, more in (("a", {"producer": "billing"}), ("b", {})):
        world.prediction(key)
        body = {"key": key, "value": 1, "time": NOW} | more
        world.bus.append(LABELS, msgspec.json.encode(body), b"", 0)
    await reader.read()
    assert ["billing", ""] == [example.producer for example in world.examples()]


async def test_records_are_taken_in_the_order_of_their_stamps(world: World) -> None:
    """A label in time is not late because a later prediction stands in the same micro-batch."""
    reader = await reading(world, Label(("card",), "1d"))
    world.prediction("a", NOW)
    world.clock.advance(5)
    world.label("a", 1, NOW + 5)
    world.clock.advance(5)
    world.prediction("b", NOW + 9 * DAY)
    await reader.read()
    assert ([("a", 1, "label", 0)], []) == (found(world), causes(world))


def test_every_outcome_has_its_name() -> None:
    """What the fence counts is what metrics and console show."""
    assert {
        "joined", "missing", "expired", "evicted", "corrected", "late", "dangling", "repeated",
        "second", "dropped_negatives",
    } == set(OUTCOMES.values())  # fmt: skip
