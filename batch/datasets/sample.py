"""Which rows before the holdout stay, how often, and what they weigh; the holdout as it happened.

What is drawn depends on a row's id and the rule's seed alone: not on the order of rows, nor on
which others there are, but for those it is matched with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from batch.datasets.buckets import RECORD, Buckets, bucket_count
from batch.datasets.hashing import hash_strings, mixed, share_of
from batch.datasets.parts import Rows
from batch.datasets.taken import ENTITY, judged_columns
from features.plan import FeaturePlan
from tidemill.dataset_rule import DatasetRule
from tidemill.expressions import truth

_EVERY = np.uint64(2**64 - 1)


@dataclass(frozen=True, slots=True)
class Cut:
    """Where rows are cut in time (ms).

    Trained on are rows whose label came before `train_until_ms`; held out are requests from
    `start_ms` on; the others are the gap. The newest request lies just before `end_ms`.
    """

    train_until_ms: int
    start_ms: int
    end_ms: int

    def trained_on(self, facts: pa.Table) -> NDArray[np.bool_]:
        """Which rows may be trained on before the gate."""
        found: NDArray[np.bool_] = facts["label_time"].to_numpy() < self.train_until_ms
        return found

    def held_out(self, facts: pa.Table) -> NDArray[np.bool_]:
        """Which rows the gate may judge on."""
        times, label_times = (facts[name].to_numpy() for name in ("time", "label_time"))
        found: NDArray[np.bool_] = (times >= self.start_ms) & (label_times >= self.start_ms)
        return found


@dataclass(frozen=True, slots=True)
class Matched:
    """The entities that have a positive, in order, and up to which hash their negatives stay.

    `factor` makes the negatives that stay weigh as much as all of them.
    """

    entities: NDArray[np.uint64]
    limits: NDArray[np.uint64]
    factor: float

    def stay(self, entities: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which negatives of these entities, with these hashes, are kept."""
        if not len(self.entities):
            return np.zeros(len(entities), np.bool_)
        at = np.minimum(np.searchsorted(self.entities, entities), len(self.entities) - 1)
        found: NDArray[np.bool_] = (self.entities[at] == entities) & (hashes <= self.limits[at])
        return found


class Sampler:
    """Applies a rule's match, shares and weights to rows."""

    def __init__(
        self, plan: FeaturePlan, rule: DatasetRule, cut: Cut, matched: Sequence[Matched] = ()
    ) -> None:
        """`matched`: what `match` found, where the rule has one."""
        self._plan, self._rule, self._cut, self._matched = plan, rule, cut, matched

    def drawn(self, rows: Rows) -> Rows:
        """The rows that stay, copies beside each other, with their weights."""
        if not self._rule.samples and self._rule.bad_cases == 1:
            return rows
        held = self._cut.held_out(rows.facts)
        copies = np.ones(len(rows), np.int64)
        weights = rows.column("weight").copy()
        hashes = row_hashes(rows.facts, self._rule.seed)
        trained = self._cut.trained_on(rows.facts)
        for part, matched in zip((trained, ~trained), self._matched, strict=False):
            negative = part & (rows.column("label") == 0)
            copies[negative] = matched.stay(rows.column(ENTITY)[negative], hashes[negative])
            weights[negative] *= matched.factor
        for each in self._rule.shares:
            of_label = rows.column("label") == each.label
            # Another hash than the match's: what it kept has low ones.
            draw = share_of(mixed(hashes[of_label], np.uint64(1)))
            copies[of_label] *= int(each.share) + (draw < each.share % 1)
            weights[of_label] /= each.share
        if self._rule.bad_cases != 1:
            weights[self._bad(rows)] *= self._rule.bad_cases
        copies[held], weights[held] = 1, rows.column("weight")[held]
        facts = rows.facts.set_column(
            rows.facts.column_names.index("weight"), "weight", pa.array(weights)
        )
        return Rows(facts, rows.vectors).take(np.repeat(np.arange(len(rows)), copies))

    def _bad(self, rows: Rows) -> NDArray[np.bool_]:
        bad = np.zeros(len(rows), np.bool_)
        columns = judged_columns(self._plan, rows)
        for rule in self._plan.project.bad_cases:
            bad |= truth(rule.when.evaluate(columns, len(rows)))
        return bad


