"""The flights example against brute force over the source's rows, told only what was known."""

import csv
import io
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from cli.demo.history import data_folder, read_history
from cli.demo.timeline import Range, rows, steps
from features.plan import compile_plan
from features.replay import Replayer
from tidemill.feature_kinds import DerivedFeature, RequestFeature, Window
from tidemill.loading import load_project

PROJECT = Path(__file__).resolve().parents[2] / "examples" / "flights" / "project.py"
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STEP, SAMPLES = 30 * MINUTE, 2_000
START, END = (int(datetime(2013, month, 1, tzinfo=UTC).timestamp() * 1000) for month in (1, 6))
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
TEXTS = ("origin", "dest", "carrier", "tail")
# Window → the kind of event and the number it takes from each.
TAKES = {
    "left": ("departure", lambda e: e["delay"]),
    "left_late": ("departure", lambda e: e["delay"] > 15),
    "left_early": ("departure", lambda e: e["delay"] < 0),
    "plane_left": ("departure", lambda e: e["delay"]),
    "gone": ("departure", lambda e: e["time"]),
    "landed": ("arrival", lambda e: e["delay"]),
    "landed_late": ("arrival", lambda e: e["delay"] > 15),
    "lost_aloft": ("arrival", lambda e: e["delay"] - e["left_late"]),
    "plane_landed": ("arrival", lambda e: e["delay"]),
    "due": ("timetable", lambda e: e["time"]),
} | {name: ("weather", lambda e, name=name: e[name]) for name in SKY}
OVER = {"1h": HOUR, "3h": 3 * HOUR, "6h": 6 * HOUR, "24h": 24 * HOUR}


def number(text: str) -> float:
    """A number of the source, NaN for NA."""
    return float("nan") if text in ("NA", "") else float(text)


def midnight(row: dict[str, str]) -> int:
    """The start of a row's day in ms."""
    day = datetime(int(row["year"]), int(row["month"]), int(row["day"]), tzinfo=UTC)
    return int(day.timestamp() * 1000)


