"""What `bench stream` declares first: twenty window features of one entity type."""

from tidemill import Entity, Event, Label, Project, Request, Window

payment = Event(
    "payment", key="card", fields={"card": str, "shop": str, "device": str, "amount": float}
)
request = Request({"ticket": str, "card": str})

project = Project(
    name="bench_one",
    events=(payment,),
    request=request,
    features=(
        Window(
            "paid", payment, ("count", "sum", "mean", "min", "max"), (Entity("card", ("card",)),),
            ("1h", "3h", "12h", "24h"), of=payment.amount,
        ),
    ),
    label=Label(key=("ticket",), wait="1d"),
)  # fmt: skip
