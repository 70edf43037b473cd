"""What `bench score` serves: fifty window features of two entities, twenty-five of each."""

from tidemill import Entity, Event, Label, Project, Request, Window

payment = Event("payment", key="card", fields={"card": str, "shop": str, "amount": float})

project = Project(
    name="bench_score",
    events=(payment,),
    request=Request({"card": str, "shop": str}),
    features=(
        Window(
            "paid", payment, ("count", "sum", "mean", "min", "max"),
            (Entity("card", ("card",)), Entity("shop", ("shop",))),
            ("1h", "3h", "6h", "12h", "24h"), of=payment.amount,
        ),
    ),
    label=Label(wait="1d"),
)  # fmt: skip
