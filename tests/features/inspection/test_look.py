"""What is shown of an entity is what a score would see, and the state it comes from."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import shops

from features.inspection.look import Inspector, moment
from features.plan import compile_plan
from features.replay import Replayer
from features.store import MemoryStore
from features.vectors import VectorReader
from tidemill import Entity, Event, Label, Project, Request, StaticRow, Window
from tidemill.errors import InputError
from tidemill.topics import Names

START, MINUTE, HOUR = shops.START, shops.MINUTE, shops.HOUR

move = Event("move", "lane", {"lane": int, "side": str, "load": float})
lane = Entity("lane", ("lane", "side"))
aggregates = ("count", "mean", "std", "first", "last_2", "decayed_sum", "distinct", "top_2", "max")
lanes = Project(
    name="lanes",
    events=(move,),
    request=Request({"lane": int, "side": str, "load": float}),
    features=(
        Window("load", move, aggregates, (lane,), ("1h",), move.load, move.load > 0),
        Window("ever", move, ("sum",), (lane,), ("lifetime",), move.load),
        StaticRow("map", Entity("side", ("side",)), {"width": 1, "shape": 2}),
    ),
    label=Label(("lane",), "1h"),
)
MOVES = [(0, 4.0), (10 * MINUTE, 6.0), (10 * MINUTE, -1.0), (50 * MINUTE, 6.0)]


async def world(project: Project, apply: Any) -> tuple[Inspector, VectorReader]:
    """An inspector and a reader on a store with some events."""
    plan = compile_plan(project)
    names, store = Names(project.name, 4, plan.state), MemoryStore()
    replayer = Replayer(plan)
    apply(replayer)
    for entity, key, blob in replayer.blobs():
        store.blobs[names.blob(names.entity_partition(key), entity, key)] = blob
    return Inspector(plan, names, store), VectorReader(plan, names, store)


def moves(replayer: Replayer) -> None:
    """Some loads on the left of lane 7."""
    replayer.apply(
        "move",
        {
            "time": np.array([START + ms for ms, _ in MOVES], np.int64),
            "lane": np.full(len(MOVES), 7.0),
            "side": np.full(len(MOVES), "left", dtype=object),
            "load": np.array([load for _, load in MOVES]),
        },
    )


@pytest.mark.parametrize("parts", [["7|left"], ["7", "left"], ["7.0", "left"]])
@pytest.mark.parametrize("behind", [-20 * MINUTE, 0, 30 * MINUTE, 5 * HOUR])
async def test_values_are_those_of_a_score_at_that_time(parts: list[str], behind: int) -> None:
    """All aggregates, at several times, with the id given in each of its ways."""
    inspector, reader = await world(lanes, moves)
    at = START + 50 * MINUTE + behind
    view = await inspector.look("lane", parts, at)
    request = msgspec.defstruct("Request", ["time", "lane", "side", "load"])(at, 7, "left", 1.0)
    vectors = await reader.read([request])
    expected = dict(zip(lanes.feature_names, vectors.matrix[0].tolist(), strict=True))
    names = [name for name in lanes.feature_names if not name.startswith("map")]
    assert names == list(view.values)
    np.testing.assert_array_equal(
        [expected[name] for name in names],
        [np.nan if value is None else value for value in view.values.values()],
    )
    assert (behind, START + 50 * MINUTE) == (view.age_ms, view.newest_ms)
    assert {"lane": 7.0, "side": "left"} == view.id


async def test_the_state_is_listed_by_series() -> None:
    """Tiles that hold something, last values, decayed sums and sketches."""
    inspector, _ = await world(lanes, moves)
    filtered, everything = (await inspector.look("lane", ["7|left"], START + HOUR)).state
    assert ("move", "load", "(load > 0)") == tuple(filtered[k] for k in ("event", "of", "where"))
    step = 5 * MINUTE
    tiles = [(tile["from_ms"], tile["to_ms"], tile["count"], tile["sum"]) for tile in
             filtered["tiles"]]  # fmt: skip
    places = [START, START + 2 * step, START + 10 * step]
    counted = zip(places, (1, 1, 1), (4.0, 6.0, 6.0), strict=True)
    assert [(at, at + step, count, total) for at, count, total in counted] == tiles
    newest = START + 50 * MINUTE
    last = [{"time_ms": newest, "value": 6.0}, {"time_ms": START + 10 * MINUTE, "value": 6.0}]
    assert last == filtered["last"]
    assert [(HOUR, newest, True)] == [
        (each["half_life_ms"], each["as_of_ms"], each["count"] < 3) for each in filtered["decayed"]
    ]
    assert {"distinct", "top"} == {each["kind"] for each in filtered["sketches"]}
    assert [{"from_ms": None, "to_ms": None, "sum": 15.0}] == everything["tiles"]


async def test_an_entity_never_seen_is_shown_as_such() -> None:
    """Its values are those of nothing; it has neither age nor state."""
    inspector, _ = await world(lanes, moves)
    view = await inspector.look("lane", ["8|left"], START)
    assert (False, None, None, 0, []) == (
        view.known, view.newest_ms, view.age_ms, view.bytes, view.state
    )  # fmt: skip
    assert (0.0, None) == (view.values["load_count_lane_1h"], view.values["load_mean_lane_1h"])


async def test_static_rows_are_shown_with_their_entity() -> None:
    """The row being served, also of an entity without windows; missing without a table."""
    inspector, _ = await world(lanes, moves)
    nothing = {"map_width": None, "map_shape_0": None, "map_shape_1": None}
    assert nothing == (await inspector.look("side", ["left"], START)).values
    (plan,) = inspector._static.plans
    names, store = inspector._names, inspector._store
    row = plan.encode(5, np.array([[1.5, 2.0, np.nan]], np.float32))[0]
    await store.write([(names.static_row("map", 5, "left"), row)])
    await store.write([(names.static_live("map", plan.layout), b"5")])
    expected = {"map_width": 1.5, "map_shape_0": 2.0, "map_shape_1": None}
    assert expected == (await inspector.look("side", ["left"], START)).values


WRONG = {
    "an entity the project does not have": ("card", ["a"], "unknown_entity", "'card'", "lane"),
    "a part that is missing": ("lane", ["7"], "wrong_id", "7", "lane|side"),
    "a part too many": ("lane", ["7|left|x"], "wrong_id", "7|left|x", "lane|side"),
    "a number that is none": ("lane", ["x|left"], "wrong_id", "'x'", "a number"),
    "a number that is not finite": ("lane", ["inf|left"], "wrong_id", "'inf'", "a number"),
}


@pytest.mark.parametrize("mistake", WRONG)
async def test_what_cannot_be_is_named(mistake: str) -> None:
    """Cause, found and allowed."""
    entity, parts, cause, found, allowed = WRONG[mistake]
    inspector, _ = await world(lanes, moves)
    with pytest.raises(InputError) as refused:
        await inspector.look(entity, parts, START)
    assert (cause, found) == (refused.value.cause, refused.value.found)
    assert allowed in refused.value.allowed


async def test_an_id_of_one_field_is_taken_as_it_is() -> None:
    """A single key may contain the separator."""
    inspector, _ = await world(
        shops.project,
        lambda it: it.apply(
            "payment", shops.payments({"time": START, "card": "a|b", "amount": 1.0})
        ),
    )
    assert (await inspector.look("card", ["a|b"], START)).known
    assert not (await inspector.look("card", ["a"], START)).known


def test_moments_are_given_in_two_ways() -> None:
    """Milliseconds, ISO 8601 with an offset, or nothing for now."""
    given = (None, str(START), "2013-05-01T02:00:00+02:00", "2013-05-01T00:00Z")
    assert [5, START, START, START] == [moment(each, 5) for each in given]
    for wrong in ("2013-05-01T00:00", "yesterday", "", "1" * 40, "-5"):
        with pytest.raises(InputError, match="at: found"):
            moment(wrong, 5)
