"""From records to columns: the arrays that expressions and the kernel work on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from features.plan import EntityPlan, GroupPlan
from tidemill.expressions import Columns, truth
from tidemill.feature_kinds import RequestFeature
from tidemill.fields import Field

KEY_SEPARATOR = "\x1f"


def field_columns(fields: Iterable[Field], records: Sequence[Any]) -> dict[str, NDArray[Any]]:
    """One array per field: float64 (missing: NaN) or str objects (None), and int64 `time`."""
    times = list(map(attrgetter("time"), records))
    columns: dict[str, NDArray[Any]] = {"time": np.array(times, dtype=np.int64)}
    for field in fields:
        columns[field.name] = as_column(field, list(map(attrgetter(field.name), records)))
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
    return joined_keys(plan.entity.keys, columns)


def joined_keys(names: Sequence[str], columns: Columns) -> list[str | None]:
    """Each row's key made of the columns of these names, None where a part of it is missing."""
    parts = [_texts(columns[name]) for name in names]
    if len(parts) == 1:
        return parts[0]
    keys: list[str | None] = []
    for texts in zip(*parts, strict=True):
        known = [_escaped(text) for text in texts if text is not None]
        keys.append(KEY_SEPARATOR.join(known) if len(known) == len(texts) else None)
    return keys


def distinct_keys(keys: Sequence[str | None]) -> tuple[list[str], NDArray[np.int64]]:
    """The distinct keys, and of every row which of them it has, -1 where it has none."""
    distinct = set(keys)
    if len(distinct) == len(keys) and None not in distinct:
        return cast(list[str], list(keys)), np.arange(len(keys))
    places: dict[str | None, int] = dict.fromkeys(keys, -1)
    found = [key for key in places if key is not None]
    places.update(zip(found, range(len(found)), strict=True))
    return found, np.fromiter(map(places.__getitem__, keys), np.int64, len(keys))


def joined_blobs(blobs: Sequence[bytes | None], size: int) -> bytes | None:
    """All blobs in one piece, None unless every one is there and has `size` bytes."""
    if not all(blobs):
        return None
    found = cast(Sequence[bytes], blobs)
    return b"".join(found) if set(map(len, found)) == {size} else None


def _escaped(text: str) -> str:
    # A value that contains the separator must not read as two.
    return text.replace("\x1b", "\x1b0").replace(KEY_SEPARATOR, "\x1b1")


def _texts(column: NDArray[Any]) -> list[str | None]:
    return [value if type(value) is str else _text(value) for value in column.tolist()]


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


@dataclass(frozen=True, slots=True)
class WindowRows:
    """The events that change an entity's state, as rows of one kernel call.

    rows int64 (n,): which events; keys: the distinct entities; codes int32 (n,): each row's entity;
    values float32 (n, series).
    """

    rows: NDArray[np.int64]
    keys: list[str]
    codes: NDArray[np.int32]
    values: NDArray[np.float32]


def window_rows(entity: EntityPlan, group: GroupPlan, columns: Columns, rows: int) -> WindowRows:
    """What events of one kind bring for one entity.

    An event without the entity's key, or from which no series takes anything, changes nothing.
    """
    keys: list[Any] = entity_keys(entity, columns)
    values = series_values(group, columns, rows)
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    codes = np.fromiter(map(places.__getitem__, keys), np.int32, rows)
    taken = ~np.isnan(values).all(axis=1)
    if None in places:
        taken &= codes != places[None]
    if taken.all():
        return WindowRows(np.arange(rows), list(places), codes, values)
    chosen = np.flatnonzero(taken)
    used, codes = distinct_codes(codes[chosen])
    names = list(places)
    return WindowRows(chosen, [names[place] for place in used.tolist()], codes, values[chosen])


def distinct_codes(codes: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Codes without gaps: which of the old ones are used, and each row's place among them."""
    used, places = np.unique(codes, return_inverse=True)
    return used, places.astype(np.int32)


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
