"""The skew meter: served vectors beside those the raw log gives now, and why they differ.

Without skew a vector is what all events up to the request's time give. What was served may be
something else: an event came late, an entity was gone, other code computed it. Each difference is
named by its cause.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.skew_causes import Cause, Explainer, Meaning, Served, differs, equals
from batch.training_set import logged_vectors, read_known_events, some
from features.archive.definitions import read_definitions, unchanged
from features.archive.events import Rules, knowledge_until, request_columns
from features.archive.files import read_archive
from features.archive.point_in_time import about, vectors_at
from features.evolution.differences import define
from features.plan import FeaturePlan
from tidemill.arm_scores import DEFAULT
from tidemill.topics import PREDICTIONS

SHOWN = 10
"""Mismatches that a report shows in full."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Which predictions to look at.

    A `share` of them by the hash of their id, with `from_ms` <= time of the request, and scored
    before `settled_ms`: what came later may miss events that are not in the archive yet. Those
    scored before `seen_ms` have been looked at.
    """

    share: float
    from_ms: int | None
    settled_ms: int
    seen_ms: int = 0


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One prediction whose vector is not what the log gives."""

    id: str
    key: str
    time_ms: int
    cause: str
    features: list[str]


@dataclass(frozen=True, slots=True)
class SkewReport:
    """What a look found.

    `checked` = `equal` + `rounding` + `mismatched`; `rounding` differ by one float32 step in some
    feature, which is the order in which sums of several partitions were added. `skipped` cannot be
    compared: no request was logged, no declaration is known for their schema, or features were left
    out because they were older than the caller tolerated.
    """

    sampled: int = 0
    checked: int = 0
    equal: int = 0
    rounding: int = 0
    mismatched: int = 0
    skipped: int = 0
    causes: dict[str, int] = field(default_factory=dict)
    features: dict[str, int] = field(default_factory=dict)
    shown: list[Mismatch] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Mismatched of those checked; 0 without any."""
        return self.mismatched / self.checked if self.checked else 0.0


def measure_skew(home: Path, plan: FeaturePlan, rules: Rules, sample: Sample) -> SkewReport:
    """Recompute a sample of the archive's predictions from its events."""
    table = _sampled(read_archive(home, plan.project.name, PREDICTIONS, sample.from_ms), sample)
    meaning = Meaning.of(plan)
    served, comparable = _served(home, plan, table, meaning)
    kept = np.array([arm != DEFAULT for arm in table["arm"].to_pylist()], np.bool_)
    known = np.flatnonzero(comparable.any(axis=1) & kept)
    requests, usable = request_columns(plan, some(table, known)["request"].to_pylist())
    rows = known[usable]
    if not len(rows):
        return SkewReport(sampled=len(table), skipped=len(table))
    table, own = some(table, rows), plan.schema.hash
    look = Served(
        requests,
        knowledge_until(table),
        served[rows],
        comparable[rows],
        np.array([schema == own for schema in table["schema"].to_pylist()]),
    )
    events = about(plan, read_known_events(home, plan, requests, rules), requests)
    expected = vectors_at(plan, events.by_event_time(), requests, requests["time"])
    inexact = (look.comparable & ~equals(look.vectors, expected)).any(axis=1)
    wrong = look.comparable & differs(look.vectors, expected)
    mismatched = np.flatnonzero(wrong.any(axis=1))
    causes = Explainer(plan, events, look, rules.skew_ms).explain(mismatched, wrong)
    names = plan.schema.names
    return SkewReport(
        sampled=len(served),
        checked=len(rows),
        equal=int((~inexact).sum()),
        rounding=int(inexact.sum()) - len(mismatched),
        mismatched=len(mismatched),
        skipped=len(served) - len(rows),
        causes={cause.value: causes.count(cause) for cause in Cause if cause in causes},
        features={names[at]: int(n) for at, n in enumerate(wrong.sum(axis=0)) if n},
        shown=_shown(some(table, mismatched[:SHOWN]), causes, wrong[mismatched], names),
    )


def _sampled(table: pa.Table, sample: Sample) -> pa.Table:
    limit = sample.share * 2**32
    hashed = np.array([zlib.crc32(id_.encode()) for id_ in table["id"].to_pylist()], np.int64)
    scored = table["scored_ms"].to_numpy()
    chosen = (hashed < limit) & (scored < sample.settled_ms) & (scored >= sample.seen_ms)
    return table.filter(pa.array(chosen))


def _served(
    home: Path, plan: FeaturePlan, table: pa.Table, meaning: Meaning
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The logged vectors in this declaration's order, and which features can be compared."""
    own, names = define(plan, 0), list(plan.schema.names)
    known = read_definitions(home, plan.project.name) | {plan.schema.hash: own}
    vectors = np.full((len(table), len(names)), np.nan, np.float32)
    comparable = np.zeros(vectors.shape, np.bool_)
    schemas = np.array(table["schema"].to_pylist(), object)
    for schema in dict.fromkeys(schemas.tolist()):
        if schema not in known:
            continue
        rows, old = np.flatnonzero(schemas == schema), known[schema]
        before = {name: place for place, name in enumerate(old.features)}
        logged = logged_vectors(some(table, rows)["vector"], len(before))
        same = [name for name in unchanged(old, own) if name not in meaning.timeless]
        places = np.array([names.index(name) for name in same], np.int64)
        vectors[rows[:, None], places] = logged[:, [before[name] for name in same]]
        comparable[rows[:, None], places] = True
    return vectors, comparable


def _shown(
    table: pa.Table, causes: list[Cause], wrong: NDArray[np.bool_], names: tuple[str, ...]
) -> list[Mismatch]:
    rows: list[dict[str, Any]] = table.select(["id", "key", "time"]).to_pylist()
    return [
        Mismatch(row["id"], row["key"], row["time"], cause.value,
                 [names[at] for at in np.flatnonzero(marked)])
        for row, cause, marked in zip(rows, causes, wrong, strict=False)
    ]  # fmt: skip
