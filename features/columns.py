"""From records to columns: the arrays that expressions and the kernel work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.plan import EntityPlan, GroupPlan
from tidemill.declaration import Field, RequestFeature
from tidemill.expressions import Columns, truth

KEY_SEPARATOR = "\x1f"


def field_columns(fields: Iterable[Field], records: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """One array per field: float64 (missing: NaN) or str objects (None), and int64 `time`."""
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
    parts = [[_text(value) for value in columns[name].tolist()] for name in plan.entity.keys]
    if len(parts) == 1:
        return parts[0]
    keys: list[str | None] = []
    for texts in zip(*parts, strict=True):
        known = [_escaped(text) for text in texts if text is not None]
        keys.append(KEY_SEPARATOR.join(known) if len(known) == len(texts) else None)
    return keys


def _escaped(text: str) -> str:
    # A value that contains the separator must not read as two.
    return text.replace("\x1b", "\x1b0").replace(KEY_SEPARATOR, "\x1b1")


def _text(value: object) -> str | None:
    if isinstance(value, str) or value is None:
        return value
    if isinstance(value, float):
        if value != value:
            return None
        return str(int(value)) if value.is_integer() else str(value)
    return str(value)


def series_values(group: GroupPlan, columns: Columns, rows: int) -> NDArray[np.float32]:
    """What each series takes from each event, shape (rows, series).

    NaN where the filter says no and where the value is missing or no finite float32.
    """
    values = np.empty((rows, len(group.series)), dtype=np.float32)
    with np.errstate(over="ignore"):
        for position, (of, where) in enumerate(group.series):
            values[:, position] = 1.0 if of is None else of.evaluate(columns, rows)
            if where is not None:
                values[~truth(where.evaluate(columns, rows)), position] = np.nan
    values[np.isinf(values)] = np.nan
    return values


def window_rows(
    entity: EntityPlan, group: GroupPlan, columns: Columns, rows: int
) -> tuple[NDArray[np.int64], list[str], NDArray[np.float32]]:
    """The events that change an entity's windows: their rows, entity keys and series values.

    An event without the entity's key, or from which no series takes anything, changes nothing.
    """
    keys = entity_keys(entity, columns)
    values = series_values(group, columns, rows)
    known = np.array([key is not None for key in keys], dtype=bool)
    chosen = np.flatnonzero(known & ~np.isnan(values).all(axis=1))
    return chosen, [keys[row] or "" for row in chosen.tolist()], values[chosen]


def request_values(
    features: Iterable[tuple[int, RequestFeature]],
    columns: Mapping[str, NDArray[Any]],
    matrix: NDArray[np.float32],
) -> None:
    """Write the request features into their columns of the matrix."""
    for position, feature in features:
        write_finite(matrix[:, position], feature.value.evaluate(columns, len(matrix)))


def write_finite(target: NDArray[np.float32], values: NDArray[Any]) -> None:
    """Write numbers as float32; one that has no finite float32 is missing (NaN)."""
    with np.errstate(over="ignore"):
        target[:] = values
    target[np.isinf(target)] = np.nan
