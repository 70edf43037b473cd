"""Compile a project's features into tables for the kernel: where tiles lie, what features read.

An entity's windows are one row of 4-byte words: word 0-1 the newest event time (int64 ms), word 2
the layout's hash, word 3 free; then the last values (int64 time, value, a word of padding) and the
rings (the newest tile's number plus one, 0 for none, followed by the tiles).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidemill.declaration import Entity, Event, Project, Window, window_feature_name
from tidemill.durations import DAY_MS, HOUR_MS, MINUTE_MS, duration_ms
from tidemill.expressions import Expression
from tidemill.schema import FeatureSchema, schema_of

HEADER_WORDS = 4
PARTIALS = ("count", "sum", "min", "max")
_NEEDS = {
    "count": ("count",),
    "sum": ("sum",),
    "mean": ("count", "sum"),
    "min": ("min",),
    "max": ("max",),
}
AGGREGATE_CODES = {"count": 0, "sum": 1, "mean": 2, "min": 3, "max": 4, "last": 5, "age": 6}


def tile_step_ms(window_ms: int) -> int:
    """The width of a window's tiles: a twelfth of it or less, and a minute below 12 min.

    The ladder is that of Chronon's sawtooth windows.

    >>> tile_step_ms(HOUR_MS) // MINUTE_MS, tile_step_ms(DAY_MS) // MINUTE_MS
    (5, 60)
    """
    if window_ms < HOUR_MS:
        return MINUTE_MS
    if window_ms < 12 * HOUR_MS:
        return 5 * MINUTE_MS
    return HOUR_MS if window_ms < 12 * DAY_MS else DAY_MS


@dataclass
class _Series:
    """One stream of numbers for one entity: an event's expression behind a filter."""

    event: Event
    of: Expression | None
    where: Expression | None
    column: int
    partials: set[str] = field(default_factory=set)
    longest: dict[int, int] = field(default_factory=dict)  # step → longest window, both in ms
    keeps_last: bool = False
    ring_rows: dict[int, int] = field(default_factory=dict)  # step → row of the ring table
    last_row: int = -1


@dataclass(frozen=True)
class GroupPlan:
    """What one kind of event does to one entity; tables hold one row per ring or last value.

    rings int64 (rings, 8): column, word, tiles, step_ms, count, sum, min, max (positions in a tile,
    -1 for none); lasts int64 (lasts, 2): column, word.
    """

    event: Event
    event_index: int
    series: tuple[tuple[Expression | None, Expression | None], ...]
    rings: NDArray[np.int64]
    lasts: NDArray[np.int64]


@dataclass(frozen=True)
class EntityPlan:
    """The layout of one entity's row and the features read from it.

    features int64 (features, 10): output column, aggregate code, word, tiles, step_ms, window_ms,
    tile width, position of the first partial, of the second, unused.
    """

    entity: Entity
    index: int
    words: int
    layout: int
    groups: tuple[GroupPlan, ...]
    features: NDArray[np.int64]

    @property
    def bytes(self) -> int:
        """The size of one entity's blob."""
        return self.words * 4


@dataclass(frozen=True)
class FeaturePlan:
    """Everything derived from the declared features."""

    project: Project
    schema: FeatureSchema
    entities: tuple[EntityPlan, ...]

    def groups_of(self, event_index: int) -> list[tuple[EntityPlan, GroupPlan]]:
        """The entities an event changes, and how."""
        return [
            (entity, group)
            for entity in self.entities
            for group in entity.groups
            if group.event_index == event_index
        ]


def compile_plan(project: Project) -> FeaturePlan:
    """Compile the declared features; a project that passed its own checks always compiles."""
    names = {name: position for position, name in enumerate(project.feature_names)}
    entities = tuple(
        _compile_entity(project, entity, index, names)
        for index, entity in enumerate(project.entities)
    )
    return FeaturePlan(project, schema_of(project), entities)


def _windows_of(project: Project, entity: Entity) -> list[Window]:
    return [f for f in project.features if isinstance(f, Window) and entity in f.by]


