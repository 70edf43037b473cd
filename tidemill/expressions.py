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
_DAY_MS, _HOUR_MS, _EPOCH_WEEKDAY = 86_400_000, 3_600_000, 3  # 1970-01-01 was a Thursday

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv,
    ">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le,
    "==": operator.eq, "!=": operator.ne,
    "&": lambda left, right: truth(left) & truth(right),
    "|": lambda left, right: truth(left) | truth(right),
}  # fmt: skip
_ARITHMETIC = ("+", "-", "*", "/")
_UNARY: dict[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "not": lambda column: ~truth(column),
    "abs": np.abs,
    "hour": lambda ms: np.floor(ms % _DAY_MS / _HOUR_MS),
    "minute_of_day": lambda ms: np.floor(ms % _DAY_MS / 60_000),
    "day_of_week": lambda ms: (np.floor(ms / _DAY_MS) + _EPOCH_WEEKDAY) % 7,
    "present": lambda column: (
        np.array([value is not None for value in column], dtype=bool)
        if column.dtype == object
        else ~np.isnan(column)
    ),
    "category": lambda column: _hash_categories(column),
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
        """Apply the function to all rows."""
        return _UNARY[self.operation](self.operand.evaluate(columns, rows))

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
        """Apply the operation to all rows; dividing by zero is missing."""
        left, right = self.left.evaluate(columns, rows), self.right.evaluate(columns, rows)
        if self.operation in _ARITHMETIC:
            left, right = _number(left), _number(right)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            result: NDArray[Any] = _BINARY[self.operation](left, right)
        if self.operation == "/":
            return np.where(np.isfinite(result), result, np.nan)
        return result

    def names(self) -> frozenset[str]:
        """Those of both sides."""
        return self.left.names() | self.right.names()


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


def present(of: Expression) -> Expression:
    """True where there is a value."""
    return Unary("present", of)


def category(of: Expression) -> Expression:
    """A stable number from 0 to 4095 for each string (CRC-32 modulo 4096)."""
    return Unary("category", of)


def hour(of: Expression) -> Expression:
    """The hour (0 to 23, UTC) of a time in milliseconds."""
    return Unary("hour", of)


def minute_of_day(of: Expression) -> Expression:
    """The minute of the day (0 to 1439, UTC) of a time in milliseconds."""
    return Unary("minute_of_day", of)


def day_of_week(of: Expression) -> Expression:
    """The weekday (0 Monday to 6 Sunday, UTC) of a time in milliseconds."""
    return Unary("day_of_week", of)


def absolute(of: Expression) -> Expression:
    """The value without its sign."""
    return Unary("abs", of)
