"""A plane's last leg, against brute force over the rows that were known at the barrier."""

import numpy as np
import pandas
import pytest

from bench.streams.flights import BARRIER_MS, PROJECT, with_legs
from cli.demo.backfill import Backfill
from cli.demo.history import data_folder, read_history
from features.plan import compile_plan
from tidemill.durations import DAY_MS, MINUTE_MS
from tidemill.loading import load_project

DAYS, SAMPLES = 6, 400


@pytest.fixture(scope="module")
def flown():
    """Requests of the first days, their vectors by feature, and the barrier of each."""
    history, plan = with_legs(read_history()), compile_plan(load_project(PROJECT))
    first = int(history.requests["time"][0])
    end = first // DAY_MS * DAY_MS + DAYS * DAY_MS
    chosen, vectors = Backfill(plan, history, end, BARRIER_MS).run()
    requests = {name: column[chosen] for name, column in history.requests.items()}
    begin = end - (end - first) // BARRIER_MS * BARRIER_MS - BARRIER_MS
    barriers = begin + (requests["time"] - begin) // BARRIER_MS * BARRIER_MS
    return requests, dict(zip(plan.schema.names, vectors.T, strict=True)), barriers


def legs() -> pandas.DataFrame:
    """Each flight's plane, miles, and when it left and was back at a gate, in ms."""
    raw = pandas.read_csv(data_folder() / "flights.csv.zip").head(8_000)
    day_ms = pandas.to_datetime(raw[["year", "month", "day"]]).map(
        lambda moment: int(moment.timestamp() * 1000)
    )
    clock = raw["sched_dep_time"]
    due = day_ms + (clock // 100 * 60 + clock % 100) * MINUTE_MS
    left = due + raw["dep_delay"].fillna(120) * MINUTE_MS
    aloft = raw["air_time"].fillna((20 + raw["distance"] / 7).round())
    landed = (left + (aloft + 30) * MINUTE_MS).where(raw["dep_delay"].notna(), left)
    return pandas.DataFrame(
        {"tail": raw["tailnum"], "miles": raw["distance"], "left": left, "landed": landed}
    )


def test_the_last_leg_is_the_last_one_known(flown) -> None:
    """Miles, age and slack of a sample of requests equal a search through all earlier legs."""
    requests, features, barriers = flown
    table = legs()
    picked = np.random.default_rng(5).choice(len(barriers), SAMPLES, replace=False)
    for row in picked.tolist():
        now, barrier = int(requests["time"][row]), int(barriers[row])
        mine = table[table["tail"] == requests["tail"][row]]
        left = mine[(mine["left"] <= barrier) & (mine["left"] >= now - DAY_MS)]
        miles = features["leg_miles_last_tail_24h"][row]
        if left.empty:
            assert np.isnan(miles)
            continue
        last = left.loc[left["left"].idxmax()]
        since = (now - last["left"]) / 1000
        assert last["miles"] == miles
        assert pytest.approx(since) == features["leg_miles_age_tail_24h"][row]
        back = mine[(mine["landed"] <= barrier) & (mine["landed"] >= now - DAY_MS)]
        known = not back.empty and (now - back["landed"].max()) / 1000 <= since
        of = back.loc[back["landed"].idxmax()] if known else last
        minutes = (of["landed"] - of["left"]) / MINUTE_MS if known else 50 + last["miles"] / 7
        expected = since / 60 + 60 - 2 * minutes
        assert pytest.approx(expected, abs=1e-3) == features["leg_slack"][row]
