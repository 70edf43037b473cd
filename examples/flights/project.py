"""Which flights from New York will be late? Asked an hour before departure, learned from every arrival.

Times are New York's wall clock written as if it were UTC, so that hours and weekdays mean what a traveller reads.
"""

from tidemill import (
    BadCase, DerivedFeature, Entity, Event, Gate, Label, LightGBM, Project, Request, RequestFeature,
    TreeHead, Window, category, column, day_of_week, minute_of_day,
)  # fmt: skip

PLACE = {"origin": str, "carrier": str, "dest": str, "tail": str | None}
SKY = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")

# An event's time is when it became known: due, left (or given up), landed, an hour after measuring.
timetable = Event("timetable", key="origin", fields={"origin": str, "carrier": str, "dest": str})
departure = Event("departure", key="origin", fields={**PLACE, "delay": float})
arrival = Event("arrival", key="origin", fields={**PLACE, "delay": float})
weather = Event("weather", key="origin", fields={"origin": str, **{name: float | None for name in SKY}})
request = Request({"flight": str, **PLACE, "scheduled": int, "distance": float})

origin, dest, carrier = (Entity(name, (name,)) for name in ("origin", "dest", "carrier"))
origin_carrier = Entity("origin_carrier", ("origin", "carrier"))
route = Entity("route", ("origin", "dest"))
plane = Entity("plane", ("tail",))


def windows(name, event, aggregate, by, over, of=None, where=None):
    return Window(name, event, tuple(aggregate.split()), by, tuple(over.split()), of, where)


left, landed, late = departure.delay, arrival.delay, 15
BACKLOG = [f"{e.name}_{over}" for e in (origin, origin_carrier) for over in ("1h", "3h", "24h")]

project = Project(
    name="flights",
    events=(timetable, departure, arrival, weather),
    request=request,
    features=(
        RequestFeature("month_day", request.scheduled / 86_400_000),
        RequestFeature("weekday", day_of_week(request.scheduled)),
        RequestFeature("minute", minute_of_day(request.scheduled)),
        RequestFeature("distance", request.distance),
        RequestFeature("carrier", category(request.carrier), categorical=True),
        RequestFeature("origin", category(request.origin), categorical=True),
        RequestFeature("dest", category(request.dest), categorical=True),
        windows("left", departure, "mean count", (origin, origin_carrier, dest), "1h 3h 24h", left),
        windows("due", timetable, "count", (origin, origin_carrier), "1h 3h 24h"),
    ),
    label=Label(key=("flight",), wait="3d"),
)
