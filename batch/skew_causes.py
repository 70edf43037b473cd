"""Why a served vector is not what the log gives: what was known, what was gone, what was other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from features.archive.point_in_time import Columns, KnownEvents, take, vectors_at
from features.columns import entity_keys
from features.evolution.differences import define
from features.plan import EntityPlan, FeaturePlan
from features.replay import Replayer

EXAMINED = 300
"""Predictions whose events are tried out one by one; of more, the others stay unexplained."""
TRIED, AROUND_MS = 200, 60_000
"""Events tried out for one entity, and how near to the scoring they became known."""


class Cause(StrEnum):
    """Why a vector differs from what all events up to its time give now."""

    LATE = "late"  # an event came, or was applied, after the scoring
    OUT_OF_ORDER = "out_of_order"  # events after the request's time, or their order, changed it
    EXPIRED = "expired"  # the store had nothing of an entity: expired, evicted, or not answering
    CODE_VERSION = "code_version"  # another version of the code or the declaration computed it
    CLOCK = "clock"  # clocks disagree: an event from the future of the broker or of the api
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a plan's features are about.

    `entity` gives the entity's name for features of windows and label rates, `computed` are those
    of the request alone, `timeless` those that the log does not determine.
    """

    entity: dict[str, str]
    computed: frozenset[str]
    timeless: frozenset[str]

    @classmethod
    def of(cls, plan: FeaturePlan) -> Meaning:
        """The meaning of a plan's features."""
        entity: dict[str, str] = {}
        computed: set[str] = set()
        timeless: set[str] = set()
        for name, attributes in define(plan, 0).features.items():
            kind = attributes["kind"]
            if kind in ("window", "label rate"):
                entity[name] = attributes["by"].split(" ")[0]
            elif kind == "request":
                computed.add(name)
            elif kind == "static" or not timeless.isdisjoint(attributes["reads"].split()):
                timeless.add(name)
        return cls(entity, frozenset(computed), frozenset(timeless))


@dataclass(frozen=True, slots=True)
class Served:
    """Predictions to explain; every array has one row for each.

    requests: their columns; known_until (rows,): the last ms before the scoring; vectors float32
    (rows, features); comparable bool (rows, features); own bool (rows,): logged for the declaration
    we look with.
    """

    requests: Columns
    known_until: NDArray[np.int64]
    vectors: NDArray[np.float32]
    comparable: NDArray[np.bool_]
    own: NDArray[np.bool_]


