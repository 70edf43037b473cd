"""The flights example, told of each plane's last leg: is it back in time for the next one?

A plane that left New York for a city far away cannot be back before it has flown there, turned
round and flown back. `flown` and `arrived` carry what a departure and a landing tell of that.
"""

from dataclasses import replace

import tidemill as tm
from cli.demo.options import PROJECT_FILE
from tidemill.loading import load_project

LEG = {"tail": str | None, "origin": str}
flown = tm.Event("flown", key="origin", fields=LEG | {"distance": float})
arrived = tm.Event("arrived", key="origin", fields=LEG | {"minutes": float})
plane = tm.Entity("tail", ("tail",))
TURN_MINUTES = 40.0  # on the ground, at the least

miles, since, over = (
    tm.column(f"leg_{name}_tail_24h") for name in ("miles_last", "miles_age", "minutes_age")
)
# Its own time from gate to gate once it has landed; before that, about what its distance takes.
minutes = tm.if_else(over <= since, tm.column("leg_minutes_last_tail_24h"), 50 + miles / 7)


def extended(project: tm.Project) -> tm.Project:
    """The project with the last leg's events and features."""
    to_departure = since / 60 + 60  # a score is asked for an hour ahead
    last_leg = (
        tm.Window("leg_miles", flown, ("last", "age"), (plane,), ("24h",), of=flown.distance),
        tm.Window("leg_minutes", arrived, ("last", "age"), (plane,), ("24h",), of=arrived.minutes),
        tm.Window("leg_from", flown, ("last",), (plane,), ("24h",), of=tm.category(flown.origin)),
        tm.DerivedFeature("leg_slack", to_departure - 2 * minutes),
        tm.DerivedFeature("leg_knock_on", tm.maximum(0, 2 * minutes + TURN_MINUTES - to_departure)),
        tm.DerivedFeature(
            "leg_elsewhere", tm.absolute(tm.column("leg_from_last_tail_24h") - tm.column("origin"))
        ),
    )
    return replace(
        project, name="flights_rotation", events=(*project.events, flown, arrived),
        features=(*project.features, *last_leg),
    )  # fmt: skip


project = extended(load_project(PROJECT_FILE))
