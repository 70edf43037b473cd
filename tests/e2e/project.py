"""A small service to test on: will a ferry's passenger be late?"""

from tidemill import (
    BadCase,
    Entity,
    Event,
    Label,
    Project,
    Request,
    RequestFeature,
    Window,
    column,
)  # fmt: skip

boarded = Event("boarded", key="pier", fields={"pier": str, "ferry": str, "weight": float})
sailed = Event("sailed", key="ferry", fields={"pier": str, "ferry": str, "delay": float})
request = Request({"ticket": str, "pier": str, "ferry": str, "distance": float})
BOTH = (Entity("pier", ("pier",)), Entity("ferry", ("ferry",)))

project = Project(
    name="ferries",
    events=(boarded, sailed),
    request=request,
    features=(
        RequestFeature("distance", request.distance),
        Window("boarded", boarded, ("count", "sum", "last"), BOTH, ("1h",), of=boarded.weight),
        Window("sailed", sailed, ("mean", "max"), BOTH, ("1h",), of=sailed.delay),
    ),
    label=Label(key=("ticket",), wait="1d"),
    bad_cases=(BadCase("sure_but_wrong", (column("score") > 0.8) & column("label").equals(0)),),
)
