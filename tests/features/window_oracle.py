"""What every feature should be, from the raw events alone: the definition, without tiles or rings.

It holds for requests at or after the newest event. Written from the definitions of the aggregates,
not from the kernel: a window W at a moment t covers the events whose step, counted from 1970, lies
between the steps of t - W and of t.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill import Entity, Event, Label, LabelRate, Project, Request, Window, minute_of_day

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
UNITS = {"s": 1000, "min": MINUTE, "h": HOUR, "d": DAY}
NAN = math.nan


@dataclass(frozen=True)
class Row:
    """One event: a payment, a visit (of a card at a shop), or a label that became known."""

    time: int
    kind: str = "payment"
    card: str | None = "a"
    shop: str | None = "s"
    amount: float = 1.0
    units: float = 1.0
    online: float = 1.0
    value: float = 0.0


Number = Callable[[Row], float]
payment = Event(
    "payment", "card",
    {"card": str, "shop": str | None, "amount": float | None, "units": float | None,
     "online": bool | None},
)  # fmt: skip
visit = Event("visit", "shop", {"card": str | None, "shop": str, "units": float})
request = Request({"card": str, "shop": str | None})
card, shop = Entity("card", ("card",)), Entity("shop", ("shop",))
card_shop = Entity("card_shop", ("card", "shop"))

TILED = ("count", "sum", "mean", "min", "max", "variance", "std", "first")
SKETCHED = ("distinct", "p1", "p50", "p99", "top_2")
AGGREGATES = (*TILED, "last", "last_3", "age", *SKETCHED)
LENGTHS = ("1min", "90s", "59min", "1h", "6h", "719min", "12h", "24h", "287h", "12d", "90d")
DECAYED = ("decayed_count", "decayed_sum", "decayed_mean")
INEXACT = ("variance", "std", *DECAYED)

# What a window takes from an event, beside its declaration: of, per, where.
TAKES: dict[str, tuple[Number, Number, Callable[[Row], bool]]] = {}


def taking(
    window: Window,
    of: Number,
    where: Callable[[Row], bool] = lambda row: True,
    per: Number = lambda row: NAN,
) -> Window:
    """The window, its expressions noted once more as plain functions."""
    TAKES[window.name] = (of, per, where)
    return window


def windows(*, forever: bool) -> tuple[Window, ...]:
    """Every aggregate over every length, plain and behind a filter; `forever`: lifetimes too."""
    lengths = (*LENGTHS, "lifetime") if forever else LENGTHS
    some = ("7min", "24h", "90d", *lengths[11:])
    found = [
        taking(
            Window("plain", payment, AGGREGATES, (card, card_shop), lengths, payment.amount),
            lambda row: row.amount,
        ),
        taking(
            Window("where", payment, (*AGGREGATES, "ratio"), (card, shop), some,
                   payment.amount * payment.units, payment.online & (payment.amount > 2),
                   payment.units),
            lambda row: row.amount * row.units,
            lambda row: row.online == 1 and row.amount > 2,
            lambda row: row.units,
        ),
        taking(
            Window("ratio", payment, ("ratio",), (card,), some, payment.amount, None,
                   payment.units),
            lambda row: row.amount,
            per=lambda row: row.units,
        ),
        taking(
            Window("events", visit, ("count", "age"), (card, shop, card_shop), some),
            lambda row: 1.0,
        ),
        taking(
            Window("minutes", visit, ("max", "last_2"), (shop,), ("1h",),
                   minute_of_day(visit["time"])),
            lambda row: row.time % DAY // MINUTE,
        ),
    ]  # fmt: skip
    if forever:
        found.append(
            taking(
                Window("fading", payment, DECAYED, (card, card_shop), ("1min", "6h", "90d"),
                       payment.amount, payment.units > 1),
                lambda row: row.amount,
                lambda row: row.units > 1,
            )
        )  # fmt: skip
    return tuple(found)


RATE = LabelRate("rate", (card, card_shop), ("1h", "90d", "lifetime"), prior=0.25, weight=4.0)
FOREVER = Project("forever", (payment, visit), request, (*windows(forever=True), RATE),
                  Label(("card",), "1h"))  # fmt: skip
PASSING = Project("passing", (payment, visit), request, windows(forever=False),
                  Label(("card",), "1h"))  # fmt: skip


def one_length(over: str) -> Project:
    """A project whose rings serve one window each; only what is read from tiles."""
    window = taking(
        Window(f"only_{over}", payment, (*TILED, *SKETCHED), (card,), (over,), payment.amount),
        lambda row: row.amount,
    )
    return Project("one", (payment,), request, (window,), Label(("card",), "1h"))


def _idle() -> Project:
    passing_card = Entity("card", ("card",), expires="2d")
    found = (
        taking(
            Window("total", payment, (*TILED, *SKETCHED, "last"), (passing_card,),
                   ("1h", "lifetime"), payment.amount),
            lambda row: row.amount,
        ),
        taking(
            Window("seen", visit, ("count", "age"), (passing_card,), ("24h", "lifetime")),
            lambda row: 1.0,
        ),
    )  # fmt: skip
    return Project("idle", (payment, visit), request, found, Label(("card",), "1h"))


IDLE = _idle()
PAIRS = Project(
    "pairs", (payment,), request,
    (Window("pairs", payment, ("count",), (card, card_shop), ("1h",)),), Label(("card",), "1h"),
)  # fmt: skip


def length_of(over: str) -> int:
    """A window's length in ms."""
    digits = "".join(filter(str.isdigit, over))
    return int(digits) * UNITS[over.removeprefix(digits)]


