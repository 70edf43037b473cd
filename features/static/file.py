"""The Parquet file of a static row: its columns checked, its rows read in batches."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from features.columns import joined_keys
from tidemill.errors import InputError
from tidemill.sources import Request
from tidemill.static_row import StaticRow

BATCH_BYTES = 4 * 1024 * 1024
MOST_ROWS = 8192  # in a batch
CAUSE = "static_file"


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some rows of the file: their entities' keys and float32 values (rows, floats)."""

    first_row: int
    keys: list[str]
    values: NDArray[np.float32]


class StaticFile:
    """A file that fits the declaration of a static row.

    The key columns are named as the entity's keys: strings, numbers or booleans, never null. The
    value columns are numbers, or lists of exactly the declared length. Null and what is no finite
    float32 are missing (NaN); other columns are ignored. Rows count from 1 in messages.
    """

    def __init__(self, path: Path, row: StaticRow, request: Request) -> None:
        """Open and check the columns; raises InputError naming file, column, found, allowed."""
        self._path, self._row = path, row
        # The request's numbers are floats: keys must be turned to text from the same.
        self._texts = {f.name for f in request.columns if f.type is str}
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            found = str(error).splitlines()[0]
            raise InputError(CAUSE, str(path), found, "a Parquet file that can be read") from None
        schema = self._file.schema_arrow
        for key in row.by.keys:
            self._check_key(key, self._type_of(schema, key))
        for column, size in row.sizes:
            self._check_value(column, size, self._type_of(schema, column))

    @property
    def rows(self) -> int:
        """How many rows the file has."""
        return int(self._file.metadata.num_rows)

    def batches(self) -> Iterator[RowBatch]:
        """The rows in order, a few megabytes at a time; raises InputError naming the row."""
        wanted = [*self._row.by.keys, *(column for column, _ in self._row.sizes)]
        size = max(1, min(MOST_ROWS, BATCH_BYTES // (4 * self._row.floats)))
        first = 1
        try:
            for batch in self._file.iter_batches(size, columns=wanted, use_threads=False):
                yield RowBatch(first, self._keys(batch, first), self._values(batch, first))
                first += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            found = str(error).splitlines()[0]
            raise InputError(
                CAUSE, str(self._path), found, "a Parquet file in good order"
            ) from None

    def error(self, column: str, found: str, allowed: str, row: int | None = None) -> InputError:
        """A mistake in one column, and in which row."""
        place = "" if row is None else f", row {row}"
        return InputError(CAUSE, f"{self._path.name}: column {column}{place}", found, allowed)

    def _type_of(self, schema: Any, column: str) -> Any:
        count = schema.names.count(column)
        if count != 1:
            found = "no such column" if count == 0 else f"{count} columns of this name"
            has = ", ".join(schema.names[:20]) + (", ..." if len(schema.names) > 20 else "")
            raise self.error(column, found, f"one column of this name (the file has {has})")
        return schema.field(column).type

    def _check_key(self, column: str, kind: Any) -> None:
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        if column in self._texts:
            fits, allowed = _is_text(kind) or number, "strings or numbers"
        else:
            fits = number or pa.types.is_boolean(kind)
            allowed = "numbers or booleans (the request's field is a number)"
        if not fits:
            raise self.error(column, str(kind), allowed)

    def _check_value(self, column: str, size: int, kind: Any) -> None:
        if size == 1:
            if not _is_number(kind):
                raise self.error(column, str(kind), "numbers")
            return
        if not _is_list(kind) or not _is_number(kind.value_type):
            raise self.error(column, str(kind), f"lists of {size} numbers")
        if pa.types.is_fixed_size_list(kind) and kind.list_size != size:
            raise self.error(column, f"lists of {kind.list_size}", f"lists of {size} numbers")

    def _keys(self, batch: Any, first: int) -> list[str]:
        columns = {name: self._key_column(batch.column(name), name) for name in self._row.by.keys}
        keys: list[str] = []
        for position, key in enumerate(joined_keys(self._row.by.keys, columns)):
            if key is None:
                parts = self._row.by.keys
                empty = next(n for n in parts if joined_keys((n,), columns)[position] is None)
                raise self.error(empty, "nothing", "a value in every row", first + position)
            keys.append(key)
        return keys

    def _key_column(self, column: Any, name: str) -> NDArray[Any]:
        if name not in self._texts or pa.types.is_floating(column.type):
            return _as_numpy(column, pa.float64())
        values = np.empty(len(column), dtype=object)
        # Whole numbers directly: as floats those beyond 2^53 would change.
        whole = pa.types.is_integer(column.type)
        values[:] = (column.cast(pa.string()) if whole else column).to_pylist()
        return values

    def _values(self, batch: Any, first: int) -> NDArray[np.float32]:
        values = np.empty((batch.num_rows, self._row.floats), dtype=np.float32)
        start = 0
        for name, size in self._row.sizes:
            column, target = batch.column(name), values[:, start : start + size]
            if size == 1:
                target[:, 0] = _as_numpy(column, pa.float32())
            else:
                self._write_lists(column, name, target, first)
            start += size
        values[np.isinf(values)] = np.nan
        return values

    def _write_lists(self, column: Any, name: str, target: NDArray[np.float32], first: int) -> None:
        size = target.shape[1]
        lengths = pc.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
        if not column.null_count and (lengths == size).all():
            target[:] = _as_numpy(column.flatten(), pa.float32()).reshape(-1, size)
            return
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(valid & (lengths != size))
        if len(wrong):
            found = f"a list of {lengths[wrong[0]]}"
            raise self.error(name, found, f"lists of {size} numbers", first + int(wrong[0]))
        target[~valid] = np.nan
        target[valid] = _as_numpy(column.drop_null().flatten(), pa.float32()).reshape(-1, size)


def _as_numpy(column: Any, kind: Any) -> NDArray[Any]:
    """Numbers as an array; null becomes NaN, what is too large for the type infinite."""
    array: NDArray[Any] = pc.cast(column, kind, safe=False).to_numpy(zero_copy_only=False)
    return array


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: Any) -> bool:
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def _is_list(kind: Any) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)
