"""Parquet files of static rows: every type that fits, every mistake named with column and row."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import static_world as world

from features.static import file as static_file
from features.static.file import StaticFile
from tidemill import Entity, Request, StaticRow
from tidemill.errors import InputError

NAN = float("nan")
EMBEDDING = [[1.0, 2.0, 3.0]]


def opened(folder: Path, **columns: Any) -> StaticFile:
    """A file of profiles with one row, some of its columns replaced (None: left out)."""
    good = {
        "user": pa.array(["a"]),
        "age": pa.array([1.0]),
        "embedding": pa.array(EMBEDDING),
    }
    arrays = {name: array for name, array in (good | columns).items() if array is not None}
    path = world.saved(folder, pa.table(arrays))
    return StaticFile(path, world.profile, world.request)


def rows_of(file: StaticFile) -> tuple[list[str], list[list[float]]]:
    """All keys and values."""
    batches = list(file.batches())
    values = np.concatenate([batch.values for batch in batches])
    return [key for batch in batches for key in batch.keys], values.tolist()


@pytest.mark.parametrize(
    "age",
    [
        pa.array([7], pa.int8()),
        pa.array([7], pa.uint64()),
        pa.array([7.0], pa.float16()),
        pa.array([7.0], pa.float64()),
        pa.array([Decimal("7.00")]),
        pa.chunked_array([pa.array([7], pa.int32())]),
    ],
    ids=lambda array: str(array.type),
)
def test_any_number_is_a_value(tmp_path: Path, age: Any) -> None:
    """Whole numbers, fractions and decimals become float32."""
    assert (["a"], [[7.0, 1.0, 2.0, 3.0]]) == rows_of(opened(tmp_path, age=age))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()),
        pa.large_list(pa.float32()),
        pa.list_(pa.float32(), 3),
        pa.list_(pa.int16()),
        pa.list_(pa.float16(), 3),
    ],
    ids=str,
)
def test_any_list_of_numbers_is_an_embedding(tmp_path: Path, kind: Any) -> None:
    """Lists of fixed and of free size, also with nulls in them or instead of them."""
    table = {
        "user": pa.array(["a", "b", "c", "d"]),
        "age": pa.array([1.0] * 4),
        "embedding": pa.array([[1, 2, 3], None, [4, None, 6], [7, 8, 9]], kind),
    }
    _, values = rows_of(opened(tmp_path, **table))
    expected = [[1.0, 2.0, 3.0], [NAN] * 3, [4.0, NAN, 6.0], [7.0, 8.0, 9.0]]
    np.testing.assert_array_equal(expected, [row[1:] for row in values])


def test_what_is_no_finite_float32_is_missing(tmp_path: Path) -> None:
    """Null, NaN, infinity and numbers too large are NaN, as in any feature."""
    ages = [None, NAN, float("inf"), 1e300, -1e300, 1e-60]
    table = {
        "user": pa.array(list("abcdef")),
        "age": pa.array(ages, pa.float64()),
        "embedding": pa.array(EMBEDDING * 6),
    }
    _, values = rows_of(opened(tmp_path, **table))
    np.testing.assert_array_equal([NAN] * 5 + [0.0], [row[0] for row in values])


@pytest.mark.parametrize(
    ("kind", "column", "expected"),
    [
        (str, pa.array(["x", "", "é"]), ["x", "", "é"]),
        (str, pa.array(["x", "y", "x2"]).dictionary_encode(), ["x", "y", "x2"]),
        (str, pa.array([7, -1, 2**53 + 1]), ["7", "-1", "9007199254740993"]),
        (str, pa.array([7.0, 0.5, -2.0]), ["7", "0.5", "-2"]),
        (int, pa.array([7, -1, 0]), ["7", "-1", "0"]),
        (float, pa.array([7.0, 0.5, 1e20]), ["7", "0.5", "100000000000000000000"]),
        (bool, pa.array([True, False, True]), ["1", "0", "1"]),
    ],
)
def test_keys_are_turned_to_text_as_those_of_requests(
    tmp_path: Path, kind: type, column: Any, expected: list[str]
) -> None:
    """Whatever type the file has, the key is the one a request of the same value asks for."""
    row = StaticRow("r", Entity("e", ("k",)), ("v",))
    path = world.saved(tmp_path, pa.table({"k": column, "v": pa.array([1.0] * 3)}))
    assert expected == rows_of(StaticFile(path, row, Request({"k": kind})))[0]


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "a key column is missing": (
        {"user": None},
        "column user: found no such column; allowed: one column of this name (the file has age, ",
    ),
    "a value column is missing": ({"age": None}, "column age: found no such column; allowed: "),
    "a number is a string": (
        {"age": pa.array(["7"])},
        "column age: found string; allowed: numbers",
    ),
    "a list is a number": (
        {"embedding": pa.array([1.0])},
        "column embedding: found double; allowed: lists of 3 numbers",
    ),
    "a list of strings": (
        {"embedding": pa.array([["a"]])},
        "column embedding: found list<element: string>; allowed: lists of 3 numbers",
    ),
    "a fixed list is too short": (
        {"embedding": pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2))},
        "column embedding: found lists of 2; allowed: lists of 3 numbers",
    ),
    "a key is a date": (
        {"user": pa.array([0], pa.date32())},
        "column user: found date32[day]; allowed: strings or numbers",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_column_that_does_not_fit_is_named(tmp_path: Path, mistake: str) -> None:
    """The file's columns are judged before a row is read."""
    columns, expected = MISTAKES[mistake]
    with pytest.raises(InputError) as caught:
        opened(tmp_path, **columns)
    assert f"rows.parquet: {expected}" == str(caught.value)[: len(expected) + 14]


