"""Records become columns, columns become keys and values."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import shops
from hypothesis import given
from hypothesis import strategies as st

from features.columns import (
    as_column,
    distinct_keys,
    entity_keys,
    field_columns,
    joined_blobs,
    series_values,
)
from features.plan import EntityPlan, compile_plan
from tidemill import Entity, Event, Label, Project, Request, Window
from tidemill.fields import Field

PLAN = compile_plan(shops.project)
CARD, CARD_SHOP = PLAN.entities[0], PLAN.entities[1]


def numeric_plan(kind: Any) -> EntityPlan:
    """An entity keyed by one number."""
    event = Event("seen", key="number", fields={"number": kind})
    windows = (Window("seen", event, ("count",), (Entity("number", ("number",)),), ("1h",)),)
    request = Request({"number": kind, "card": str})
    return compile_plan(Project("p", (event,), request, windows, Label(("card",), "1h"))).entities[
        0
    ]


def test_fields_become_columns_of_their_type() -> None:
    """Numbers are float64 with NaN, strings are objects with None, time is int64."""
    record = msgspec.defstruct("R", [("time", int), ("name", str | None), ("x", float | None)])
    fields = (Field("name", str, True), Field("x", float, True))
    columns = field_columns(fields, [record(5, "a", 1.5), record(6, None, None)])
    assert ["a", None] == columns["name"].tolist()
    np.testing.assert_array_equal([1.5, np.nan], columns["x"])
    assert ([5, 6], np.int64) == (columns["time"].tolist(), columns["time"].dtype)


def test_no_records_make_empty_columns() -> None:
    """A batch without records has columns without rows."""
    columns = field_columns((Field("name", str, False), Field("x", int, False)), [])
    assert [0, 0, 0] == [len(column) for column in columns.values()]


def test_flags_become_zero_and_one() -> None:
    """Booleans are numbers, a missing one is NaN."""
    column = as_column(Field("flag", bool, True), [True, False, None])
    np.testing.assert_array_equal([1.0, 0.0, np.nan], column)


def test_a_key_is_missing_where_a_part_of_it_is() -> None:
    """A composite key with a missing part is None."""
    columns = shops.payments({"time": 1}, {"time": 1, "shop": None})
    assert ["a\x1fs", None] == entity_keys(CARD_SHOP, columns)
    assert ["a", "a"] == entity_keys(CARD, columns)


@pytest.mark.parametrize(
    ("keys", "found", "places"),
    [
        (["b", "a"], ["b", "a"], [0, 1]),
        (["b", "a", "b"], ["b", "a"], [0, 1, 0]),
        (["b", None, "a"], ["b", "a"], [0, -1, 1]),
        ([None, None], [], [-1, -1]),
        ([], [], []),
    ],
)
def test_every_row_finds_its_key_among_the_distinct_ones(
    keys: list[str | None], found: list[str], places: list[int]
) -> None:
    """In the order in which they come; a row without a key has none."""
    actual, own = distinct_keys(keys)
    assert (found, places, np.int64) == (actual, own.tolist(), own.dtype)


def test_blobs_are_joined_when_all_have_the_size() -> None:
    """A missing, an empty or a longer one means that each must be looked at."""
    assert b"abcd" == joined_blobs([b"ab", b"cd"], 2)
    others = ([b"ab", None], [b"ab", b""], [b"a", b"bcd"], [b"ab", b"c"])
    assert [None] * 4 == [joined_blobs(blobs, 2) for blobs in others]


def test_an_empty_string_is_a_key() -> None:
    """An empty value is a value, not a missing one."""
    assert [""] == entity_keys(CARD, shops.payments({"time": 1, "card": ""}))


@pytest.mark.parametrize("kind", [int, int | None, float | None])
def test_a_numeric_key_reads_as_a_whole_number(kind: Any) -> None:
    """Numbers are written without a fraction, a missing one is no key."""
    columns = {"number": np.array([7.0, 0.0, -3.0, 2.0**53, np.nan])}
    expected = ["7", "0", "-3", "9007199254740992", None]
    assert expected == entity_keys(numeric_plan(kind), columns)


texts = st.text(st.sampled_from("ab\x1f\x1b01"), max_size=4)


@given(st.lists(st.tuples(texts, texts), min_size=2, max_size=30))
def test_composite_keys_never_collide(pairs: list[tuple[str, str]]) -> None:
    """Different pairs have different keys, also when values contain the separator."""
    columns = shops.payments(*({"time": 1, "card": a, "shop": b} for a, b in pairs))
    keys = entity_keys(CARD_SHOP, columns)
    assert len(set(pairs)) == len(set(keys))


def test_a_series_takes_what_its_filter_lets_through() -> None:
    """Rows the filter refuses, or cannot judge, are NaN; the unfiltered series keeps them."""
    columns = shops.payments(
        {"time": 1, "amount": 9.0, "online": 1.0},
        {"time": 1, "amount": 9.0, "online": 0.0},
        {"time": 1, "amount": 9.0},
        {"time": 1, "amount": 4.0, "online": 1.0},
        {"time": 1, "online": 1.0},
    )
    values = series_values(CARD.groups[0], columns, 5)
    np.testing.assert_array_equal([9.0, 9.0, 9.0, 4.0, np.nan], values[:, 0])
    np.testing.assert_array_equal([9.0, np.nan, np.nan, np.nan, np.nan], values[:, 1])


def test_a_value_beyond_float32_is_missing() -> None:
    """One absurd amount must not make a window infinite for a day."""
    values = series_values(CARD.groups[0], shops.payments({"time": 1, "amount": 1e300}), 1)
    np.testing.assert_array_equal([np.nan, np.nan], values[0])
