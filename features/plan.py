"""Compile a project's features into tables for the kernel: where state lies, what features read.

An entity's state is one row of 4-byte words: word 0-1 the newest event time (int64 ms), word 2 the
layout's hash, word 3 free; then for each kind of event its newest time, its last values, decayed
sums and rings. Sketches, whose size varies, follow the row's words in the stored blob.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.layout import (
    NEEDS,
    PARTIALS,
    SKETCHES,
    Layout,
    Series,
    Wanted,
    tile_step_ms,
    tiles_of,
)
from features.sketches.state import LAYOUT, SketchRing
from tidemill.aggregates import DECAYED, Aggregate
from tidemill.declaration import LABEL_VALUE, Project
from tidemill.durations import duration_ms
from tidemill.expressions import Expression, column
from tidemill.feature_kinds import LIFETIME_MS, LabelRate, Window, window_ms
from tidemill.schema import FeatureSchema, schema_of
from tidemill.sources import Entity, Event

CODES = {
    kind: code
    for code, kind in enumerate(
        ("count", "sum", "mean", "min", "max", "variance", "std", "first", "ratio", "rate",
         "last", "age", "decayed_count", "decayed_sum", "decayed_mean")
    )
}  # fmt: skip


@dataclass(frozen=True)
class GroupPlan:
    """What one kind of event does to one entity; tables hold one row per ring, list or sum.

    rings int64 (rings, 12): column, word, tiles, step_ms, tile width, positions in a tile of sum,
    squares, first, first value, count, min, max (-1 for none); lasts int64 (lasts, 3): column,
    word, values kept; decays int64 (decays, 3): column, word, half-life in ms; `sketches`: which of
    the entity's sketch rings take from this event. `begin` and `end`: the words that are its own,
    the first two of them its newest time. `reach_ms`: how far back any of it reaches.
    """

    event: Event
    event_index: int
    series: tuple[tuple[Expression | None, Expression | None], ...]
    rings: NDArray[np.int64]
    lasts: NDArray[np.int64]
    decays: NDArray[np.int64]
    sketches: tuple[int, ...]
    begin: int
    end: int
    reach_ms: int


@dataclass(frozen=True, slots=True)
class SketchFeature:
    """What is read from one sketch ring; `number` is the percentile, or K of the top K.

    `output` is the (first) column in the vector; `group` the first word of the event's state.
    """

    output: int
    kind: str
    ring: int
    length_ms: int
    number: int
    group: int


@dataclass(frozen=True)
class EntityPlan:
    """The layout of one entity's state and the features read from it.

    features int64 (features, 15): output column, code, word, tiles, step_ms, window_ms, tile width,
    positions of up to three partials, and of a ratio's divisor: word, tiles, width, position; for
    last: values kept instead of tiles, features made instead of step_ms; the first word of the
    event's state. parameters float64 (features, 2): prior, weight. `forget_ms`: what comes from a
    kind of event that was silent for longer, in event time, is forgotten (`Entity.expires`);
    `expires_ms`: idle for longer, an entity has nothing to say any more. 0 for never.
    """

    entity: Entity
    index: int
    words: int
    layout: int
    groups: tuple[GroupPlan, ...]
    features: NDArray[np.int64]
    parameters: NDArray[np.float64]
    sketch_rings: tuple[SketchRing, ...]
    sketch_features: tuple[SketchFeature, ...]
    forget_ms: int
    expires_ms: int

    @property
    def bytes(self) -> int:
        """The size of one entity's blob, without its sketches."""
        return self.words * 4


@dataclass(frozen=True)
class FeaturePlan:
    """Everything derived from the declared features; `events` are the project's and the label's."""

    project: Project
    schema: FeatureSchema
    events: tuple[Event, ...]
    entities: tuple[EntityPlan, ...]

    def groups_of(self, event_index: int) -> list[tuple[EntityPlan, GroupPlan]]:
        """The entities an event changes, and how."""
        return [
            (entity, group)
            for entity in self.entities
            for group in entity.groups
            if group.event_index == event_index
        ]

    def reach_ms(self, event_index: int) -> int:
        """How old an event of this kind may be and still count; LIFETIME_MS for no limit."""
        return max((group.reach_ms for _, group in self.groups_of(event_index)), default=0)

    @property
    def state(self) -> str:
        """Eight hex digits that change with the meaning of the entities' state, and only then."""
        # Updates name entities and kinds of events by their places.
        meaning = [
            (e.entity.name, e.layout, e.forget_ms, [group.event_index for group in e.groups])
            for e in self.entities
        ]
        return f"{zlib.crc32(repr(meaning).encode()):08x}"


def compile_plan(project: Project) -> FeaturePlan:
    """Compile the declared features; a project that passed its own checks always compiles."""
    label = project.label_event
    events = (*project.events, label) if label else project.events
    names = {name: position for position, name in enumerate(project.feature_names)}
    entities = tuple(
        _compile_entity(events, entity, index, list(_wanted(project, entity, names)))
        for index, entity in enumerate(project.entities)
    )
    return FeaturePlan(project, schema_of(project), events, entities)


def outputs_of(project: Project, entity: Entity) -> list[int]:
    """The columns of a vector that hold what is read of one entity: its windows and rates."""
    places = {name: place for place, name in enumerate(project.feature_names)}
    names: list[str] = []
    for feature in project.features:
        if isinstance(feature, Window) and entity in feature.by:
            names += [
                feature.feature_name(output, entity, over)
                for over in feature.over
                for aggregate in feature.aggregates
                for output in aggregate.outputs
            ]
        elif isinstance(feature, LabelRate) and entity in feature.by:
            names += [feature.feature_name(entity, over) for over in feature.over]
    return [places[name] for name in names]