def test_a_string_for_a_number_of_the_request_is_refused(tmp_path: Path) -> None:
    """The text "7.0" would never be asked for by the number 7."""
    path = world.saved(
        tmp_path, pa.table({"user": ["a"], "device": ["7"], "low": [1], "high": [1]})
    )
    with pytest.raises(InputError, match="column device: found string; allowed: numbers or"):
        StaticFile(path, world.limits, world.request)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            [("b", 1.0, [1.0, 2.0])],
            "column embedding, row 12: found a list of 2; allowed: lists of 3",
        ),
        ([("b", 1.0, [])], "column embedding, row 12: found a list of 0; allowed: lists of 3"),
        ([(None, 1.0, None)], "column user, row 12: found nothing; allowed: a value in every row"),
    ],
)
def test_a_row_that_does_not_fit_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: list[Any], expected: str
) -> None:
    """The row's number counts from 1 over all batches."""
    monkeypatch.setattr(static_file, "MOST_ROWS", 4)
    good = [(f"u{i}", 1.0, [1.0, 2.0, 3.0]) for i in range(11)]
    path = world.saved(tmp_path, world.profiles(good + rows + good))
    with pytest.raises(InputError, match=expected):
        rows_of(StaticFile(path, world.profile, world.request))


def test_a_missing_number_in_a_key_is_named(tmp_path: Path) -> None:
    """Of several key columns, the one that is empty."""
    columns = {"user": ["a"], "device": pa.array([None], pa.int64()), "low": [1], "high": [1]}
    file = StaticFile(world.saved(tmp_path, pa.table(columns)), world.limits, world.request)
    with pytest.raises(InputError, match="column device, row 1: found nothing"):
        rows_of(file)


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet PAR1"])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, content: bytes | None) -> None:
    """Missing, empty and foreign files are one clear line."""
    path = tmp_path / "x.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"x.parquet: found .*; allowed: a Parquet file that"):
        StaticFile(path, world.profile, world.request)


def test_other_columns_and_any_order_are_fine(tmp_path: Path) -> None:
    """Columns are found by name; those nobody declared are ignored."""
    table = pa.table({"note": ["x"], "embedding": pa.array(EMBEDDING), "age": [5], "user": ["a"]})
    file = StaticFile(world.saved(tmp_path, table), world.profile, world.request)
    assert (1, (["a"], [[5.0, 1.0, 2.0, 3.0]])) == (file.rows, rows_of(file))


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Which of the two counts cannot be known."""
    table = pa.Table.from_arrays(
        [pa.array(["a"]), pa.array([1]), pa.array([2]), pa.array(EMBEDDING)],
        names=["user", "age", "age", "embedding"],
    )
    with pytest.raises(InputError, match="column age: found 2 columns of this name"):
        StaticFile(world.saved(tmp_path, table), world.profile, world.request)