def read_rows() -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The raw rows of flights and weather, as text."""
    with zipfile.ZipFile(data_folder() / "flights.csv.zip") as archive:
        flights = list(csv.DictReader(io.StringIO(archive.read("flights.csv").decode())))
    with (data_folder() / "weather.csv").open() as file:
        return flights, list(csv.DictReader(file))


def as_tables(flights: list[dict[str, str]], weather: list[dict[str, str]]) -> dict[str, dict]:
    """Each kind of event as arrays in order of when it became known, by the example's rules."""
    kinds = ("timetable", "departure", "arrival", "weather")
    events: dict[str, list[dict]] = {kind: [] for kind in kinds}
    for row in flights:
        clock = int(row["sched_dep_time"])
        due = midnight(row) + (clock // 100 * 60 + clock % 100) * MINUTE
        names = {"origin": row["origin"], "dest": row["dest"], "carrier": row["carrier"],
                 "tail": None if row["tailnum"] in ("NA", "") else row["tailnum"]}  # fmt: skip
        late, landed_late = number(row["dep_delay"]), number(row["arr_delay"])
        aloft = number(row["air_time"])
        if np.isnan(late):
            left = landed = due + 2 * HOUR
            late = 60.0
        else:
            left = due + int(late) * MINUTE
            if np.isnan(aloft):
                aloft = round(20 + float(row["distance"]) / 7)
            landed = left + int(aloft + 30) * MINUTE
        flown = not np.isnan(landed_late)
        events["timetable"].append({"time": due, **names})
        events["departure"].append({"time": left, "delay": late, **names})
        events["arrival"].append(
            {"time": landed, "delay": landed_late if flown else 60.0,
             "left_late": late if flown else float("nan"), **names}
        )  # fmt: skip
    for row in weather:
        known = midnight(row) + (int(row["hour"]) + 1) * HOUR
        readings = {name: number(row[name]) for name in SKY}
        events["weather"].append({"time": known, "origin": row["origin"], **readings})
    return {kind: as_arrays(found) for kind, found in events.items()}


def as_arrays(found: list[dict]) -> dict[str, np.ndarray]:
    """Rows as columns, stable in time."""
    found = sorted(found, key=lambda event: event["time"])
    return {
        name: np.array([event[name] for event in found], object if name in TEXTS else None)
        for name in found[0]
    }


def tile(over: int) -> int:
    """How far a window's tail is rounded down."""
    return 5 * MINUTE if over < 12 * HOUR else HOUR


def expected_window(window: Window, events: dict, request: dict, barrier: int) -> dict[str, float]:
    """All features of one window for one request, from the rows known at the barrier."""
    found = {}
    kind, takes = TAKES[window.name]
    table = events[kind]
    # Nothing older than two days can matter; the slice only saves time.
    low, high = np.searchsorted(table["time"], (request["time"] - 2 * DAY, barrier + 1))
    recent = {name: column[low:high] for name, column in table.items()}
    values = np.asarray(takes(recent), float)
    for entity in window.by:
        mine = ~np.isnan(values)
        for key in entity.keys:
            mine &= np.array(
                [value == request[key] and value is not None for value in recent[key]], bool
            )
        for over in window.over:
            for aggregate in window.aggregate:
                name = f"{window.name}_{aggregate}_{entity.name}_{over}"
                found[name] = aggregated(
                    aggregate, recent["time"][mine], values[mine], request["time"], OVER[over]
                )
    return found


def aggregated(aggregate: str, times: np.ndarray, values: np.ndarray, now: int, over: int) -> float:
    """One aggregate over the window's rows."""
    if aggregate in ("last", "age"):
        inside = times >= now - over
        if not inside.any():
            return float("nan")
        return values[inside][-1] if aggregate == "last" else (now - times[inside][-1]) / 1000
    step = tile(over)
    inside = times // step >= (now - over) // step
    if aggregate == "count":
        return float(inside.sum())
    return float(values[inside].mean()) if inside.any() else float("nan")


def expected_request_feature(name: str, request: dict) -> float:
    """A feature of the request alone."""
    due = request["scheduled"]
    if name in ("carrier", "origin", "dest"):
        return float(zlib.crc32(request[name].encode()) % 4096)
    moment = datetime.fromtimestamp(due / 1000, UTC)
    return {"weekday": moment.weekday(), "minute": moment.hour * 60 + moment.minute,
            "distance": request["distance"], "month": moment.month}[name]  # fmt: skip


def expected_vector(project, events: dict, request: dict, barrier: int) -> np.ndarray:
    """A whole vector by brute force."""
    found: dict[str, float] = {}
    for feature in project.features:
        if isinstance(feature, Window):
            found |= expected_window(feature, events, request, barrier)
        elif isinstance(feature, RequestFeature):
            found[feature.name] = expected_request_feature(feature.name, request)
        elif isinstance(feature, DerivedFeature):
            tail = feature.name.removeprefix("backlog_")
            found[feature.name] = found[f"due_count_{tail}"] - found[f"gone_count_{tail}"]
    return np.array([found[name] for name in project.feature_names], np.float32)


@pytest.fixture(scope="module")
def project():
    """The example project."""
    return load_project(PROJECT)


@pytest.fixture(scope="module")
def history():
    """The demo's reading of the same files."""
    return read_history()


def test_vectors_equal_brute_force_over_what_was_known(project, history):
    """2 000 random vectors equal a recomputation from the rows known at their barrier."""
    span = Range(START, END, STEP)
    asked = history.requests["time"]
    chosen = np.random.default_rng(7).choice(
        np.flatnonzero((asked >= START) & (asked < END)), SAMPLES, replace=False
    )
    picked, replayer, actual, barriers = (
        set(chosen.tolist()),
        Replayer(compile_plan(project)),
        {},
        {},
    )
    for step in steps(history, span):
        if step.barrier_ms >= END:
            break
        for name, some in step.events.items():
            if some.stop > some.start:
                replayer.apply(name, rows(history.events[name], some))
        here = [row for row in range(step.requests.start, step.requests.stop) if row in picked]
        if here:
            vectors = replayer.vectors(rows(history.requests, np.array(here)))
            actual.update(zip(here, vectors, strict=True))
            barriers.update(dict.fromkeys(here, step.barrier_ms))
    events = as_tables(*read_rows())
    requests = [{n: column[row] for n, column in history.requests.items()} for row in chosen]
    expected = np.array(
        [
            expected_vector(project, events, request, barriers[row])
            for row, request in zip(chosen.tolist(), requests, strict=True)
        ]
    )
    np.testing.assert_allclose(
        np.array([actual[row] for row in chosen.tolist()]), expected, rtol=1e-6, atol=0
    )


def test_no_vector_can_contain_its_own_answer(history):
    """A request is scored before its own flight left or was given up, and before its label."""
    asked = dict(
        zip(history.requests["flight"].tolist(), history.requests["time"].tolist(), strict=True)
    )
    labels = history.labels
    margins = [
        said - asked[key]
        for key, said in zip(labels["key"].tolist(), labels["time"].tolist(), strict=True)
    ]
    flights, _ = read_rows()
    earliest = min(
        number(row["dep_delay"]) for row in flights if row["dep_delay"] not in ("NA", "")
    )
    assert (60 + earliest) * MINUTE > 0
    assert min(margins) > 0


def test_flight_keys_are_unique(history):
    """Every flight has a join key of its own."""
    assert (
        len(set(history.requests["flight"].tolist())) == len(history.requests["flight"]) == 336_776
    )


def test_declaration_stays_small(project):
    """A request touches at most six entities and gets at most ninety features."""
    assert len(project.entities) <= 6
    assert len(project.feature_names) <= 90