def _collect_series(windows: list[Window]) -> dict[str, _Series]:
    """The distinct series of one entity; windows of one expression and filter share one."""
    found: dict[str, _Series] = {}
    columns: dict[str, int] = {}
    for window in windows:
        key = repr((window.event.name, window.of, window.where))
        if key not in found:
            column = columns.get(window.event.name, 0)
            columns[window.event.name] = column + 1
            found[key] = _Series(window.event, window.of, window.where, column)
        series = found[key]
        for aggregate in window.aggregate:
            if aggregate in ("last", "age"):
                series.keeps_last = True
                continue
            series.partials.update(_NEEDS[aggregate])
            for over in window.over:
                length = duration_ms("over", over)
                step = tile_step_ms(length)
                series.longest[step] = max(series.longest.get(step, 0), length)
    return found


def _compile_entity(
    project: Project, entity: Entity, index: int, names: dict[str, int]
) -> EntityPlan:
    windows = _windows_of(project, entity)
    found = _collect_series(windows)
    word = HEADER_WORDS
    rings: dict[str, list[list[int]]] = {}
    lasts: dict[str, list[list[int]]] = {}
    for series in found.values():
        if series.keeps_last:
            series.last_row = word
            lasts.setdefault(series.event.name, []).append([series.column, word])
            word += 4
    for series in found.values():
        positions = _positions(series.partials)
        width = max(positions) + 1
        for step, longest in sorted(series.longest.items()):
            tiles = -(-longest // step) + 1  # a tail within a tile reaches one tile further back
            series.ring_rows[step] = word
            row = [series.column, word, tiles, step, *positions]
            rings.setdefault(series.event.name, []).append(row)
            word += 1 + tiles * width
    word += word % 2
    features = [
        _feature_row(
            window,
            aggregate,
            over,
            found,
            names[window_feature_name(window, aggregate, entity, over)],
        )
        for window in windows
        for over in window.over
        for aggregate in window.aggregate
    ]
    groups = tuple(
        GroupPlan(
            event,
            event_index,
            tuple((s.of, s.where) for s in found.values() if s.event.name == event.name),
            np.array(rings.get(event.name, []), dtype=np.int64).reshape(-1, 8),
            np.array(lasts.get(event.name, []), dtype=np.int64).reshape(-1, 2),
        )
        for event_index, event in enumerate(project.events)
        if any(s.event.name == event.name for s in found.values())
    )
    table = np.array(features, dtype=np.int64).reshape(-1, 10)
    return EntityPlan(entity, index, word, _layout(entity, found, rings), groups, table)


def _layout(entity: Entity, found: dict[str, _Series], rings: dict[str, list[list[int]]]) -> int:
    """A number that changes with the meaning of any word of the row."""
    lasts = [(key, series.last_row) for key, series in found.items()]
    return zlib.crc32(repr((entity, lasts, rings)).encode()) & 0x7FFFFFFF


def _positions(partials: set[str]) -> list[int]:
    """Where each partial stands in a tile; -1 for one that is not kept."""
    kept = [partial for partial in PARTIALS if partial in partials]
    return [kept.index(partial) if partial in partials else -1 for partial in PARTIALS]


def _feature_row(
    window: Window, aggregate: str, over: str, found: dict[str, _Series], output: int
) -> list[int]:
    series = found[repr((window.event.name, window.of, window.where))]
    length = duration_ms("over", over)
    code = AGGREGATE_CODES[aggregate]
    if aggregate in ("last", "age"):
        return [output, code, series.last_row, 0, 1, length, 0, 0, 0, 0]
    step = tile_step_ms(length)
    positions = dict(zip(PARTIALS, _positions(series.partials), strict=True))
    used = [positions[partial] for partial in _NEEDS[aggregate]] + [0]
    width = max(positions.values()) + 1
    tiles = -(-series.longest[step] // step) + 1
    return [output, code, series.ring_rows[step], tiles, step, length, width, *used[:2], 0]
