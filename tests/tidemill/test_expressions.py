"""Expressions compute what NumPy computes, row by row, and have a rule for what is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.errors import DeclarationError
from tidemill.expressions import (
    Constant,
    Expression,
    absolute,
    category,
    category_code,
    column,
    day_of_week,
    exp,
    fingerprint,
    floor,
    hour,
    if_else,
    log,
    maximum,
    minimum,
    minute_of_day,
    present,
    sqrt,
    wrap,
)

NAN = float("nan")
FINGERPRINT_OF_JFK, FINGERPRINT_OF_1E12 = 6_398_367.0, 14_036_294.0
x, y, name, flag = column("x"), column("y"), column("name"), column("flag")


def values(expression: Expression, **columns: list[Any]) -> list[Any]:
    """The expression's value in every row."""
    arrays = {
        key: np.array(rows, dtype=object if any(isinstance(r, str) for r in rows) else np.float64)
        for key, rows in columns.items()
    }
    rows = len(next(iter(columns.values()))) if columns else 1
    return expression.evaluate(arrays, rows).tolist()


numbers = st.lists(st.tuples(*[st.floats(-1e6, 1e6) | st.just(NAN)] * 2), min_size=1, max_size=20)
OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "greater": lambda a, b: a > b,
    "greater or equal": lambda a, b: a >= b,
    "less": lambda a, b: a < b,
    "less or equal": lambda a, b: a <= b,
    "constant left": lambda a, b: 2 - a * 3 + (1 + b) - 2 * a,
    "negative": lambda a, b: -a,
}


@pytest.mark.parametrize("operation", OPERATIONS)
@given(rows=numbers)
@settings(max_examples=25, deadline=None)
def test_an_operation_is_that_of_numpy(operation: str, rows: list[tuple[float, float]]) -> None:
    """An operator on expressions equals the operator on arrays, missing values included."""
    left, right = np.array(rows).T
    compute = OPERATIONS[operation]
    actual = compute(x, y).evaluate({"x": left, "y": right}, len(rows))
    np.testing.assert_array_equal(compute(left, right), actual)


def test_division_by_zero_is_missing() -> None:
    """A quotient that is no finite number is missing."""
    actual = values(x / y, x=[1.0, 0.0, 6.0, NAN], y=[0.0, 0.0, 3.0, 1.0])
    np.testing.assert_array_equal([NAN, NAN, 2.0, NAN], actual)


def test_a_constant_may_be_divided_by_a_column() -> None:
    """A number on the left of a column divides by it."""
    assert [0.5] == values(1 / x, x=[2.0])


def test_truth_values_count_as_numbers_in_arithmetic() -> None:
    """Comparisons add and subtract as 0 and 1, not as `or`."""
    assert [2.0, 1.0] == values((x > 1) + (x > 2), x=[3.0, 2.0])
    assert [0.0, 1.0] == values((x > 1) - (x > 2), x=[3.0, 2.0])


def test_a_comparison_with_a_missing_value_is_false_in_both_directions() -> None:
    """Neither > nor <= holds for a missing number; the negation of both does."""
    assert [False, False, True] == [
        values(expression, x=[NAN])[0] for expression in (x > 1, x <= 1, ~(x > 1))
    ]


def test_a_missing_flag_counts_as_false() -> None:
    """A flag that is missing is false alone, in `&`, in `|`, and true when negated."""
    rows = {"flag": [1.0, 0.0, NAN], "x": [1.0, 1.0, 1.0]}
    assert [True, False, False] == values(flag & (x > 0), **rows)
    assert [True, False, False] == values(flag | (x > 5), **rows)
    assert [False, True, True] == values(~flag, **rows)


def test_strings_are_compared_with_equals() -> None:
    """`equals` compares strings and is false for a missing one."""
    assert [True, False, False] == values(name.equals("a"), name=["a", "b", None])


def test_two_string_columns_are_compared_row_by_row() -> None:
    """`equals` takes another column too."""
    actual = values(name.equals(column("other")), name=["a", "b"], other=["a", "c"])
    assert [True, False] == actual


def test_present_tells_missing_strings_and_numbers() -> None:
    """`present` is false for None among strings and NaN among numbers."""
    assert [True, False] == values(present(name), name=["a", None])
    assert [True, False] == values(present(x), x=[0.0, NAN])


def test_a_category_is_a_stable_number() -> None:
    """The code of a string never changes between processes; a missing string has none."""
    actual = values(category(name), name=["JFK", "LGA", None, "JFK"])
    np.testing.assert_array_equal([415.0, 1394.0, NAN, 415.0], actual)


def test_category_code_agrees_with_the_expression() -> None:
    """The code of one value equals the expression's for that value."""
    assert [category_code("JFK")] == values(category(name), name=["JFK"])


def test_a_fingerprint_is_a_stable_number() -> None:
    """The fingerprint of a string or number never changes; a missing one has none."""
    found = values(fingerprint(name), name=["JFK", None, "JFK"])
    np.testing.assert_array_equal([FINGERPRINT_OF_JFK, NAN, FINGERPRINT_OF_JFK], found)
    found = values(fingerprint(x), x=[0.0, -0.0, NAN, 1e12])
    np.testing.assert_array_equal([0.0, 0.0, NAN, FINGERPRINT_OF_1E12], found)


