"""Whatever is loaded is what is read: static rows against a plain dictionary, for any file."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import static_world as world
from hypothesis import given, settings
from hypothesis import strategies as st
from static_world import World

from features.static import file as static_file
from features.static.rows import static_plans
from features.vectors import VectorReader
from tidemill import Entity, Label, Project, Request, StaticRow
from tidemill.clock import FakeClock
from tidemill.errors import InputError

NAN = float("nan")
texts = st.text(max_size=5) | st.sampled_from(["\x1f", "\x1b", "a\x1fb", "{x}", ":static:r:1:"])
whole = st.integers(-(2**40), 2**40)
KINDS: dict[type, Any] = {
    str: texts,
    int: whole,
    float: st.floats(-1e6, 1e6).map(lambda number: number + 0.0),  # no negative zero
    bool: st.booleans(),
}
TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
numbers = st.none() | st.floats(width=32, allow_infinity=False) | st.integers(-999, 999).map(float)


@st.composite
def tables(draw: Any) -> dict[str, Any]:
    """Key kinds, column sizes, and a list of rows from file after file, keys not repeated."""
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=3))
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    keys = st.tuples(*(KINDS[kind] for kind in kinds))
    values = st.tuples(
        *(
            numbers if n == 1 else st.none() | st.lists(numbers, min_size=n, max_size=n)
            for n in sizes
        )
    )
    files = draw(st.lists(st.dictionaries(keys, values, max_size=8), min_size=1, max_size=3))
    strangers = draw(st.lists(keys, max_size=4))
    return {"kinds": kinds, "sizes": sizes, "files": files, "strangers": strangers}


def made(case: dict[str, Any]) -> tuple[Project, StaticRow]:
    """The project of a case: keys k0, k1 and columns v0, v1."""
    fields = {f"k{i}": kind for i, kind in enumerate(case["kinds"])}
    sizes = {f"v{i}": size for i, size in enumerate(case["sizes"])}
    row = StaticRow("r", Entity("e", tuple(fields)), sizes)
    return Project("shop", (), Request(fields), (row,), Label(("k0",), "1h")), row


def table_of(case: dict[str, Any], rows: list[tuple[Any, Any]]) -> pa.Table:
    """A file's table."""
    columns: dict[str, Any] = {}
    for i, kind in enumerate(case["kinds"]):
        columns[f"k{i}"] = pa.array([key[i] for key, _ in rows], TYPES[kind])
    for i, size in enumerate(case["sizes"]):
        kind = pa.float64() if size == 1 else pa.list_(pa.float64())
        columns[f"v{i}"] = pa.array([values[i] for _, values in rows], kind)
    return pa.table(columns)


def flat(case: dict[str, Any], values: Any) -> list[float]:
    """A row as the vector has it; no row at all is all missing."""
    found: list[float] = []
    for i, size in enumerate(case["sizes"]):
        value = None if values is None else values[i]
        parts = [None] * size if value is None else [value] if size == 1 else value
        found += [NAN if part is None else part for part in parts]
    return np.array(found, np.float32).tolist()


@given(tables(), st.integers(1, 5))
@settings(max_examples=120, deadline=None)
async def test_what_was_loaded_last_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, case: dict[str, Any], batch_rows: int
) -> None:
    """Load after load, each entity reads its own numbers, all others are missing."""
    project, row = made(case)
    (plan,) = static_plans(project)
    here, folder = World(), tmp_path_factory.mktemp("rows")
    reader = VectorReader(world.compile_plan(project), world.NAMES, here.store, 10_000)
    decoder = world.RequestDecoder(project, FakeClock(world.NOW), 0)
    everyone = [*case["strangers"], *(key for file in case["files"] for key in file)]
    asked = [
        {"time": world.NOW, **{f"k{i}": part for i, part in enumerate(key)}} for key in everyone
    ]
    requests = decoder.decode_batch(world.msgspec.json.encode({"requests": asked}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static_file, "MOST_ROWS", batch_rows)
        for number, rows in enumerate(case["files"]):
            path = world.saved(folder, table_of(case, list(rows.items())), f"{number}.parquet")
            file = static_file.StaticFile(path, row, project.request)
            loaded = await here.loader.load(file, plan, lambda _: None)
            assert (number + 1, len(rows)) == (loaded.version, loaded.rows)
            vectors = await reader.read(requests)
            expected = [flat(case, rows.get(key)) for key in everyone]
            np.testing.assert_array_equal(expected, vectors.matrix.tolist())
    left = [key for key in here.memory.blobs if world.NAMES.static_version("r", key) is not None]
    assert len(case["files"][-1]) == len(left)


@given(tables().filter(lambda case: case["files"][0]), st.integers(1, 5), st.data())
@settings(max_examples=60, deadline=None)
async def test_a_row_that_stands_twice_is_always_found(
    tmp_path_factory: pytest.TempPathFactory, case: dict[str, Any], batch_rows: int, data: Any
) -> None:
    """However far apart the two rows are, the later one is named and nothing is loaded."""
    project, row = made(case)
    (plan,) = static_plans(project)
    rows = list(case["files"][0].items())
    first = data.draw(st.integers(0, len(rows) - 1))
    second = data.draw(st.integers(first + 1, len(rows)))
    rows.insert(second, rows[first])
    here, folder = World(), tmp_path_factory.mktemp("rows")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(static_file, "MOST_ROWS", batch_rows)
        file = static_file.StaticFile(
            world.saved(folder, table_of(case, rows)), row, project.request
        )
        with pytest.raises(InputError, match=f"row {second + 1}: found .*; allowed: each key once"):
            await here.loader.load(file, plan, lambda _: None)
    assert {} == here.memory.blobs


@given(st.lists(st.none() | st.lists(numbers, max_size=4), min_size=1, max_size=12))
@settings(max_examples=80, deadline=None)
async def test_a_list_of_another_length_is_always_found(
    tmp_path_factory: pytest.TempPathFactory, lists: list[Any]
) -> None:
    """The first list that has not exactly the declared length is named, else all are read."""
    folder = tmp_path_factory.mktemp("rows")
    table = world.profiles((f"u{i}", 1.0, numbers) for i, numbers in enumerate(lists))
    file = static_file.StaticFile(world.saved(folder, table), world.profile, world.request)
    wrong = next(
        (i for i, found in enumerate(lists) if found is not None and len(found) != 3), None
    )
    if wrong is not None:
        expected = f"row {wrong + 1}: found a list of {len(lists[wrong])}; allowed: lists of 3"
        with pytest.raises(InputError, match=expected):
            list(file.batches())
        return
    values = np.concatenate([batch.values for batch in file.batches()])[:, 1:].tolist()
    for found, expected in zip(values, lists, strict=True):
        for number, part in zip(found, expected or [None] * 3, strict=True):
            assert (
                math.isnan(number) if part is None else np.float32(part) == number or part != part
            )
