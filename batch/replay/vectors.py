"""Vectors of past predictions from the archived events, and why one is not as it was logged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from batch.replay.report import Difference, Features, Problem
from batch.skew_causes import AROUND_MS, Cause, Explainer, Meaning, Served, differs
from batch.training_set import read_known_events
from features.archive.events import Rules, request_columns
from features.archive.point_in_time import Columns, KnownEvents, about, vectors_at
from features.archive.predictions import LoggedPrediction
from features.evolution.differences import define
from features.plan import FeaturePlan
from learners.learner import Vectors
from tidemill.arm_scores import DEFAULT

ROUNDING, STALE = "rounding", "stale"
"""Causes beside those of the skew meter: sums were added in another order; the windows were older
than the request tolerated, and so left out."""

NO_REQUEST = "no_request"

Marks = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """Vectors of predictions, float32 (rows, features), and what is to be said of each.

    `known`: from what was known when it was scored; `settled`: from all that is known by now of the
    time before the request. In rows that are not `usable` both are the logged ones.
    """

    known: Vectors
    settled: Vectors
    usable: Marks
    features: list[Features]


class VectorReplay:
    """Rebuilds vectors of one declaration; holds the events they need in memory."""

    def __init__(self, home: Path, plan: FeaturePlan, rules: Rules) -> None:
        self._home, self._plan, self._rules = home, plan, rules
        self._names = plan.schema.names
        meaning = Meaning.of(plan)
        self._left_out = np.array([name in meaning.timeless for name in self._names], bool)
        self._groups = [self._marked(name in meaning.computed for name in self._names)]
        for entity in plan.entities:
            own = entity.entity.name
            self._groups.append(self._marked(meaning.entity.get(n) == own for n in self._names))
        described = define(plan, 0).features
        self._reads = {name: each.get("reads", "").split() for name, each in described.items()}

    @staticmethod
    def _marked(marks: Iterable[bool]) -> Marks:
        return np.array(list(marks), bool)

    def rebuild(self, predictions: Sequence[LoggedPrediction], logged: Vectors) -> Rebuilt:
        """Rebuild the vectors of these predictions; `logged` are those they were answered with."""
        requests, rows = request_columns(self._plan, [each.request for each in predictions])
        usable = np.zeros(len(predictions), bool)
        usable[rows] = True
        message = "its request was not logged, or lacks a field that is declared"
        missing = Features(problem=Problem(NO_REQUEST, message))
        found = [missing for _ in predictions]
        known, settled = logged.copy(), logged.copy()
        if len(rows):
            scored = np.array([predictions[row].scored_ms for row in rows.tolist()], np.int64)
            cuts = scored - 1  # no event is applied in the ms in which the broker stamped it
            events = self._events(requests, int(scored.max()))
            compared = ~self._left_out
            known[np.ix_(rows, compared)] = vectors_at(self._plan, events, requests, cuts)[
                :, compared
            ]
            settled[np.ix_(rows, compared)] = vectors_at(
                self._plan, events.by_event_time(), requests, requests["time"]
            )[:, compared]
            own = np.ascontiguousarray(logged[rows])
            look = Served(
                requests, cuts, own, np.tile(compared, (len(rows), 1)), np.ones(len(rows), bool)
            )
            by_default = [predictions[row].arm == DEFAULT for row in rows.tolist()]
            said = self._compared(events, look, np.ascontiguousarray(known[rows]), by_default)
            for at, row in enumerate(rows.tolist()):
                found[row] = self._features(own[at], known[row], said[at])
        return Rebuilt(known, settled, usable, found)

    def _events(self, requests: Columns, last_scored_ms: int) -> KnownEvents:
        """Those that can matter, also to a look for what was nearly known."""
        newest = max(last_scored_ms, int(requests["time"].max())) + AROUND_MS
        until = newest + self._rules.skew_ms + 1  # a clock may have been ahead
        events = read_known_events(self._home, self._plan, requests, self._rules, until)
        return about(self._plan, events, requests)

    def _compared(
        self, events: KnownEvents, look: Served, known: Vectors, by_default: Sequence[bool]
    ) -> list[dict[str, str]]:
        """For each row the features whose bytes differ, with the cause."""
        other = (known.view(np.uint32) != look.vectors.view(np.uint32)) & look.comparable
        other &= ~(np.isnan(known) & np.isnan(look.vectors))
        wrong = other & differs(look.vectors, known)
        found: list[dict[str, str]] = [{} for _ in known]
        for group in self._groups:
            marked = wrong & group
            rows = np.flatnonzero(marked.any(axis=1))
            if not len(rows):
                continue
            part = Served(
                look.requests, look.known_until, look.vectors, look.comparable & group, look.own
            )
            explainer = Explainer(self._plan, events, part, self._rules.skew_ms)
            causes: list[str] = [*explainer.explain(rows, marked)]
            for row, cause in zip(rows.tolist(), causes, strict=True):
                if by_default[row] and cause == Cause.EXPIRED:
                    cause = STALE  # the api left the entity out as if it had never been seen
                found[row] |= {self._names[at]: str(cause) for at in np.flatnonzero(marked[row])}
        for row in np.flatnonzero(other.any(axis=1)).tolist():
            places = np.flatnonzero(other[row]).tolist()
            for at in sorted(places, key=lambda place: bool(self._reads[self._names[place]])):
                name = self._names[at]  # what reads others comes behind them
                if name not in found[row]:
                    rounded = not wrong[row, at]
                    found[row][name] = ROUNDING if rounded else self._derived(name, found[row])
        return found

    def _derived(self, name: str, causes: dict[str, str]) -> str:
        """The cause of a feature that reads others: that of the first of them that differs."""
        return next((causes[n] for n in self._reads[name] if n in causes), Cause.CODE_VERSION)

    def _features(self, logged: Vectors, known: Vectors, causes: dict[str, str]) -> Features:
        differences = []
        for at, name in enumerate(self._names):
            if name in causes:
                values = float(logged[at]), float(known[at])
                differences.append(Difference(name, *values, causes[name]))
        return Features(
            equal=not differences,
            compared=int((~self._left_out).sum()),
            differences=differences,
            left_out=[n for n, out in zip(self._names, self._left_out, strict=True) if out],
        )