def equals(served: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where two vectors are the same number; NaN is equal to NaN."""
    same: NDArray[np.bool_] = (served == expected) | (np.isnan(served) & np.isnan(expected))
    return same


def differs(served: NDArray[np.float32], expected: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where two vectors differ by more than one float32 step."""
    steps = served.view(np.int32).astype(np.int64) - expected.view(np.int32)
    wrong: NDArray[np.bool_] = ~equals(served, expected) & (np.abs(steps) > 1)
    return wrong


class Explainer:
    """Finds the cause of each mismatch by recomputing the vector under that cause."""

    def __init__(
        self, plan: FeaturePlan, events: KnownEvents, served: Served, skew_ms: int
    ) -> None:
        self._plan, self._events, self._served = plan, events, served
        self._skew_ms = skew_ms
        meaning, names = Meaning.of(plan), plan.schema.names
        self._columns = {
            e.entity.name: np.array(
                [at for at, n in enumerate(names) if meaning.entity.get(n) == e.entity.name],
                np.int64,
            )
            for e in plan.entities
        }
        self._computed = np.array([name in meaning.computed for name in names])
        self._examined = 0

    def explain(self, rows: NDArray[np.int64], wrong: NDArray[np.bool_]) -> list[Cause]:
        """One cause for each of the served rows; `wrong` says which features differ."""
        if not len(rows):
            return []
        requests, served = take(self._served.requests, rows), self._served
        known = vectors_at(self._plan, self._events, requests, served.known_until[rows])
        empty = Replayer(self._plan).vectors(requests)
        other = served.comparable[rows] & differs(served.vectors[rows], known)
        gone = differs(served.vectors[rows], empty)
        index = _Index(self._plan, self._events, requests)
        found = []
        for at, row in enumerate(rows.tolist()):
            if wrong[row, self._computed].any():
                found.append(Cause.CODE_VERSION)
            elif not other[at].any():
                found.append(self._by_knowledge(row, wrong[row], index, at))
            else:
                found.append(self._by_state(row, other[at], gone[at], index, at))
        return found

    def _by_knowledge(self, row: int, wrong: NDArray[np.bool_], index: _Index, at: int) -> Cause:
        """The vector is what was known when it was made: what else is known by now?"""
        now, cut = self._served.requests["time"][row], self._served.known_until[row]
        ahead = False
        for entity in self._concerned(wrong):
            for stream in index.of(entity, at):
                end = int(np.searchsorted(stream.known_ms, cut, "right"))
                if end < len(stream.places) and stream.earliest_from[end] <= now:
                    return Cause.LATE
                ahead |= bool(end and stream.ahead_until[end - 1] > now)
        return Cause.CLOCK if ahead else Cause.OUT_OF_ORDER

    def _concerned(self, marked: NDArray[np.bool_]) -> list[EntityPlan]:
        """The entities whose features are marked."""
        columns = self._columns
        return [e for e in self._plan.entities if marked[columns[e.entity.name]].any()]

    def _by_state(  # noqa: PLR0913 - one row of everything
        self, row: int, other: NDArray[np.bool_], gone: NDArray[np.bool_], index: _Index, at: int
    ) -> Cause:
        """The vector is not even what was known then: which state of which entity was read?"""
        causes = set()
        for entity in self._concerned(other):
            columns = self._columns[entity.entity.name]
            columns = columns[self._served.comparable[row, columns]]
            if not gone[columns].any():
                causes.add(Cause.EXPIRED)
            else:
                causes.add(self._try_out(row, columns, index.of(entity, at)))
        if causes and Cause.UNEXPLAINED not in causes:
            return next(c for c in (Cause.EXPIRED, Cause.CLOCK, Cause.LATE) if c in causes)
        return self._otherwise(row)

    def _otherwise(self, row: int) -> Cause:
        if not self._served.own[row]:
            return Cause.CODE_VERSION
        ahead = self._served.requests["time"][row] - self._served.known_until[row]
        return Cause.CLOCK if ahead > self._skew_ms else Cause.UNEXPLAINED

    def _try_out(self, row: int, columns: NDArray[np.int64], streams: list[_Stream]) -> Cause:
        """Apply the entity's events one by one until its features are those that were served."""
        self._examined += 1
        if self._examined > EXAMINED:
            return Cause.UNEXPLAINED
        cut = int(self._served.known_until[row])
        replayer, request = Replayer(self._plan), take(self._served.requests, slice(row, row + 1))
        tried = []
        for kind, stream in enumerate(streams):
            first, last = np.searchsorted(stream.known_ms, (cut - AROUND_MS, cut + AROUND_MS))
            self._apply(replayer, kind, stream.places[:first])
            tried += [(int(stream.known_ms[at]), kind, at) for at in range(int(first), int(last))]
        for known, kind, at in [(cut, -1, 0), *sorted(tried)[:TRIED]]:
            if kind >= 0:
                self._apply(replayer, kind, streams[kind].places[at : at + 1])
            vector = replayer.vectors(request)[0, columns]
            if not differs(self._served.vectors[row, columns], vector).any():
                return Cause.CLOCK if known > cut else Cause.LATE
        return Cause.UNEXPLAINED

    def _apply(self, replayer: Replayer, kind: int, places: NDArray[np.int64]) -> None:
        if len(places):
            columns = take(self._events.columns[kind], places)
            replayer.apply(self._plan.events[kind].name, columns)


@dataclass(frozen=True, slots=True)
class _Stream:
    """One kind's events of one entity in the order they became known; each array (events,).

    earliest_from: the earliest event time from here on; ahead_until: the latest up to here of those
    whose time is after the moment at which they became known, else 0.
    """

    places: NDArray[np.int64]
    known_ms: NDArray[np.int64]
    earliest_from: NDArray[np.int64]
    ahead_until: NDArray[np.int64]

    @classmethod
    def of(
        cls, places: NDArray[np.int64], times: NDArray[np.int64], known: NDArray[np.int64]
    ) -> _Stream:
        """From the events' places, times and known times."""
        earliest = np.minimum.accumulate(times[::-1])[::-1]
        ahead = np.maximum.accumulate(np.where(times > known, times, 0))
        return cls(places, known, earliest, ahead)


class _Index:
    """Which events concern which of some requests, by the keys of their entities."""

    def __init__(self, plan: FeaturePlan, events: KnownEvents, requests: Columns) -> None:
        self._events = events
        self._keys = [entity_keys(entity, requests) for entity in plan.entities]
        self._places: dict[tuple[int, int], dict[str | None, list[int]]] = {}
        self._streams: dict[tuple[int, str | None], list[_Stream]] = {}
        for entity, wanted in zip(plan.entities, self._keys, strict=True):
            keys = set(wanted)
            for group in entity.groups:
                found: dict[str | None, list[int]] = {}
                columns = events.columns[group.event_index]
                for place, key in enumerate(entity_keys(entity, columns)):
                    if key is not None and key in keys:
                        found.setdefault(key, []).append(place)
                self._places[entity.index, group.event_index] = found

    def of(self, entity: EntityPlan, at: int) -> list[_Stream]:
        """The events of one of a request's entities, by kind."""
        key = self._keys[entity.index][at]
        name = (entity.index, key)
        if name not in self._streams:
            self._streams[name] = [
                self._stream(kind, self._places.get((entity.index, kind), {}).get(key, []))
                for kind in range(len(self._events.columns))
            ]
        return self._streams[name]

    def _stream(self, kind: int, found: list[int]) -> _Stream:
        places, events = np.array(found, np.int64), self._events
        return _Stream.of(
            places, events.columns[kind]["time"][places], events.known_ms[kind][places]
        )
