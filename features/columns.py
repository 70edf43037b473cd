"""From records to columns: the arrays that expressions and the kernel work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.plan import EntityPlan, GroupPlan
from tidemill.declaration import Field, RequestFeature
from tidemill.expressions import Columns

KEY_SEPARATOR = "\x1f"


def field_columns(
    fields: Iterable[Field], records: Sequence[Any]
) -> dict[str, NDArray[Any]]:
    """One array per field: float64 with NaN for a missing number, objects with None for strings; `time` int64."""
    columns: dict[str, NDArray[Any]] = {
        "time": np.fromiter((record.time for record in records), np.int64, len(records))
    }
    for field in fields:
        values = [getattr(record, field.name) for record in records]
        columns[field.name] = as_column(field, values)
    return columns


def as_column(field: Field, values: Sequence[Any]) -> NDArray[Any]:
    """The values of one field as an array of its type."""
    if field.type is not str:
        return np.array(values, dtype=np.float64)  # None becomes NaN
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def entity_keys(plan: EntityPlan, columns: Columns) -> list[str | None]:
    """Each row's entity key, None where a part of it is missing."""
    parts = [columns[name].tolist() for name in plan.entity.keys]
    if len(parts) == 1:
        return [None if value is None else _text(value) for value in parts[0]]
    return [
        None if None in values else KEY_SEPARATOR.join(map(_text, values))
        for values in zip(*parts, strict=True)
    ]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def series_values(group: GroupPlan, columns: Columns, rows: int) -> NDArray[np.float32]:
    """What each series takes from each event, shape (rows, series); NaN where the filter says no."""
    values = np.empty((rows, len(group.series)), dtype=np.float32)
    for position, (of, where) in enumerate(group.series):
        values[:, position] = 1.0 if of is None else of.evaluate(columns, rows)
        if where is not None:
            values[~where.evaluate(columns, rows).astype(bool), position] = np.nan
    return values


def request_values(
    features: Iterable[tuple[int, RequestFeature]], columns: Mapping[str, NDArray[Any]],
    matrix: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write the request features into their columns of the matrix."""
    for position, feature in features:
        matrix[:, position] = feature.value.evaluate(columns, len(matrix))
