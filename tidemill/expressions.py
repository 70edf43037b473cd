"""Typed expressions over columns: written in a project file, evaluated on whole micro-batches.

`departure.delay > 15` builds a tree; `evaluate` computes it for all rows at once with NumPy.
Numbers are float64 with NaN for a missing value, strings are object arrays with None. A comparison
with a missing value is false, a missing flag counts as false, arithmetic with a missing value is
missing. In arithmetic a truth value counts as 0 or 1.
"""

from __future__ import annotations

import operator
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.errors import DeclarationError

Columns = Mapping[str, NDArray[Any]]
CATEGORY_BUCKETS = 4096
FINGERPRINTS = 2**24  # the whole numbers that float32 holds without a gap
_REAL = ("floor", "sqrt", "log", "exp")  # functions of numbers that may have no value
_DAY_MS, _HOUR_MS, _EPOCH_WEEKDAY = 86_400_000, 3_600_000, 3  # 1970-01-01 was a Thursday

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne, "**": operator.pow, "%": operator.mod,
    "minimum": np.minimum, "maximum": np.maximum,
    "&": lambda left, right: truth(left) & truth(right),
    "|": lambda left, right: truth(left) | truth(right),
}  # fmt: skip
_ARITHMETIC = ("+", "-", "*", "/", "**", "%", "minimum", "maximum")
_UNARY: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "not": lambda column: ~truth(column),
    "abs": np.abs,
    "floor": np.floor,
    "sqrt": np.sqrt,
    "log": np.log,
    "exp": np.exp,
    "hour": lambda ms: np.floor(ms % _DAY_MS / _HOUR_MS),
    "minute_of_day": lambda ms: np.floor(ms % _DAY_MS / 60_000),
    "day_of_week": lambda ms: (np.floor(ms / _DAY_MS) + _EPOCH_WEEKDAY) % 7,
    "present": lambda column: (
        np.array([value is not None for value in column], dtype=bool)
        if column.dtype == object
        else ~np.isnan(column)
    ),
    "category": lambda column: _hash_categories(column),
    "fingerprint": lambda column: _fingerprints(column),
}


def truth(column: NDArray[Any]) -> NDArray[np.bool_]:
    """A column as truth values; a missing number is false."""
    if column.dtype == object:
        raise TypeError("a string is not a truth value")
    known: NDArray[np.bool_] = (column != 0) & ~np.isnan(column)
    return known


def _number(column: NDArray[Any]) -> NDArray[Any]:
    # NumPy adds truth values with "or" and refuses to subtract them.
    return column.astype(np.float64) if column.dtype == np.bool_ else column


def _hash_categories(column: NDArray[Any]) -> NDArray[np.float64]:
    known = {value: category_code(value) for value in set(column.tolist())}
    return np.fromiter((known[v] for v in column.tolist()), np.float64, len(column))


def category_code(value: str | None) -> float:
    """The stable code of a category: CRC-32 modulo 4096, NaN for a missing one."""
    return float("nan") if value is None else float(zlib.crc32(value.encode()) % CATEGORY_BUCKETS)


def _fingerprints(column: NDArray[Any]) -> NDArray[np.float64]:
    if column.dtype == object:
        known = {
            value: float("nan") if value is None else float(zlib.crc32(value.encode()))
            for value in set(column.tolist())
        }
        codes = np.fromiter((known[v] for v in column.tolist()), np.float64, len(column))
        return codes % FINGERPRINTS
    numbers = column.astype(np.float64) + 0.0  # -0.0 is 0.0
    bits = numbers.view(np.uint64)
    # The finaliser of MurmurHash3: every bit of the number changes half of the result's.
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        bits = (bits ^ (bits >> np.uint64(33))) * np.uint64(factor)
    bits ^= bits >> np.uint64(33)
    return np.where(np.isnan(numbers), np.nan, (bits % np.uint64(FINGERPRINTS)).astype(np.float64))


