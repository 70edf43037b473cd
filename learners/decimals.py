"""Reads decimal numbers from text straight into arrays, while other threads run their Python.

A model has a hundred thousand of them: as Python's own numbers they cost tens of milliseconds, in
which a process that is answering requests answers none.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache

import numba
import numpy as np
from numpy.typing import NDArray

_MINUS, _PLUS, _POINT, _SPACE, _ZERO, _NINE, _E = b"-+. 09e"
_MOST_DIGITS = 18  # such a number fits into 63 bits
_MOST_POWER = 290  # of ten: with so many digits nothing overflows, nor falls below what is normal
_BEYOND = 10_000  # any power that is too large
_HALVES = 2.0**27 + 1  # what parts a float64 into two halves, whose products are exact
_SLACK = 2.0**-96  # far more than a product of two pairs can be wrong by, as a part of it

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def read_decimals(text: bytes, spans: Places, counts: Places) -> Floats:
    """The numbers in some spans of a text, those of one span after those of the other.

    `spans` (n, 2) are where each begins and ends, `counts` (n,) how many numbers it is to have, a
    space between any two. Each becomes the float64 nearest to it, as it does by `float`. Raises
    ValueError for anything else.
    """
    room = np.clip(counts, 0, (spans[:, 1] - spans[:, 0] + 1) // 2)  # there cannot be more
    ends = np.cumsum(room)
    numbers = np.empty(int(room.sum()))
    read = _read(np.frombuffer(text, np.uint8), spans, ends, _powers(), numbers)
    for place in np.flatnonzero(~read | (room != counts)).tolist():
        first, last = spans[place].tolist()
        found = [_float(word) for word in text[first:last].split()]
        if len(found) != counts[place]:
            raise ValueError(f"found {len(found)} values; allowed: {counts[place]}")
        numbers[ends[place] - counts[place] : ends[place]] = found
    return numbers


def _float(word: bytes) -> float:
    """By Python itself: the few with more digits than any float64 needs, infinity, no number."""
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"found {word[:40]!r}; allowed: a number") from None


@cache
def _powers() -> Floats:
    """Powers of ten (2, powers): what float64 has of each, and what it leaves."""
    exact = [Fraction(10) ** power for power in range(-_MOST_POWER, _MOST_POWER + 1)]
    near = [float(power) for power in exact]
    rest = [float(power - Fraction(value)) for power, value in zip(exact, near, strict=True)]
    return np.array([near, rest])


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _read(
    text: NDArray[np.uint8], spans: Places, ends: Places, powers: Floats, numbers: Floats
) -> NDArray[np.bool_]:
    """Fill in the numbers of each span up to its end; which spans were read whole."""
    read = np.zeros(len(spans), np.bool_)
    for place in range(len(spans)):
        at, end = spans[place, 0], spans[place, 1]
        into = ends[place - 1] if place > 0 else 0
        while at >= 0 and into < ends[place]:
            numbers[into], at = _number(text, at, end, powers)
            into += 1
            if at >= 0 and into < ends[place]:
                at = at + 1 if at < end and text[at] == _SPACE else -1
        read[place] = at == end
    return read


@numba.njit(inline="always")
def _number(text: NDArray[np.uint8], at: int, end: int, powers: Floats) -> tuple[float, int]:
    """The number that begins there, and where it ends; -1 when it is left to `float`."""
    negative = at < end and text[at] == _MINUS
    if negative:
        at += 1
    digits, known, exponent, point, begun = 0, 0, 0, 0, at
    while at < end:
        code = text[at]
        if _ZERO <= code <= _NINE:
            digits = 10 * digits + (code - _ZERO)
            known += 1 if digits != 0 else 0
            exponent -= point
        elif code == _POINT and point == 0:
            point = 1
        else:
            break
        at += 1
    if at == begun + point or known > _MOST_DIGITS:
        return 0.0, -1
    if at < end and text[at] | 32 == _E:
        power, at = _power(text, at + 1, end)
        exponent += power
    if abs(exponent) > _MOST_POWER:
        return 0.0, -1
    value, sure = _scaled(
        digits, powers[0, exponent + _MOST_POWER], powers[1, exponent + _MOST_POWER]
    )
    return -value if negative else value, at if sure else -1


@numba.njit(inline="always")
def _power(text: NDArray[np.uint8], at: int, end: int) -> tuple[int, int]:
    """The power of ten after an `e`, and where it ends; -1 when there is none."""
    negative = at < end and text[at] == _MINUS
    if negative or (at < end and text[at] == _PLUS):
        at += 1
    power, begun = 0, at
    while at < end and _ZERO <= text[at] <= _NINE:
        power = min(10 * power + (text[at] - _ZERO), _BEYOND)
        at += 1
    return -power if negative else power, at if at > begun else -1


@numba.njit(inline="always")
def _scaled(digits: int, high: float, low: float) -> tuple[float, bool]:
    """The float64 nearest to `digits` times `high + low`, and whether it is that for sure.

    With numbers as sums of two float64 (T. J. Dekker, "A floating-point technique for extending the
    available precision", Numerische Mathematik 18, 1971) the product is good to a hundred bits. It
    is sure when a little more and a little less are rounded to the same.
    """
    first = float(digits)
    rest = float(digits - int(first))  # what the first cannot hold
    product = first * high
    left, right = _HALVES * first, _HALVES * high
    a, c = left - (left - first), right - (right - high)
    b, d = first - a, high - c
    wrong = ((a * c - product) + a * d + b * c) + b * d  # by so much exactly
    wrong += first * low + rest * high
    value = product + wrong
    beyond = wrong - (value - product)
    slack = _SLACK * value
    return value, value + (beyond - slack) == value and value + (beyond + slack) == value
