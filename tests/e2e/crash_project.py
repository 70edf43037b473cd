"""A project made for crashes: entities beside the Kafka key, whole and real sums, many tiles."""

from tidemill import Entity, Event, Label, LabelRate, Project, Request, RequestFeature, Window

sold = Event(
    "sold",
    key="shop",
    fields={"shop": str, "item": str, "city": str, "units": float, "price": float},
)
returned = Event("returned", key="item", fields={"item": str, "shop": str, "units": float})
request = Request({"ticket": str, "shop": str, "item": str, "city": str, "pages": float})
# All of a shop's sales come from one partition, in one order; of an item's and a place's, not.
SHOP, ITEM = Entity("shop", ("shop",)), Entity("item", ("item",))
PLACE = Entity("place", ("city", "item"))
# What does not depend on the order in which partitions are read, bit for bit (units are whole).
ANY_ORDER = ("count", "sum", "mean", "min", "max", "first", "last", "last_3", "age")
ONE_ORDER = ("variance", "std", "distinct", "p50", "p90", "top_3")

project = Project(
    name="stalls",
    events=(sold, returned),
    request=request,
    features=(
        RequestFeature("pages", request.pages),
        Window("units", sold, ANY_ORDER, (SHOP, ITEM, PLACE), ("10min", "6h", "90d", "lifetime"),
               of=sold.units),
        Window("spread", sold, ONE_ORDER, (SHOP,), ("1h", "30d", "lifetime"), of=sold.units),
        Window("fading", sold, ("decayed_count", "decayed_sum", "decayed_mean"), (SHOP, ITEM),
               ("2h",), of=sold.price),
        Window("price", sold, ("sum", "mean", "max", "ratio"), (SHOP, ITEM), ("1h", "90d"),
               of=sold.price, per=sold.units),
        Window("many", sold, ("count",), (SHOP, ITEM), ("2h",), where=sold.units > 50),
        Window("back", returned, ("count", "sum", "last"), (ITEM, SHOP), ("1d", "90d"),
               of=returned.units),
        LabelRate("chosen", (SHOP,), ("90d",), prior=0.5),
    ),
    label=Label(key=("ticket",), wait="90d"),
)  # fmt: skip
