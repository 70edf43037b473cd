"""A small project and its records, shared by the feature tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill import (
    DerivedFeature,
    Entity,
    Event,
    Label,
    Project,
    Request,
    RequestFeature,
    Window,
    category,
    column,
    hour,
)

START = 1_367_366_400_000  # 2013-05-01T00:00Z, the first moment of a day
MINUTE, HOUR = 60_000, 3_600_000

payment = Event(
    "payment",
    key="card",
    fields={"card": str, "shop": str | None, "amount": float | None, "online": bool | None},
)
visit = Event("visit", key="shop", fields={"shop": str, "floor": int})
request = Request({"card": str, "shop": str | None, "amount": float, "floor": int | None})
card = Entity("card", ("card",))
shop = Entity("shop", ("shop",))
card_shop = Entity("card_shop", ("card", "shop"))
ALL = ("count", "sum", "mean", "min", "max", "last", "age")
spent = Window("spent", payment, ALL, (card, card_shop), ("7min", "1h", "24h"), payment.amount)
online = Window(
    "online",
    payment,
    ("count", "mean"),
    (card,),
    ("90min", "6h"),
    payment.amount,
    payment.online & (payment.amount > 5),
)
visits = Window("visits", visit, ("count", "age"), (shop,), ("1h",))
project = Project(
    name="shop",
    events=(payment, visit),
    request=request,
    features=(
        RequestFeature("amount", request.amount),
        RequestFeature("hour", hour(request["time"])),
        RequestFeature("shop", category(request.shop), categorical=True),
        spent,
        online,
        visits,
        DerivedFeature("ratio", column("amount") / column("spent_mean_card_1h")),
        DerivedFeature("double", column("ratio") * 2),
    ),
    label=Label(("card",), "1h"),
)

Row = dict[str, Any]


def payments(*rows: Row) -> dict[str, NDArray[Any]]:
    """Columns of payments; missing fields as the decoder leaves them."""
    return {
        "time": np.array([row["time"] for row in rows], dtype=np.int64),
        "card": np.array([row.get("card", "a") for row in rows], dtype=object),
        "shop": np.array([row.get("shop", "s") for row in rows], dtype=object),
        "amount": np.array([row.get("amount", np.nan) for row in rows], dtype=np.float64),
        "online": np.array([row.get("online", np.nan) for row in rows], dtype=np.float64),
    }


def visit_columns(*rows: Row) -> dict[str, NDArray[Any]]:
    """Columns of visits."""
    return {
        "time": np.array([row["time"] for row in rows], dtype=np.int64),
        "shop": np.array([row.get("shop", "s") for row in rows], dtype=object),
        "floor": np.array([row.get("floor", 1) for row in rows], dtype=np.float64),
    }


def requests(*rows: Row) -> dict[str, NDArray[Any]]:
    """Columns of requests."""
    return {
        "time": np.array([row["time"] for row in rows], dtype=np.int64),
        "card": np.array([row.get("card", "a") for row in rows], dtype=object),
        "shop": np.array([row.get("shop", "s") for row in rows], dtype=object),
        "amount": np.array([row.get("amount", 1.0) for row in rows], dtype=np.float64),
        "floor": np.array([row.get("floor", np.nan) for row in rows], dtype=np.float64),
    }
