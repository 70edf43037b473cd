"""The worker's document has what the console reads, and counts that agree with the fences."""

import json
from pathlib import Path

from stream_world import NOW, World

from streams.status import StatusBoard
from tidemill.wire import BadCaseFound

CONTRACT = json.loads(
    (Path(__file__).parents[1] / "console" / "status.json").read_text(encoding="utf-8")
)


async def board(world: World) -> StatusBoard:
    """A board beside steps that have worked through a little of everything."""
    world.publish()
    for i in range(4):
        world.event(card=f"c{i}")
    world.bus.append("events", b"?", partition=0)
    for key in "abcd":
        world.prediction(key)
        world.label(key, int(key in "ab"))
    world.label("a")
    await (await world.reader(world.rekey).start()).read_all()
    for target in range(world.names.partitions):
        await (await world.reader(world.fold, target).start()).read_all()
    await (await world.reader(world.join).start()).read_all()
    learner = await (await world.reader(world.learn).start()).read_all()
    for name in ("events", "updates", "join", "learn", "archive"):
        world.measurements.lag(name, 0)
    return StatusBoard(world.context, learner.step)


async def published(world: World, status: StatusBoard) -> tuple[dict, list]:
    """What is in the store after publishing."""
    await status.publish()
    names = (world.names.status(), world.names.bad_cases())
    document, cases = (json.loads(world.store.blobs[name]) for name in names)
    return document, cases


async def test_the_document_has_what_the_console_reads(world: World) -> None:
    """Every key of the console's example is there, with the kinds of its values."""
    document, _ = await published(world, await board(world))
    contract = CONTRACT["worker"]
    assert set() == set(contract) - set(document)
    assert set() == set(contract["counts"]) - set(document["counts"])
    example, point = contract["series"][-1], document["series"][-1]
    assert set() == set(example) - set(point)
    assert {name: type(value) for name, value in example.items()} == {
        name: type(point[name]) for name in example
    }
    assert set(example["lag"]) == set(point["lag"])
    assert {name: set(example[name]) for name in ("auc", "log_loss")} == {
        name: set(point[name]) for name in ("auc", "log_loss")
    }


async def test_counts_come_from_the_fences(world: World) -> None:
    """The totals are exact across restarts, for they are committed with the effects."""
    document, _ = await published(world, await board(world))
    expected = {
        "events_read": 5, "events_applied": 4, "dead_letters": 1, "late_values": 0,
        "predictions": 4, "labels_joined": 4, "labels_refused": 1, "examples": 4, "bad_cases": 2,
    }  # fmt: skip
    assert expected.items() <= document["counts"].items()
    outcomes = {name: n for name, n in document["counts"].items() if name.startswith("join_") and n}
    assert {"join_joined": 4, "join_second": 1} == outcomes
    assert (NOW, True) == (document["seen_ms"], document["alive"])


async def test_rates_are_per_second_of_the_clock(world: World) -> None:
    """The second point's rate is what came since the first, divided by the time between."""
    status = await board(world)
    await status.publish()
    for i in range(10):
        world.event(card=f"c{i}")
    await (await world.reader(world.rekey).start()).read_all()
    for target in range(world.names.partitions):
        await (await world.reader(world.fold, target).start()).read_all()
    world.clock.advance(2_000)
    document, _ = await published(world, status)
    rates = [point["events_per_second"] for point in document["series"]]
    assert [0.0, 5.0] == rates


async def test_the_skew_meters_last_look_is_passed_on(world: World) -> None:
    """What the meter wrote into the store is in the document and in the metrics."""
    status = await board(world)
    assert (await published(world, status))[0]["skew"] is None
    found = {"rate": 0.25, "equal": 3, "rounding": 0, "causes": {"late": 1}}
    world.store.blobs[world.names.skew()] = json.dumps(found).encode()
    assert found == (await published(world, status))[0]["skew"]
    value = world.measurements.registry.get_sample_value
    assert 0.25 == value("tidemill_skew_rate")
    assert 1.0 == value("tidemill_skew_vectors", {"result": "late"})
    world.store.blobs[world.names.skew()] = json.dumps(found | {"causes": {}}).encode()
    await status.publish()
    assert 0.0 == value("tidemill_skew_vectors", {"result": "late"})


async def test_bad_cases_have_their_features(world: World) -> None:
    """A bad case has the keys of the console's example, newest first, features by name."""
    status = await board(world)
    example = world.examples()[0]
    status.found(BadCaseFound("first", example.prediction, 0, NOW))
    status.found(BadCaseFound("second", example.prediction, None, NOW + 1))
    _, cases = await published(world, status)
    assert ["second", "first"] == [case["reason"] for case in cases]
    assert set(CONTRACT["bad_cases"][0]) == set(cases[0])
    assert set(world.context.plan.schema.names) == set(cases[0]["features"])
