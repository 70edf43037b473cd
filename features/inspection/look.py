"""Look at one entity: what the model would see of it at a moment, and the state that comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.columns import as_column, joined_keys
from features.inspection.state_view import Json, kept_state
from features.plan import CODES, EntityPlan, FeaturePlan
from features.static.rows import StaticReader, write_static
from features.store import OnlineStore
from features.vectors import entity_rows, finalise_sketches
from features.windows import finalise
from tidemill.errors import InputError
from tidemill.fields import Field
from tidemill.topics import Names

TIME_ALLOWED = "milliseconds since 1970 or ISO 8601 with an offset"
PART_SEPARATOR, UNKNOWN_ENTITY = "|", "unknown_entity"


@dataclass(frozen=True, slots=True)
class EntityView:
    """One entity at `at_ms`; every time in ms since 1970.

    `id` by key field; `values` as a score at that moment would have them, None where missing;
    `newest_ms` is the newest event the state has seen and `age_ms` the time since, both None for an
    entity without state (`known` False). `bytes` are those of its blob. `state` lists, per event
    and series, what is kept: tiles with their partial aggregates, last values, decayed sums and the
    sizes of sketches. It is today's state: values at an earlier moment are exact for windows whose
    tiles and last values are still kept, and sums that decay are not rewound.
    """

    entity: str
    id: dict[str, str | float]
    at_ms: int
    known: bool
    newest_ms: int | None
    age_ms: int | None
    bytes: int
    values: dict[str, float | None]
    state: list[Json]


@dataclass(frozen=True, slots=True)
class _Windows:
    """What was read of an entity's windows; as it stands, of one without any."""

    newest_ms: int | None = None
    bytes: int = 0
    state: list[Json] = field(default_factory=list)


class Inspector:
    """Reads entities of one declaration from the store."""

    def __init__(self, plan: FeaturePlan, names: Names, store: OnlineStore) -> None:
        self._plan, self._names, self._store = plan, names, store
        self._static = StaticReader(plan.project, names)
        self._windows = {entity.entity.name: entity for entity in plan.entities}
        self._entities = {each.row.by.name: each.row.by for each in self._static.plans} | {
            name: entity.entity for name, entity in self._windows.items()
        }

    async def look(self, entity: str, parts: Sequence[str], at_ms: int) -> EntityView:
        """One entity; `parts` are its key fields' values, or one text of them all joined by `|`.

        Raises InputError for an entity the project does not have or an id that cannot be one of
        its, StoreUnavailable.
        """
        if entity not in self._entities:
            allowed = ", ".join(sorted(self._entities)) or "none: the project has no entities"
            raise InputError(UNKNOWN_ENTITY, "entity", repr(entity), allowed)
        fields = [self._field(name) for name in self._entities[entity].keys]
        values = _values(fields, parts)
        columns: dict[str, NDArray[Any]] = {
            each.name: as_column(each, [value]) for each, value in zip(fields, values, strict=True)
        }
        matrix = np.full((1, len(self._plan.schema.names)), np.nan, np.float32)
        windows = _Windows()
        if (plan := self._windows.get(entity)) is not None:
            windows = await self._read_windows(plan, columns, at_ms, matrix)
        await self._read_static(columns, matrix)
        newest = windows.newest_ms
        return EntityView(
            entity=entity,
            id=dict(zip(self._entities[entity].keys, values, strict=True)),
            at_ms=at_ms,
            known=newest is not None,
            newest_ms=newest,
            age_ms=None if newest is None else at_ms - newest,
            bytes=windows.bytes,
            values={name: _finite(matrix[0, at]) for at, name in self._outputs(entity)},
            state=windows.state,
        )

    async def _read_windows(
        self,
        plan: EntityPlan,
        columns: Mapping[str, NDArray[Any]],
        at_ms: int,
        matrix: NDArray[np.float32],
    ) -> _Windows:
        key = joined_keys(plan.entity.keys, columns)[0] or ""
        partition = self._names.entity_partition(key)
        (blob,) = await self._store.read([self._names.blob(partition, plan.entity.name, key)])
        rows = entity_rows(plan, [blob], np.zeros(1, np.int64))
        times = np.array([at_ms], np.int64)
        finalise(rows.words, rows.slots, times, plan.features, plan.parameters,
                 plan.forget_ms, matrix)  # fmt: skip
        finalise_sketches(plan, rows, times, matrix)
        if blob is None or rows.slots[0] < 0:
            return _Windows()
        state = list(kept_state(plan, rows.words[0], rows.sketches.get(0)))
        return _Windows(int(rows.words.view(np.int64)[0, 0]), len(blob), state)

    def _field(self, name: str) -> Field:
        sources = (self._plan.project.request, *self._plan.events)
        return next(field for each in sources for field in each.columns if field.name == name)

    async def _read_static(
        self, columns: Mapping[str, NDArray[Any]], matrix: NDArray[np.float32]
    ) -> None:
        if not self._static.plans:
            return
        nothing = as_column(Field("", str, True), [None])
        others = {name: nothing for plan in self._static.plans for name in plan.row.by.keys}
        blocks = await self._static.read(self._store, others | dict(columns))
        write_static(self._static.plans, blocks, matrix)

    def _outputs(self, entity: str) -> list[tuple[int, str]]:
        """The places and names of what is read of one entity, in the vector's order."""
        spans: list[tuple[int, int]] = []
        if (plan := self._windows.get(entity)) is not None:
            for row in plan.features.tolist():
                spans.append((row[0], row[4] if row[1] == CODES["last"] else 1))
            for feature in plan.sketch_features:
                spans.append((feature.output, feature.number if feature.kind == "top" else 1))
        spans += [(s.start, s.floats) for s in self._static.plans if s.row.by.name == entity]
        places = {place for start, count in spans for place in range(start, start + count)}
        names = self._plan.schema.names
        return [(place, names[place]) for place in sorted(places)]


def moment(given: str | None, now_ms: int) -> int:
    """A time as people give it, in ms; now for None. Raises InputError."""
    if given is None:
        return now_ms
    if given.isdecimal() and len(given) <= 15:  # the year 33658 is late enough
        return int(given)
    try:
        time = datetime.fromisoformat(given)
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise InputError("wrong_type", "at", repr(given), TIME_ALLOWED)
    return round(time.timestamp() * 1000)


def _values(fields: Sequence[Field], parts: Sequence[str]) -> list[str | float]:
    """The id's parts as values of their fields."""
    if len(parts) == 1 and len(fields) > 1:
        parts = parts[0].split(PART_SEPARATOR)
    names = PART_SEPARATOR.join(field.name for field in fields)
    if len(parts) != len(fields):
        raise InputError("wrong_id", "id", PART_SEPARATOR.join(parts), names)
    return [_value(field, part) for field, part in zip(fields, parts, strict=True)]


def _value(field: Field, part: str) -> str | float:
    if field.type is str:
        return part
    if field.type is bool and part in ("true", "false"):
        return float(part == "true")
    try:
        number = float(part)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        allowed = "true or false" if field.type is bool else "a number"
        raise InputError("wrong_id", field.name, repr(part), allowed)
    return number


def _finite(value: np.float32) -> float | None:
    return float(value) if np.isfinite(value) else None
