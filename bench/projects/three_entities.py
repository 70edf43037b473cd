"""What `bench stream` declares second: the same twenty features for each of three entity types."""

from tidemill import Entity, Event, Label, Project, Request, Window

payment = Event(
    "payment", key="card", fields={"card": str, "shop": str, "device": str, "amount": float}
)
request = Request({"ticket": str, "card": str, "shop": str, "device": str})
BY = tuple(Entity(name, (name,)) for name in ("card", "shop", "device"))

project = Project(
    name="bench_three",
    events=(payment,),
    request=request,
    features=(
        Window(
            "paid", payment, ("count", "sum", "mean", "min", "max"), BY,
            ("1h", "3h", "12h", "24h"), of=payment.amount,
        ),
    ),
    label=Label(key=("ticket",), wait="1d"),
)  # fmt: skip
