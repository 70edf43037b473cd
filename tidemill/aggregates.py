"""What a window can compute from its events: the names of the aggregates and what each needs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tidemill.errors import DeclarationError

PLAIN = (
    "count", "sum", "mean", "min", "max", "variance", "std", "first", "last", "age", "ratio",
    "decayed_count", "decayed_sum", "decayed_mean", "distinct",
)  # fmt: skip
DECAYED = ("decayed_count", "decayed_sum", "decayed_mean")
WITHOUT_VALUE = ("count", "age", "decayed_count")
MOST_LAST, MOST_TOP = 100, 20
ALLOWED = f"{', '.join(PLAIN)}, last_1 to last_{MOST_LAST}, p1 to p99 or top_1 to top_{MOST_TOP}"
_NUMBERED = re.compile(r"(last_|top_|p)([1-9]\d{0,2})")
_MOST = {"last_": MOST_LAST, "top_": MOST_TOP, "p": 99}
_KINDS = {"last_": "last", "top_": "top", "p": "quantile"}


@dataclass(frozen=True, slots=True)
class Aggregate:
    """One aggregate as declared: its kind, and the number in `last_3`, `top_5` or `p99` (else 0).

    `outputs` are the names of the features it makes: one, or K for `last_K` and `top_K`.
    """

    kind: str
    number: int
    outputs: tuple[str, ...]


def parse_aggregate(where: str, text: object) -> Aggregate:
    """The aggregate a declaration names; raises DeclarationError saying what is allowed.

    >>> parse_aggregate("", "last_2").outputs
    ('last_1', 'last_2')
    """
    if isinstance(text, str) and text in PLAIN:
        return Aggregate(text, 1 if text == "last" else 0, (text,))
    found = _NUMBERED.fullmatch(text) if isinstance(text, str) else None
    if found is None or int(found[2]) > _MOST[found[1]]:
        raise DeclarationError(where, text, ALLOWED)
    number, kind = int(found[2]), _KINDS[found[1]]
    if kind == "quantile":
        return Aggregate(kind, number, (str(text),))
    return Aggregate(kind, number, tuple(f"{kind}_{place}" for place in range(1, number + 1)))
