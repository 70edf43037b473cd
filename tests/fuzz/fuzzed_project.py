"""The declaration whose events, labels and requests are fuzzed: fields of every type."""

from __future__ import annotations

from typing import Any

import tidemill as tm
from tidemill.clock import FakeClock

NOW_MS, SKEW_MS = 1_700_000_000_000, 60_000
LATEST_MS = NOW_MS + SKEW_MS
CLOCK = FakeClock(NOW_MS)

FIELDS: dict[str, Any] = {
    "card": str, "shop": str | None, "amount": float, "count": int, "sure": bool,
    "tip": float | None,
}  # fmt: skip
paid = tm.Event("paid", key="card", fields=FIELDS)
moved = tm.Event("moved", key="shop", fields={"shop": str, "floor": int | None})
request = tm.Request(FIELDS)
PROJECT = tm.Project(
    name="fuzzed",
    events=(paid, moved),
    request=request,
    features=(
        tm.Window(
            "paid", paid, ("count", "sum"), (tm.Entity("card", ("card",)),), ("1h",),
            of=paid.amount,
        ),
        tm.RequestFeature("amount", request.amount),
    ),
    label=tm.Label(key=("card", "count"), wait="1d"),
)  # fmt: skip

EVENTS = [
    b'{"event":"paid","time":1699999999000,"id":"e1","card":"c1","shop":null,"amount":12.5,'
    b'"count":3,"sure":true}',
    b'{"event":"moved","time":"2023-11-14T22:13:19.5+01:00","shop":"s\\u00e91","floor":-2}',
    b'{"card":"\xc3\xa9\xf0\x9f\x92\xb3","amount":-1e300,"count":9007199254740992,"sure":false,'
    b'"tip":0.1,"time":1,"event":"paid"}',
]
REQUESTS = [
    b'{"card":"c1","amount":12.5,"count":3,"sure":true,"time":1699999999000}',
    b'{"card":"c|1","shop":"s1","amount":0,"count":-1,"sure":false,"tip":null}',
    b'{"card":"","amount":1e-320,"count":0,"sure":true,"time":"2023-11-14T22:13:19Z"}',
]
LABELS = [
    b'{"key":"c1|3","value":1,"time":1699999999000}',
    b'{"key":"\\ud83d\\udcb3","value":0.0,"time":1699999999000,"producer":"desk"}',
]
