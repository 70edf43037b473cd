"""Each request is answered from what was known when it was asked, and from nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from shops import HOUR, MINUTE, START, project

from features.archive.point_in_time import (
    KnownEvents,
    about,
    earliest_ms,
    since,
    take,
    vectors_at,
)
from features.plan import compile_plan
from features.replay import Replayer

PLAN = compile_plan(project)


def text(values: list[str]) -> np.ndarray:
    """A column of text."""
    column = np.empty(len(values), object)
    column[:] = values
    return column


def stream(count: int, seed: int) -> tuple[KnownEvents, dict, np.ndarray]:
    """Events of both kinds that became known up to two hours late, and requests with their cuts."""
    rng = np.random.default_rng(seed)

    def times(rows: int) -> tuple[np.ndarray, np.ndarray]:
        known = np.sort(START + rng.integers(0, 9 * HOUR, rows))
        return known, known - rng.integers(0, 2 * HOUR, rows) * rng.integers(0, 2, rows)

    cards, shops = text([f"c{n}" for n in range(3)]), text([f"s{n}" for n in range(3)])
    known, time = times(count)
    payments = {
        "time": time, "card": cards[rng.integers(0, 3, count)],
        "shop": shops[rng.integers(0, 3, count)],
        "amount": rng.lognormal(2, 1, count), "online": rng.integers(0, 2, count).astype(float),
    }  # fmt: skip
    later, moment = times(count)
    visits = {"time": moment, "shop": shops[rng.integers(0, 3, count)], "floor": np.zeros(count)}
    cuts, asked = times(count)
    cuts, asked = rng.permutation(np.stack((cuts, asked)), axis=1)
    requests = {
        "time": asked, "card": cards[rng.integers(0, 3, count)],
        "shop": shops[rng.integers(0, 3, count)], "amount": rng.lognormal(2, 1, count),
        "floor": np.zeros(count),
    }  # fmt: skip
    return KnownEvents((payments, visits), (known, later)), requests, cuts


@pytest.mark.parametrize("seed", range(3))
def test_every_vector_is_that_of_its_own_replay(seed: int) -> None:
    """Together or one by one, in any order of the requests."""
    events, requests, cuts = stream(60, seed)
    found = vectors_at(PLAN, events, requests, cuts)
    for row, cut in enumerate(cuts):
        replayer = Replayer(PLAN)
        for event, columns, known in zip(PLAN.events, events.columns, events.known_ms, strict=True):
            if (known <= cut).any():
                replayer.apply(event.name, take(columns, known <= cut))
        expected = replayer.vectors(take(requests, [row]))[0]
        np.testing.assert_array_equal(expected, found[row])


def test_events_too_old_to_matter_can_be_left_out() -> None:
    """The longest window and a tile before the first request; nothing else changes."""
    events, requests, cuts = stream(200, 5)
    early = {name: column.copy() for name, column in events.columns[0].items()}
    early["time"] -= 30 * 24 * HOUR
    both = {name: np.concatenate((early[name], events.columns[0][name])) for name in early}
    known = np.concatenate((early["time"], events.known_ms[0]))
    order = np.argsort(known, kind="stable")
    longer = KnownEvents((take(both, order), events.columns[1]), (known[order], events.known_ms[1]))
    fewer = since(PLAN, longer, requests)
    assert (600, 400) == (len(longer), len(fewer))
    np.testing.assert_array_equal(
        vectors_at(PLAN, longer, requests, cuts), vectors_at(PLAN, fewer, requests, cuts)
    )
    assert earliest_ms(PLAN, take(requests, [])) is None


def test_events_of_other_entities_can_be_left_out() -> None:
    """They change nothing for requests that do not ask for them."""
    events, requests, cuts = stream(200, 6)
    rows = np.flatnonzero((requests["card"] == "c1") & (requests["shop"] == "s1"))
    asked, moments = take(requests, rows), cuts[rows]
    fewer = about(PLAN, events, asked)
    assert 0 < len(fewer) < len(events)
    np.testing.assert_array_equal(
        vectors_at(PLAN, events, asked, moments), vectors_at(PLAN, fewer, asked, moments)
    )


def test_by_event_time_every_event_is_known_at_once() -> None:
    """What came late counts from its own time on."""
    columns = {
        "time": np.array([START, START - MINUTE]), "card": text(["c0", "c1"]),
        "shop": text(["s", "s"]), "amount": np.ones(2), "online": np.ones(2),
    }  # fmt: skip
    none = {"time": np.empty(0, np.int64), "shop": text([]), "floor": np.empty(0)}
    events = KnownEvents(
        (columns, none), (np.array([START, START + HOUR]), np.empty(0, np.int64))
    ).by_event_time()
    assert ["c1", "c0"] == events.columns[0]["card"].tolist()
    assert [START - MINUTE, START] == events.known_ms[0].tolist()


def test_no_requests_have_no_vectors() -> None:
    """An empty question has an empty answer."""
    events, requests, cuts = stream(10, 1)
    found = vectors_at(PLAN, events, take(requests, slice(0)), cuts[:0])
    assert (0, len(PLAN.schema.names)) == found.shape
