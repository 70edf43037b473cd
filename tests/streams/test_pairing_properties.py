"""Any interleaving, any cut, any crash: the examples are those of the slow way, one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import Oracle, Stamped, joining
from stream_world import DAY, NOW, World, make_prediction

from streams.alignment import Alignment
from streams.join import Join
from tidemill.errors import BusUnavailable, FencedError, StoreUnavailable
from tidemill.label import Label
from tidemill.topics import LABELS, PREDICTIONS
from tidemill.wire import Example, LabelEvent, Prediction

COUNTERS = (
    "joined", "missing", "corrected", "expired", "repeated_labels", "repeated_predictions",
    "dropped_negatives", "refused_late_label", "refused_second_label", "refused_unknown_prediction",
)  # fmt: skip
HOUR = DAY // 24
DECLARED = [
    Label(("card",), "1d"),
    Label(("card",), "1d", corrections="2d"),
    Label(("card",), "1d", missing=0),
    Label(("card",), "1d", missing=1),
    Label(("card",), "1d", several="last", corrections="12h"),
    Label(("card",), "1d", several="max", missing=0, corrections="3d"),
    Label(("card",), "1d", missing=0, corrections="2d", keep_negatives=0.5),
    Label((), "1d", keep_negatives=0.5),
    Label((), "1d", "number", several="sum", missing=0.5, corrections="2d"),
    Label(("card",), "1d", "number", several="mean"),
    Label(("card",), "1d", "number", several="max", corrections="2d"),
    Label(("card",), "1d", "number", several="last", missing=-1),
]
KEY = st.sampled_from("abcd")
GAP = st.integers(0, 3)  # ms between two records' stamps
PREDICTED = st.tuples(st.just(PREDICTIONS), KEY, st.integers(-30, 60), st.integers(0, 4), GAP)
SAID = st.tuples(st.just(LABELS), KEY, st.integers(-30, 110), st.integers(0, 3), GAP)
FAULTS = ["", "", "", "before", "after", "crash", "broker", "halfway"]
STEP = st.tuples(st.integers(0, 4), st.integers(0, 4), st.sampled_from(FAULTS))
Input = tuple[str, str, int, int, int]


class AlignedReader:
    """Does what the micro-batch loop does with a step whose topics are aligned."""

    def __init__(self, world: World, make: Callable[[], Join]) -> None:
        self.world, self.make = world, make
        self.places: dict[str, int] = {}

    async def start(self) -> AlignedReader:
        """Take the partition with a new step, as after a crash."""
        self.step = self.make()
        self.alignment = Alignment(Join.kinds, self, 1e9, lambda: 0.0)  # type: ignore[arg-type]
        self.places = dict(await self.step.open(0, claim=True))
        return self

    def behind(self, kind: str, partition: int) -> int:
        """What of the log was not read."""
        return len(self.world.bus.log(kind, partition)) - self.places[kind]

    async def read(self, limits: Mapping[str, int]) -> None:
        """Read so many of each kind; after an error forget everything and open again."""
        polled = {}
        for kind, limit in limits.items():
            if found := self.world.bus.log(kind, 0)[self.places[kind] :][:limit]:
                self.places[kind] += len(found)
                polled[kind] = found
        try:
            if records := self.alignment.take(0, polled):
                await self.step.process(0, records)
            await self.step.tick()
        except (StoreUnavailable, BusUnavailable, FencedError):
            self.step.forget(0)
            self.alignment.forget(0)
            self.places = dict(await self.step.open(0, claim=False))

    async def finish(self) -> None:
        """Read everything there is."""
        while any(self.behind(kind, 0) for kind in Join.kinds) or self.alignment.held:
            await self.read(dict.fromkeys(Join.kinds, 3))
        await self.read({})


def written(world: World, label: Label, inputs: Sequence[Input]) -> list[Stamped]:
    """Append them, then a prediction that ends all waits; what was written, in order of stamps."""
    records: list[tuple[int, int, Prediction | LabelEvent]] = []
    ending = (PREDICTIONS, "end", 24 * 10, 0, 1)
    for kind, key, hours, value, gap in [*inputs, ending]:
        world.clock.advance(gap)
        stamp, time = world.clock.now_ms(), NOW + hours * HOUR
        if kind == PREDICTIONS:
            made = make_prediction(key, time)
            made = msgspec.structs.replace(made, id=f"{key}{value}", score=value / 5)
            world.bus.append(kind, made.encode(), key.encode(), 0)
            records.append((stamp, 0, made))
        else:
            said = float(value % 2 if label.kind == "binary" else value)
            event = LabelEvent(key, said, time, producer=f"p{value}")
            world.bus.append(kind, msgspec.json.encode(event), key.encode(), 0)
            records.append((stamp, 1, event))
    records.sort(key=lambda each: each[:2])
    return [(record, stamp) for stamp, _, record in records]


async def interrupted(reader: AlignedReader, steps: Sequence[tuple[int, int, str]]) -> None:
    """Read in these cuts with these faults, then let a fresh worker finish."""
    world = reader.world
    await reader.start()
    for predictions, labels, fault in steps:
        world.store.faults = [fault] if fault in ("before", "after") else []
        world.bus.reachable = fault != "broker"
        world.bus.room = 1 if fault == "halfway" else None
        if fault == "crash":
            await reader.start()
        else:
            await reader.read({PREDICTIONS: predictions, LABELS: labels})
        world.bus.reachable, world.bus.room, world.store.faults = True, None, []
    await (await reader.start()).finish()


def in_sequence(examples: Sequence[Example]) -> list[Example]:
    """Each once, in sequence; what was sent again must be the same, and leave no gap."""
    distinct: dict[int, Example] = {}
    for example in examples:
        assert example == distinct.setdefault(example.sequence, example)
    assert list(range(1, len(distinct) + 1)) == sorted(distinct)
    return [distinct[number] for number in sorted(distinct)]


@pytest.mark.parametrize("label", DECLARED, ids=str)
@settings(max_examples=40, deadline=None)
@given(inputs=st.lists(PREDICTED | SAID | SAID, max_size=30), steps=st.lists(STEP, max_size=20))
def test_examples_are_those_of_the_slow_way(label: Label, inputs: list, steps: list) -> None:
    """Values, kinds, times, weights, producers and counts, whatever the policy."""

    async def scenario() -> None:
        world = World(Path("unused"))
        world.clock.advance(5 * DAY)  # no label is ahead of it
        records = written(world, label, inputs)
        await interrupted(AlignedReader(world, lambda: joining(world, label)), steps)
        expected = Oracle(label).run(records)
        assert expected.examples == in_sequence(world.examples())
        fence = world.fence("join")
        assert {n: expected.counts[n] for n in COUNTERS} == {n: fence.get(n, 0) for n in COUNTERS}

    asyncio.run(scenario())


@pytest.mark.parametrize("label", [DECLARED[0], DECLARED[5], DECLARED[6], DECLARED[8]], ids=str)
@settings(max_examples=40, deadline=None)
@given(inputs=st.lists(PREDICTED | SAID | SAID, max_size=30), steps=st.lists(STEP, max_size=20))
def test_what_is_closed_early_does_not_depend_on_the_cut(
    label: Label, inputs: list, steps: list
) -> None:
    """However little may wait, the examples are those of one undisturbed run."""

    async def scenario() -> None:
        worlds = [World(Path("unused")), World(Path("unused"))]
        for world, cuts in zip(worlds, ([], steps), strict=True):
            world.most_pending = 2
            world.clock.advance(5 * DAY)
            written(world, label, inputs)
            await interrupted(AlignedReader(world, partial(joining, world, label)), cuts)
            side = world.store.sides.get(world.names.side("join", 0), {})
            assert 2 >= sum(name.startswith("key:") for name in side)
        straight, cut = (in_sequence(world.examples()) for world in worlds)
        assert straight == cut
        names = (*COUNTERS, "evicted")
        first, second = ([w.fence("join").get(n, 0) for n in names] for w in worlds)
        assert first == second

    asyncio.run(scenario())