def _wanted(project: Project, entity: Entity, names: dict[str, int]) -> Iterator[Wanted]:
    """What the declared features read of one entity."""
    for feature in project.features:
        if isinstance(feature, Window) and entity in feature.by:
            for over in feature.over:
                for aggregate in feature.aggregates:
                    output = names[feature.feature_name(aggregate.outputs[0], entity, over)]
                    length = window_ms("over", over)
                    yield Wanted(output, aggregate, feature.event, feature.of, feature.where,
                                 feature.per, length)  # fmt: skip
        elif isinstance(feature, LabelRate) and entity in feature.by:
            label, rate = project.label_event, Aggregate("rate", 0, ())
            assert label is not None
            for over in feature.over:
                output = names[feature.feature_name(entity, over)]
                yield Wanted(output, rate, label, column(LABEL_VALUE), None, None,
                             window_ms("over", over), feature.prior, feature.weight)  # fmt: skip


def _compile_entity(
    events: tuple[Event, ...], entity: Entity, index: int, wanted: list[Wanted]
) -> EntityPlan:
    layout = Layout(wanted)
    sketch_rings = [
        (series, SketchRing(series.column, kind, tiles_of(longest, step), step))
        for series in layout.series
        for (kind, step), longest in sorted(series.sketches.items())
    ]
    words = [each for each in wanted if each.aggregate.kind not in SKETCHES]
    features = np.array([_feature_row(layout, each) for each in words], np.int64).reshape(-1, 15)
    parameters = np.array([(each.prior, each.weight) for each in words]).reshape(-1, 2)
    groups = tuple(
        _group(event, number, layout, sketch_rings)
        for number, event in enumerate(events)
        if any(series.event.name == event.name for series in layout.series)
    )
    rings = tuple(ring for _, ring in sketch_rings)
    return EntityPlan(
        entity, index, layout.words, _hash(entity, groups, rings), groups, features, parameters,
        rings, tuple(_sketch_features(layout, wanted, sketch_rings)), _forget_ms(entity),
        _expires_ms(entity, groups),
    )  # fmt: skip


def _group(
    event: Event, number: int, layout: Layout, sketch_rings: list[tuple[Series, SketchRing]]
) -> GroupPlan:
    own = [series for series in layout.series if series.event.name == event.name]
    rings = [
        [s.column, word, s.tiles(step), step, s.width, *(s.positions[p] for p in PARTIALS)]
        for s in own
        for step, word in s.ring_words.items()
    ]
    lasts = [[s.column, s.last_word, s.kept_last] for s in own if s.kept_last]
    decays = [[s.column, w, half_life] for s in own for half_life, w in s.decay_words.items()]
    return GroupPlan(
        event,
        number,
        tuple((series.of, series.where) for series in own),
        np.array(rings, np.int64).reshape(-1, 5 + len(PARTIALS)),
        np.array(lasts, np.int64).reshape(-1, 3),
        np.array(decays, np.int64).reshape(-1, 3),
        tuple(at for at, (s, _) in enumerate(sketch_rings) if s.event.name == event.name),
        *layout.spans[event.name],
        max(series.reach_ms for series in own),
    )


def _hash(entity: Entity, groups: tuple[GroupPlan, ...], rings: tuple[SketchRing, ...]) -> int:
    """A number that changes with the meaning of any word of the state."""
    parts = [
        (g.event.name, g.series, g.rings.tolist(), g.lasts.tolist(), g.decays.tolist())
        for g in groups
    ]
    sketches = (rings, LAYOUT) if rings else ()
    return zlib.crc32(repr((entity.name, entity.keys, parts, sketches)).encode()) & 0x7FFFFFFF


def _forget_ms(entity: Entity) -> int:
    return 0 if entity.expires is None else duration_ms("expires", entity.expires)


def _expires_ms(entity: Entity, groups: tuple[GroupPlan, ...]) -> int:
    """When an idle entity has nothing left to say."""
    reach = max(group.reach_ms for group in groups)
    forget = _forget_ms(entity)
    return forget if reach == LIFETIME_MS else max(reach, forget)


def _feature_row(layout: Layout, wanted: Wanted) -> list[int]:
    series = layout.of(wanted.event, wanted.of, wanted.where)
    kind, length = wanted.aggregate.kind, wanted.length_ms
    head, group = [wanted.output, CODES[kind]], layout.spans[wanted.event.name][0]
    if kind in ("last", "age"):
        number = wanted.aggregate.number
        return [*head, series.last_word, series.kept_last, number, length, *[0] * 8, group]
    if kind in DECAYED:
        return [*head, series.decay_words[length], 0, 0, length, *[0] * 8, group]
    step = tile_step_ms(length)
    used = [series.positions[partial] for partial in NEEDS[kind]]
    row = [*head, series.ring_words[step], series.tiles(step), step, length, series.width]
    row += used + [0] * (3 - len(used))
    if kind != "ratio":
        return [*row, *[0] * 4, group]
    divisor = layout.of(wanted.event, wanted.per, wanted.where)
    place = divisor.positions["sum"]
    return [*row, divisor.ring_words[step], divisor.tiles(step), divisor.width, place, group]


def _sketch_features(
    layout: Layout, wanted: list[Wanted], rings: list[tuple[Series, SketchRing]]
) -> Iterator[SketchFeature]:
    for each in wanted:
        kind = SKETCHES.get(each.aggregate.kind)
        if kind is None:
            continue
        series, step = layout.of(each.event, each.of, each.where), tile_step_ms(each.length_ms)
        ring = next(
            at for at, (owner, r) in enumerate(rings)
            if owner is series and r.kind == kind and r.step_ms == step
        )  # fmt: skip
        number, group = each.aggregate.number, layout.spans[each.event.name][0]
        yield SketchFeature(each.output, kind, ring, each.length_ms, number, group)