class Expression(ABC):
    """A column, a constant or an operation on them; combine with the usual operators."""

    @abstractmethod
    def evaluate(self, columns: Columns, rows: int) -> NDArray[Any]:
        """Compute the value of every row. Raises KeyError for a column that is not there."""

    @abstractmethod
    def names(self) -> frozenset[str]:
        """The columns it reads."""

    def __add__(self, other: Operand) -> Expression:
        return Binary("+", self, wrap(other))

    def __radd__(self, other: Operand) -> Expression:
        return Binary("+", wrap(other), self)

    def __sub__(self, other: Operand) -> Expression:
        return Binary("-", self, wrap(other))

    def __rsub__(self, other: Operand) -> Expression:
        return Binary("-", wrap(other), self)

    def __mul__(self, other: Operand) -> Expression:
        return Binary("*", self, wrap(other))

    def __rmul__(self, other: Operand) -> Expression:
        return Binary("*", wrap(other), self)

    def __truediv__(self, other: Operand) -> Expression:
        return Binary("/", self, wrap(other))

    def __rtruediv__(self, other: Operand) -> Expression:
        return Binary("/", wrap(other), self)

    def __pow__(self, other: Operand) -> Expression:
        return Binary("**", self, wrap(other))

    def __rpow__(self, other: Operand) -> Expression:
        return Binary("**", wrap(other), self)

    def __mod__(self, other: Operand) -> Expression:
        return Binary("%", self, wrap(other))

    def __rmod__(self, other: Operand) -> Expression:
        return Binary("%", wrap(other), self)

    def __neg__(self) -> Expression:
        return Binary("-", wrap(0), self)

    def __gt__(self, other: Operand) -> Expression:
        return Binary(">", self, wrap(other))

    def __ge__(self, other: Operand) -> Expression:
        return Binary(">=", self, wrap(other))

    def __lt__(self, other: Operand) -> Expression:
        return Binary("<", self, wrap(other))

    def __le__(self, other: Operand) -> Expression:
        return Binary("<=", self, wrap(other))

    def __and__(self, other: Operand) -> Expression:
        return Binary("&", self, wrap(other))

    def __or__(self, other: Operand) -> Expression:
        return Binary("|", self, wrap(other))

    def __invert__(self) -> Expression:
        return Unary("not", self)

    def equals(self, other: Operand) -> Expression:
        """True where the value equals `other` (`==` compares the expressions themselves)."""
        return Binary("==", self, wrap(other))

    def __bool__(self) -> bool:
        raise DeclarationError(
            repr(self), "an expression used as a truth value", "combine with & | ~, not and or not"
        )


Operand = Expression | float | int | str | bool


@dataclass(frozen=True, slots=True)
class Column(Expression):
    """One named column."""

    name: str

    def evaluate(self, columns: Columns, rows: int) -> NDArray[Any]:
        """The column itself."""
        return columns[self.name]

    def names(self) -> frozenset[str]:
        """Its own name."""
        return frozenset((self.name,))


@dataclass(frozen=True, slots=True)
class Constant(Expression):
    """The same value in every row."""

    value: float | int | str | bool

    def evaluate(self, columns: Columns, rows: int) -> NDArray[Any]:
        """A column full of the value."""
        return np.full(rows, self.value, dtype=object if isinstance(self.value, str) else None)

    def names(self) -> frozenset[str]:
        """None."""
        return frozenset()


@dataclass(frozen=True, slots=True)
class Unary(Expression):
    """A function of one column."""

    operation: str
    operand: Expression

    def evaluate(self, columns: Columns, rows: int) -> NDArray[Any]:
        """Apply the function to all rows; where it has no finite value, it is missing."""
        operand = self.operand.evaluate(columns, rows)
        if self.operation not in _REAL:
            return _UNARY[self.operation](operand)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            result = _UNARY[self.operation](_number(operand))
        return np.where(np.isfinite(result), result, np.nan)

    def names(self) -> frozenset[str]:
        """Those of its operand."""
        return self.operand.names()


