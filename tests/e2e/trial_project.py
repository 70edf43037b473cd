"""A service whose releases know one thing each: will a crossing be late, by its wind or its swell?

A block has the outcomes of a minute of the stream, which `trial_traffic` sends in a tenth of a
second.
"""

from tidemill import Entity, Event, Label, Project, Request, RequestFeature, Trial, Window

boarded = Event("boarded", key="pier", fields={"pier": str, "weight": float})
request = Request({"ticket": str, "pier": str, "wind": float, "swell": float})

project = Project(
    name="crossings",
    events=(boarded,),
    request=request,
    features=(
        RequestFeature("wind", request.wind),
        RequestFeature("swell", request.swell),
        Window("boarded", boarded, ("count",), (Entity("pier", ("pier",)),), ("1h",)),
    ),
    label=Label(key=("ticket",), wait="1d"),
    trial=Trial(block="1min", min_blocks=30, min_rows=300, watch="24h", window="1h"),
)
