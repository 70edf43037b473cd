"""The checks a declaration makes of itself: each raises DeclarationError with found and allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from tidemill.errors import DeclarationError
from tidemill.expressions import Columns, Expression

MOST_SHOWN = 100  # names in a message; of more, those most like what was found
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_name(where: str, name: object) -> None:
    """Refuse what is no plain name."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DeclarationError(where, name, "lower-case letters, digits and _, a letter first")


def check_kind(
    where: str, values: Iterable[object], kind: type | tuple[type, ...], allowed: str
) -> None:
    """Refuse values that are not of the kind, or of one of the kinds."""
    for value in values:
        if not isinstance(value, kind):
            raise DeclarationError(where, value, allowed)


def check_one_of(where: str, found: object, allowed: Iterable[str]) -> None:
    """Refuse what is not among the allowed names."""
    names = tuple(allowed)
    if found in names:
        return
    if len(names) > MOST_SHOWN:
        near = ", ".join(get_close_matches(str(found), names, n=5, cutoff=0))
        raise DeclarationError(where, found, f"one of {len(names)} names, such as {near}")
    raise DeclarationError(where, found, "one of " + ", ".join(names))


def check_unique(where: str, names: Sequence[str]) -> None:
    """Refuse a name that stands there twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise DeclarationError(where, name, "each name once")
        seen.add(name)


def check_range(where: str, found: float, low: float, high: float) -> None:
    """Refuse what is no number from `low` to `high`."""
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not number or not low <= found <= high:
        raise DeclarationError(where, found, f"a number from {low:g} to {high:g}")


def check_whole(where: str, found: float, low: int, high: int) -> None:
    """Refuse what is no whole number from `low` to `high`."""
    check_range(where, found, low, high)
    if not isinstance(found, int):
        raise DeclarationError(where, found, f"a whole number from {low} to {high}")


def check_number(where: str, expression: Expression, samples: Columns) -> None:
    """Try an expression on sample columns: what has no number must not wait for the first event."""
    try:
        rows = len(samples["time"])
        numeric = expression.evaluate(samples, rows).dtype != object
    except (TypeError, ValueError, AttributeError):
        numeric = False
    if not numeric:
        allowed = (
            "numbers; for a string: .equals(...), present(...), category(...) or fingerprint(...)"
        )
        raise DeclarationError(where, expression, allowed)
