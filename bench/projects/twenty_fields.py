"""What `bench freshness_learn` declares: twenty numbers of the request, and a head on trees."""

from tidemill import Label, Project, Request, RequestFeature, TreeHead

NUMBERS = [f"number{n:02d}" for n in range(20)]
request = Request({"ticket": str} | dict.fromkeys(NUMBERS, float))

project = Project(
    name="bench_learn",
    events=(),
    request=request,
    features=tuple(RequestFeature(name, request[name]) for name in NUMBERS),
    label=Label(key=("ticket",), wait="1d"),
    learner=TreeHead(),
)