def match(
    rule: DatasetRule, facts: Iterable[pa.Table], rows: int, cut: Cut, scratch: Path
) -> tuple[Matched, Matched]:
    """Find which negatives stay, one bucket in memory: of what is trained on, and of the gap.

    Each part by itself: a label that came after the cut has no say in what is trained on before
    the gate. Raises OSError.
    """
    assert rule.match is not None
    count, weights = bucket_count(rows), [0.0, 0.0]
    parts = [Buckets(scratch / name, count) for name in ("trained on", "gap")]
    for table in facts:
        trained = cut.trained_on(table)
        for part, chosen in enumerate((trained, ~(trained | cut.held_out(table)))):
            records, weight = _records(table.filter(pa.array(chosen)), rule.seed)
            parts[part].add(records)
            weights[part] += weight
    one, other = (
        _matched(each, weight, rule.match.negatives)
        for each, weight in zip(parts, weights, strict=True)
    )
    return one, other


def _records(facts: pa.Table, seed: int) -> tuple[NDArray[np.void], float]:
    """Entity, hash, class and weight of each row, and what the negatives weigh together."""
    records = np.empty(len(facts), RECORD)
    records["key"], records["other"] = facts[ENTITY].to_numpy(), row_hashes(facts, seed)
    # The weight in the place of an offset, its sign the class.
    positive, weights = facts["label"].to_numpy() != 0, facts["weight"].to_numpy()
    records["offset"] = np.where(positive, -weights, weights).view(np.int64)
    return records, float(weights[~positive].sum())


def _matched(buckets: Buckets, weight: float, ratio: float) -> Matched:
    found = [_limits(records, ratio) for records in buckets]
    nothing = np.empty(0, np.uint64)
    entities, limits = (
        np.concatenate([nothing, *(each[place] for each in found)]) for place in (0, 1)
    )
    stays = sum(each[2] for each in found)
    order = np.argsort(entities)
    return Matched(entities[order], limits[order], weight / stays if stays else 1.0)


def _limits(
    records: NDArray[np.void], ratio: float
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], float]:
    """The entities with a positive, the highest hash of a negative that stays, and its weights."""
    weights = np.ascontiguousarray(records["offset"]).view(np.float64)
    positive = np.signbit(weights)
    entities, positives = np.unique(records["key"][positive], return_counts=True)
    negatives = records[~positive]
    order = np.lexsort((negatives["other"], negatives["key"]))
    keys, hashes = negatives["key"][order], negatives["other"][order]
    first, last = (np.searchsorted(keys, entities, side) for side in ("left", "right"))
    wanted = first + np.ceil(positives * ratio).astype(np.int64)
    limits = np.full(len(entities), _EVERY)
    fewer = wanted < last
    limits[fewer] = hashes[wanted[fewer] - 1]
    of = Matched(entities, limits, 1.0).stay(keys, hashes)
    return entities, limits, float(weights[~positive][order][of].sum())


def row_hashes(facts: pa.Table, seed: int) -> NDArray[np.uint64]:
    """A hash of each row's prediction, or of its key and time where that has no name."""
    named = hash_strings(facts["prediction_id"], seed)
    empty = hash_strings(pa.chunked_array([pa.array([""])]), seed)[0]
    nameless = np.flatnonzero(named == empty)
    if len(nameless):
        keys = facts.select(["key", "time"]).take(pa.array(nameless))
        times = keys["time"].to_numpy().view(np.uint64)
        named[nameless] = mixed(hash_strings(keys["key"], seed), times)
    return named