@pytest.mark.parametrize("numeric", [True, False])
def test_fingerprints_collide_as_seldom_as_chance_has_it(numeric: bool) -> None:
    """Of 20 000 neighbouring ids some n^2 / 2^25 share a fingerprint, and float32 keeps them."""
    ids = np.arange(20_000) + 1e10
    column_of = ids if numeric else np.array([f"N{i:.0f}" for i in ids], dtype=object)
    found = fingerprint(x).evaluate({"x": column_of}, len(ids))
    assert np.array_equal(found, found.astype(np.float32))
    assert 0 <= found.min() and found.max() < 2**24
    assert len(ids) - len(np.unique(found)) <= 30  # 12 expected


def test_parts_of_a_time_are_those_of_utc() -> None:
    """Hour, minute of the day and weekday of 2013-05-01T06:30Z, a Wednesday, and of a Thursday."""
    rows = {"x": [1_367_389_800_000.0, 0.0]}
    assert [[6.0, 0.0], [390.0, 0.0], [2.0, 3.0]] == [
        values(part(x), **rows) for part in (hour, minute_of_day, day_of_week)
    ]


def test_absolute_drops_the_sign() -> None:
    """The absolute value of a negative number is positive, of a missing one missing."""
    np.testing.assert_array_equal([2.0, NAN], values(absolute(x), x=[-2.0, NAN]))


TRUTH_VALUES: dict[str, Callable[[Expression], object]] = {
    "bool": bool,
    "and": lambda e: e and e,
    "not": lambda e: not e,
    "chain": lambda e: 0 < e < 5,
    "if": lambda e: 1 if e else 0,
}


@pytest.mark.parametrize("use", TRUTH_VALUES.values(), ids=TRUTH_VALUES)
def test_a_truth_value_of_an_expression_is_refused(use: Callable[[Expression], object]) -> None:
    """`and`, `or`, `not`, chained comparisons and `if` on an expression say what to write."""
    with pytest.raises(DeclarationError) as caught:
        use(x > 1)
    assert "combine with & | ~, not and or not" == caught.value.allowed


def test_a_constant_may_stand_on_either_side() -> None:
    """A power and a remainder take a number before the column too."""
    columns = {"x": np.array([1.0, 3.0])}
    assert [2.0, 8.0] == (2**x).evaluate(columns, 2).tolist()
    assert [0.0, 1.0] == (7 % x).evaluate(columns, 2).tolist()


def test_a_function_takes_a_constant_too_and_refuses_the_rest() -> None:
    """What is no expression is found where it is written."""
    assert [2.0, 2.0] == sqrt(4).evaluate({}, 2).tolist()
    with pytest.raises(DeclarationError, match="expression: found None; allowed: an expression"):
        log(None)


def test_a_constant_fills_every_row() -> None:
    """Constants are columns of their value, also strings."""
    assert [3, 3] == Constant(3).evaluate({}, 2).tolist()
    assert ["a", "a"] == Constant("a").evaluate({}, 2).tolist()


def test_names_are_the_columns_it_reads() -> None:
    """An expression knows every column below it, each once."""
    assert {"x", "y", "name"} == (((x + y) / x > 2) & name.equals("a") & present(x)).names()


def test_what_is_no_expression_is_refused() -> None:
    """Only expressions, numbers, strings and booleans can be operands."""
    with pytest.raises(DeclarationError):
        wrap([1, 2])  # type: ignore[arg-type]


def test_a_column_that_is_not_there_is_a_key_error() -> None:
    """Evaluating without the column raises KeyError."""
    with pytest.raises(KeyError):
        values(x + 1, y=[1.0])


REAL = {
    "floor": (floor(x), [-2.5, 2.5, NAN], [-3.0, 2.0, NAN]),
    "square root": (sqrt(x), [4.0, -1.0, NAN], [2.0, NAN, NAN]),
    "logarithm": (log(x), [1.0, 0.0, -1.0], [0.0, NAN, NAN]),
    "exponential": (exp(x), [0.0, 1000.0, NAN], [1.0, NAN, NAN]),
    "power": (x**2, [3.0, 1e200, NAN], [9.0, NAN, NAN]),
    "remainder": (x % 7, [-1.0, 15.0, NAN], [6.0, 1.0, NAN]),
    "remainder of nothing": (x % 0, [5.0], [NAN]),
    "smaller": (minimum(x, 2), [1.0, 3.0, NAN], [1.0, 2.0, NAN]),
    "larger": (maximum(2, x), [1.0, 3.0, NAN], [2.0, 3.0, NAN]),
    "of a truth value": (sqrt(x > 1), [1.0, 3.0, NAN], [0.0, 1.0, 0.0]),
}


@pytest.mark.parametrize("case", REAL)
def test_a_function_without_a_finite_value_is_missing(case: str) -> None:
    """Functions of numbers give numbers, or nothing."""
    expression, inputs, expected = REAL[case]
    np.testing.assert_array_equal(expected, values(expression, x=inputs))


def test_a_choice_takes_one_of_two_values_row_by_row() -> None:
    """A missing condition counts as false; both sides may be numbers, columns or comparisons."""
    chosen = if_else(x > 1, y, -1)
    np.testing.assert_array_equal(
        [-1.0, 5.0, -1.0], values(chosen, x=[1.0, 2.0, NAN], y=[4.0, 5.0, 6.0])
    )
    assert {"x", "y"} == chosen.names()
    assert [1.0] == values(if_else(x > 1, x > 2, 0), x=[3.0])
