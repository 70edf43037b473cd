"""Which flights leaving New York will be late? Asked an hour ahead, learned from every landing.

Times are New York's wall clock written as if it were UTC: hours and weekdays are the traveller's.
"""

import tidemill as tm

SKY = "temp dewp humid wind_dir wind_speed wind_gust precip pressure visib".split()
FLIGHT = {"origin": str, "dest": str, "carrier": str}
PLANE = {**FLIGHT, "tail": str | None}

# An event's time is when it became known: a flight fell due, left (or was given up), landed.
due = tm.Event("timetable", key="origin", fields=FLIGHT)
left = tm.Event("departure", key="origin", fields={**PLANE, "delay": float})
landed = tm.Event(
    "arrival", key="origin", fields={**PLANE, "delay": float, "left_late": float | None}
)
sky = tm.Event("weather", key="origin", fields={"origin": str} | dict.fromkeys(SKY, float | None))
flight = tm.Request({"flight": str, **PLANE, "scheduled": int, "distance": float})

origin, dest, carrier, plane = (tm.Entity(n, (n,)) for n in ("origin", "dest", "carrier", "tail"))
airline = tm.Entity("origin_carrier", ("origin", "carrier"))  # an airline at one airport
route = tm.Entity("route", ("origin", "dest"))
HERE, BACKLOG_OVER = (origin, airline, carrier), ("3h", "6h", "24h")
lost_aloft = landed.delay - landed.left_late

project = tm.Project(
    name="flights",
    events=(due, left, landed, sky),
    request=flight,
    label=tm.Label(key=("flight",), wait="7d"),  # late by more than 15 minutes, or cancelled
    features=(
        tm.RequestFeature("weekday", tm.day_of_week(flight.scheduled)),
        tm.RequestFeature("minute", tm.minute_of_day(flight.scheduled)),
        tm.RequestFeature("distance", flight.distance),
        tm.RequestFeature("carrier", tm.category(flight.carrier), categorical=True),
        tm.RequestFeature("origin", tm.category(flight.origin), categorical=True),
        tm.RequestFeature("dest", tm.category(flight.dest), categorical=True),
        *(tm.Window(name, sky, ("last",), (origin,), ("6h",), of=sky[name]) for name in SKY),
        tm.Window("left", left, ("mean",), HERE, ("1h", "3h", "24h"), of=left.delay),
        tm.Window("left", left, ("mean",), (dest,), ("24h",), of=left.delay),
        tm.Window("left_late", left, ("mean",), HERE, ("1h", "3h"), of=left.delay > 15),
        tm.Window("left_early", left, ("mean",), HERE, ("1h", "3h"), of=left.delay < 0),
        tm.Window("landed", landed, ("mean",), HERE, ("3h",), of=landed.delay),
        tm.Window("landed", landed, ("mean",), (airline, route, dest), ("24h",), of=landed.delay),
        tm.Window("landed_late", landed, ("mean",), (airline, carrier), ("24h",),
                  of=landed.delay > 15),
        tm.Window("lost_aloft", landed, ("mean",), (origin, dest), ("3h", "24h"), of=lost_aloft),
        tm.Window("lost_aloft", landed, ("mean",), (route,), ("24h",), of=lost_aloft),
        tm.Window("plane_left", left, ("last", "age"), (plane,), ("24h",), of=left.delay),
        tm.Window("plane_landed", landed, ("last", "age"), (plane,), ("24h",), of=landed.delay),
        tm.Window("plane_landed", landed, ("mean",), (plane,), ("6h",), of=landed.delay),
        tm.Window("due", due, ("count",), HERE, BACKLOG_OVER),
        tm.Window("gone", left, ("count",), HERE, BACKLOG_OVER),
        *(tm.DerivedFeature(f"backlog_{at}",
                            tm.column(f"due_count_{at}") - tm.column(f"gone_count_{at}"))
          for at in (f"{e.name}_{over}" for e in HERE for over in BACKLOG_OVER)),
    ),
    learner=tm.TreeHead(learning_rate=0.002),
    trainer=tm.LightGBM(leaves=63, rounds=200, min_rows_per_leaf=50, feature_share=0.5),
    gate=tm.Gate(holdout="7d", tolerance=0.01),
    bad_cases=(
        tm.BadCase("missed", (tm.column("label") > 0) & (tm.column("score") < 0.1)),
        tm.BadCase("false_alarm", (tm.column("label") < 1) & (tm.column("score") > 0.8)),
    ),
)  # fmt: skip