def step_of(length: int) -> int:
    """The grain of a window's tail: 1 min below 1 h, 5 min below 12 h, 1 h below 12 d, else 1 d."""
    if length < HOUR:
        return MINUTE
    if length < 12 * HOUR:
        return 5 * MINUTE
    return HOUR if length < 12 * DAY else DAY


def covered(rows: Sequence[Row], over: str, at_ms: int) -> list[Row]:
    """The rows a window covers, oldest first, of one moment in the order they came."""
    if over != "lifetime":
        length = length_of(over)
        step = step_of(length)
        low, high = (at_ms - length) // step, at_ms // step
        rows = [row for row in rows if low <= row.time // step <= high]
    return sorted(rows, key=lambda row: row.time)


def newest_first(rows: Sequence[Row], over: str, at_ms: int) -> list[Row]:
    """The rows of exactly the last `over`, newest first, of one moment the latest to come first."""
    length = math.inf if over == "lifetime" else length_of(over)
    recent = [row for row in rows if at_ms - row.time <= length]
    return sorted(reversed(recent), key=lambda row: -row.time)


def tiled(aggregate: str, values: Sequence[float]) -> float:
    """A plain aggregate of values, oldest first."""
    if aggregate in ("count", "sum"):
        return math.fsum(values) if aggregate == "sum" else len(values)
    if not values:
        return NAN
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return {
        "mean": mean, "min": min(values), "max": max(values), "first": values[0],
        "variance": variance, "std": math.sqrt(variance),
    }[aggregate]  # fmt: skip


def sketched(aggregate: str, values: Sequence[float]) -> list[float]:
    """What a sketch of few values says: the exact answer."""
    if aggregate == "distinct":
        return [len(set(values))]
    if aggregate.startswith("p"):
        if not values:
            return [NAN]
        # The smallest value that at least this share of the values does not exceed.
        place = max(1, -(-len(values) * int(aggregate[1:]) // 100))
        return [sorted(values)[place - 1]]
    counts = Counter(values)
    ordered = sorted(counts, key=lambda value: (-counts[value], value))
    return padded(ordered, int(aggregate.removeprefix("top_")))


def padded(values: Sequence[float], many: int) -> list[float]:
    """The first of some values, missing ones where there are less."""
    return [*values[:many], *[NAN] * (many - len(values))]


def decayed(aggregate: str, rows: Sequence[Row], of: Number, over: str, at_ms: int) -> float:
    """Every event counts 2^(-age / half-life); the mean does not depend on the moment."""
    half_life = length_of(over)
    newest = max((row.time for row in rows), default=0)
    weights = [2.0 ** ((row.time - newest) / half_life) for row in rows]
    total = math.fsum(w * of(row) for w, row in zip(weights, rows, strict=True))
    count, share = math.fsum(weights), 2.0 ** ((newest - at_ms) / half_life)
    if aggregate == "decayed_mean":
        return total / count if rows else NAN
    return share * (count if aggregate == "decayed_count" else total)


def answer(
    window: Window, aggregate: str, rows: Sequence[Row], over: str, at_ms: int
) -> list[float]:
    """One aggregate of one window over the raw events of one entity."""
    of, per, where = TAKES[window.name]
    rows = [row for row in rows if where(row)]
    paid = [row for row in rows if not math.isnan(of(row))]
    if aggregate == "ratio":
        divided = [per(row) for row in covered(rows, over, at_ms) if not math.isnan(per(row))]
        divisor = math.fsum(divided)
        total = math.fsum(of(row) for row in covered(paid, over, at_ms))
        return [total / divisor if divisor else NAN]
    if aggregate in DECAYED:
        return [decayed(aggregate, paid, of, over, at_ms)]
    newest = newest_first(paid, over, at_ms)
    if aggregate == "age":
        return padded([(at_ms - row.time) / 1000 for row in newest], 1)
    if aggregate.startswith("last"):
        return padded([of(row) for row in newest], int((aggregate + "_1").split("_")[1]))
    values = [of(row) for row in covered(paid, over, at_ms)]
    return [tiled(aggregate, values)] if aggregate in TILED else sketched(aggregate, values)


def rate(rows: Sequence[Row], over: str, at_ms: int) -> float:
    """The smoothed label rate of one entity."""
    values = [row.value for row in covered(rows, over, at_ms)]
    return (sum(values) + RATE.weight * RATE.prior) / (len(values) + RATE.weight)


def names_of(window: Window, aggregate: str, entity: Entity, over: str) -> list[str]:
    """The names of the features of one aggregate."""
    kind, _, many = aggregate.partition("_")
    outputs = [aggregate]
    if kind in ("last", "top") and many:
        outputs = [f"{kind}_{place}" for place in range(1, int(many) + 1)]
    return [f"{window.name}_{output}_{entity.name}_{over}" for output in outputs]


def key_of(entity: Entity, thing: Any) -> tuple[str, ...] | None:
    """What an event or request says of an entity, None where a part is missing."""
    parts = tuple(getattr(thing, name) for name in entity.keys)
    return None if None in parts else parts


def expected(project: Project, rows: Sequence[Row], asked: Row) -> dict[str, float]:
    """Every feature of a request (a row with card, shop and time), by name."""
    found: dict[str, float] = {}
    for window in project.features:
        for entity in window.by:
            key = key_of(entity, asked)
            kind = "label" if isinstance(window, LabelRate) else window.event.name
            own = [r for r in rows if r.kind == kind and key is not None
                   and key_of(entity, r) == key]  # fmt: skip
            for over in window.over:
                if isinstance(window, LabelRate):
                    name = f"{window.name}_{entity.name}_{over}"
                    found[name] = rate(own, over, asked.time)
                    continue
                for aggregate in window.aggregate:
                    values = answer(window, aggregate, own, over, asked.time)
                    names = names_of(window, aggregate, entity, over)
                    found.update(zip(names, values, strict=True))
    return found


def columns_of(rows: Sequence[Row]) -> dict[str, NDArray[Any]]:
    """Events or requests as columns; all fields, also those a kind does not have."""
    columns: dict[str, NDArray[Any]] = {
        "time": np.array([row.time for row in rows], dtype=np.int64)
    }
    for name in ("card", "shop"):
        columns[name] = np.array([getattr(row, name) for row in rows], dtype=object)
    for name in ("amount", "units", "online", "value"):
        columns[name] = np.array([getattr(row, name) for row in rows], dtype=np.float64)
    return columns


def mismatches(
    names: Sequence[str], expected_features: Mapping[str, float], actual: NDArray[np.float32]
) -> dict[str, tuple[float, float]]:
    """Features that are not as they should be: what was expected, what is."""
    wrong = {}
    for name, value in zip(names, actual.tolist(), strict=True):
        should = float(np.float32(expected_features[name]))
        close = name.split("_", 1)[1].startswith(INEXACT)
        allowed = 2e-6 * max(abs(should), 1.0) if close else 0.0
        same = math.isnan(should) == math.isnan(value)
        if not same or (not math.isnan(should) and abs(should - value) > allowed):
            wrong[name] = (should, value)
    return wrong
