"""Which flights leaving New York will be late? Asked an hour ahead, learned from every landing.

Times are New York's wall clock written as if it were UTC: hours and weekdays are the traveller's.
"""

from tidemill import (
    BadCase, DerivedFeature, Entity, Event, Gate, Label, LightGBM, Project, Request, RequestFeature,
    TreeHead, Window, category, column, day_of_week, minute_of_day,
)  # fmt: skip

SKY = "temp dewp humid wind_dir wind_speed wind_gust precip pressure visib".split()
FLIGHT = {"origin": str, "dest": str, "carrier": str}

# An event's time is the moment it became known: a flight fell due, left (or was given up) or landed.
due = Event("timetable", key="origin", fields=FLIGHT)
left = Event("departure", key="origin", fields={**FLIGHT, "tail": str | None, "delay": float})
landed = Event("arrival", key="origin", fields={
    **FLIGHT, "tail": str | None, "delay": float, "left_late": float | None})  # fmt: skip
sky = Event("weather", key="origin", fields={"origin": str} | {name: float | None for name in SKY})
flight = Request({"flight": str, **FLIGHT, "tail": str | None, "scheduled": int, "distance": float})

origin, dest, carrier, plane = (Entity(n, (n,)) for n in ("origin", "dest", "carrier", "tail"))
airline = Entity("origin_carrier", ("origin", "carrier"))  # an airline at one airport
route = Entity("route", ("origin", "dest"))
HERE, BACKLOG_OVER = (origin, airline, carrier), ("3h", "6h", "24h")

project = Project(
    name="flights",
    events=(due, left, landed, sky),
    request=flight,
    label=Label(key=("flight",), wait="7d"),  # late by more than 15 minutes, or cancelled
    features=(
        RequestFeature("weekday", day_of_week(flight.scheduled)),
        RequestFeature("minute", minute_of_day(flight.scheduled)),
        RequestFeature("distance", flight.distance),
        RequestFeature("carrier", category(flight.carrier), categorical=True),
        RequestFeature("origin", category(flight.origin), categorical=True),
        RequestFeature("dest", category(flight.dest), categorical=True),
        *(Window(name, sky, ("last",), (origin,), ("6h",), of=sky[name]) for name in SKY),
        Window("left", left, ("mean",), HERE, ("1h", "3h", "24h"), of=left.delay),
        Window("left", left, ("mean",), (dest,), ("24h",), of=left.delay),
        Window("left_late", left, ("mean",), HERE, ("1h", "3h"), of=left.delay > 15),
        Window("left_early", left, ("mean",), HERE, ("1h", "3h"), of=left.delay < 0),
        Window("landed", landed, ("mean",), HERE, ("3h",), of=landed.delay),
        Window("landed", landed, ("mean",), (airline, route, dest), ("24h",), of=landed.delay),
        Window("landed_late", landed, ("mean",), (airline, carrier), ("24h",), of=landed.delay > 15),
        Window("lost_aloft", landed, ("mean",), (origin, dest), ("3h", "24h"),
               of=landed.delay - landed.left_late),
        Window("lost_aloft", landed, ("mean",), (route,), ("24h",), of=landed.delay - landed.left_late),
        Window("plane_left", left, ("last", "age"), (plane,), ("24h",), of=left.delay),
        Window("plane_landed", landed, ("last", "age"), (plane,), ("24h",), of=landed.delay),
        Window("plane_landed", landed, ("mean",), (plane,), ("6h",), of=landed.delay),
        Window("due", due, ("count",), HERE, BACKLOG_OVER),
        Window("gone", left, ("count",), HERE, BACKLOG_OVER),
        *(DerivedFeature(f"backlog_{e.name}_{over}",
                         column(f"due_count_{e.name}_{over}") - column(f"gone_count_{e.name}_{over}"))
          for e in HERE for over in BACKLOG_OVER),
    ),
    learner=TreeHead(learning_rate=0.002),
    trainer=LightGBM(leaves=63, rounds=200, learning_rate=0.05, min_rows_per_leaf=50, feature_share=0.5),
    gate=Gate(holdout="7d", tolerance=0.01),
    bad_cases=(
        BadCase("missed", (column("label") > 0) & (column("score") < 0.1)),
        BadCase("false_alarm", (column("label") < 1) & (column("score") > 0.8)),
    ),
)  # fmt: skip