@dataclass(frozen=True, slots=True)
class Binary(Expression):
    """An operation on two columns."""

    operation: str
    left: Expression
    right: Expression

    def evaluate(self, columns: Columns, rows: int) -> NDArray[Any]:
        """Apply the operation to all rows; where it has no finite value, it is missing."""
        left, right = self.left.evaluate(columns, rows), self.right.evaluate(columns, rows)
        if self.operation in _ARITHMETIC:
            left, right = _number(left), _number(right)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            result: NDArray[Any] = _BINARY[self.operation](left, right)
        if self.operation in ("/", "**", "%"):
            return np.where(np.isfinite(result), result, np.nan)
        return result

    def names(self) -> frozenset[str]:
        """Those of both sides."""
        return self.left.names() | self.right.names()


@dataclass(frozen=True, slots=True)
class Choice(Expression):
    """One of two columns, row by row."""

    condition: Expression
    yes: Expression
    no: Expression

    def evaluate(self, columns: Columns, rows: int) -> NDArray[Any]:
        """`yes` where the condition is true, `no` elsewhere, also where it is missing."""
        chosen = truth(self.condition.evaluate(columns, rows))
        yes, no = (_number(each.evaluate(columns, rows)) for each in (self.yes, self.no))
        return np.where(chosen, yes, no)

    def names(self) -> frozenset[str]:
        """Those of all three."""
        return self.condition.names() | self.yes.names() | self.no.names()


def wrap(value: Operand) -> Expression:
    """An expression as it is, anything else as a constant."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, (bool, int, float, str)):
        return Constant(value)
    raise DeclarationError("expression", value, "an expression, a number, a string or a boolean")


def column(name: str) -> Expression:
    """The column called `name`: an event's field, a request's field or a feature."""
    return Column(name)


def present(of: Operand) -> Expression:
    """True where there is a value."""
    return Unary("present", wrap(of))


def category(of: Operand) -> Expression:
    """A stable number from 0 to 4095 for each string (CRC-32 modulo 4096)."""
    return Unary("category", wrap(of))


def fingerprint(of: Operand) -> Expression:
    """A stable whole number below 2^24 for each string or number, to count distinct ones by.

    For strings the low 24 bits of CRC-32, for numbers of a hash of the float64. Float32 holds all
    of them exactly. Two different values agree by chance once in 16.8 million: of n values about
    n^2 / 2^25 are lost (0.03 of 1 000, 3 of 10 000, 300 of 100 000).
    """
    return Unary("fingerprint", wrap(of))


def hour(of: Operand) -> Expression:
    """The hour (0 to 23, UTC) of a time in milliseconds."""
    return Unary("hour", wrap(of))


def minute_of_day(of: Operand) -> Expression:
    """The minute of the day (0 to 1439, UTC) of a time in milliseconds."""
    return Unary("minute_of_day", wrap(of))


def day_of_week(of: Operand) -> Expression:
    """The weekday (0 Monday to 6 Sunday, UTC) of a time in milliseconds."""
    return Unary("day_of_week", wrap(of))


def if_else(condition: Operand, yes: Operand, no: Operand) -> Expression:
    """`yes` where the condition is true, `no` elsewhere."""
    return Choice(wrap(condition), wrap(yes), wrap(no))


def minimum(left: Operand, right: Operand) -> Expression:
    """The smaller of two values; missing where one is."""
    return Binary("minimum", wrap(left), wrap(right))


def maximum(left: Operand, right: Operand) -> Expression:
    """The larger of two values; missing where one is."""
    return Binary("maximum", wrap(left), wrap(right))


def floor(of: Operand) -> Expression:
    """The largest whole number that is not larger."""
    return Unary("floor", wrap(of))


def sqrt(of: Operand) -> Expression:
    """The square root; missing below zero."""
    return Unary("sqrt", wrap(of))


def log(of: Operand) -> Expression:
    """The natural logarithm; missing at zero and below."""
    return Unary("log", wrap(of))


def exp(of: Operand) -> Expression:
    """e to the power of the value; missing where that is not finite."""
    return Unary("exp", wrap(of))


def absolute(of: Operand) -> Expression:
    """The value without its sign."""
    return Unary("abs", wrap(of))
