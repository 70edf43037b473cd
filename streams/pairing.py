"""Decides what becomes of predictions and labels: the same records in the same order, the same end.

Writes nothing itself. What it decides follows from the table, the records and their order alone, so
a replay decides alike however it is cut.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Literal

import msgspec

from streams.label_policy import (
    Gathered,
    LateShare,
    corrected,
    ends_at_first,
    importance,
    keeps_negative,
)
from streams.pending import Done, Early, Entry, KeptLabel, Outcome, PendingTable, Waiting
from tidemill.bus import Message
from tidemill.errors import InputError
from tidemill.label import CORRECTION, LABEL, MISSING, Label
from tidemill.wire import Example, Prediction

MOST_KEPT = 16
"""Labels of one prediction that are kept one by one, before it came or after its wait."""

_Cause = Literal["second_label", "late_label", "unknown_prediction", "too_many_labels"]
_COUNTERS = {LABEL: "joined", MISSING: "missing", CORRECTION: "corrected"}


@dataclass
class Results:
    """What one micro-batch brings about."""

    examples: list[Example] = field(default_factory=list)
    refused: list[tuple[Message, InputError]] = field(default_factory=list)
    labels: list[tuple[Message, InputError]] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)

    def count(self, name: str) -> None:
        """One more of what the fence counts under this name."""
        self.counters[name] = self.counters.get(name, 0) + 1


class Pairing:
    """One micro-batch of one partition; `sequence` is that of the newest example before it."""

    def __init__(
        self, label: Label, table: PendingTable, late: LateShare, partition: int, sequence: int
    ) -> None:
        self.results = Results()
        self._declared, self._table, self._late = label, table, late
        self._wait_ms, self._several = label.wait_ms, label.several
        self._corrections_ms = label.corrections_ms
        self._keep_ms = max(self._wait_ms, self._corrections_ms)
        self._partition, self._sequences = partition, count(sequence + 1)
        self._now_ms = 0  # the stamp of the record in hand

    def prediction(self, prediction: Prediction, stamp_ms: int) -> None:
        """A prediction that was read; moves stream time on."""
        table, results = self._table, self.results
        self._now_ms = stamp_ms
        results.count("predictions")
        table.stream_time = max(table.stream_time, prediction.time)
        self._expire()
        entry = table.get(prediction.key)
        if isinstance(entry, (Waiting, Done)):
            results.count("repeated_predictions")
        if isinstance(entry, Done):
            return
        waiting = Waiting(prediction, prediction.time + self._wait_ms)
        labels: tuple[KeptLabel, ...] = ()
        if isinstance(entry, Early):
            labels = entry.labels
        elif isinstance(entry, Waiting):  # the newest counts, with the labels of those before
            waiting = msgspec.structs.replace(waiting, gathered=entry.gathered)
            labels = entry.later
        table.put(prediction.key, waiting)
        self._judge_all(labels)
        self._expire()
        self._evict()

    def label(self, label: KeptLabel) -> None:
        """A label that was read."""
        self._now_ms = label.timestamp
        self.results.count("labels")
        self._judge(label)
        self._expire()
        self._evict()

    def _judge_all(self, labels: tuple[KeptLabel, ...]) -> None:
        for label in labels:
            self._judge(label)

    def _judge(self, label: KeptLabel) -> None:
        entry = self._table.get(label.label.key)
        if entry is None or isinstance(entry, Early):
            self._early(entry, label)
        elif isinstance(entry, Waiting):
            self._in_time(entry, label)
        else:
            self._correct(entry, label)

    def _early(self, entry: Early | None, label: KeptLabel) -> None:
        """Keep it until its prediction comes."""
        kept, expires = entry.labels if entry else (), label.label.time + self._wait_ms
        if kept and ends_at_first(self._declared):
            return self._refuse("second_label", label)
        if len(kept) >= MOST_KEPT:
            return self._refuse("too_many_labels", label)
        expires = max(expires, entry.expires) if entry else expires
        self._table.put(label.label.key, Early((*kept, label), expires))

    def _in_time(self, entry: Waiting, label: KeptLabel) -> None:
        """Use it, gather it, or keep it when its time lies after the wait."""
        if label.label.time > entry.expires:
            self._keep_for_later(entry, label)
        elif self._several == "first":
            self._close(label.label.key, entry, gathered(label))
        else:
            both = entry.gathered.plus(gathered(label)) if entry.gathered else gathered(label)
            self._table.put(label.label.key, msgspec.structs.replace(entry, gathered=both))

    def _keep_for_later(self, entry: Waiting, label: KeptLabel) -> None:
        if label.label.time > entry.expires + self._corrections_ms:
            return self._refuse("late_label", label)
        if len(entry.later) >= MOST_KEPT:
            return self._refuse("too_many_labels", label)
        more = msgspec.structs.replace(entry, later=(*entry.later, label))
        self._table.put(label.label.key, more)

    def _correct(self, entry: Done, label: KeptLabel) -> None:
        """Another example when it says something else than the one that was made."""
        prediction = entry.prediction
        too_late = label.label.time > entry.waited_until + self._corrections_ms
        if prediction is None or not self._corrections_ms or too_late:
            cause: _Cause = "second_label" if entry.outcome == "joined" else "late_label"
            return self._refuse(cause, label)
        known = corrected(self._several, entry.gathered, gathered(label))
        value = known.value(self._several)
        if value == entry.value:
            self.results.count("repeated_labels")
        else:
            fake = entry.outcome == "missing" and value == 1
            self._emit(prediction, known, CORRECTION, fake=fake)
        outcome: Outcome = entry.outcome if value == entry.value else "joined"
        self._table.put(
            prediction.key,
            msgspec.structs.replace(entry, outcome=outcome, value=value, gathered=known),
        )

    def _close(self, key: str, entry: Waiting, known: Gathered | None) -> None:
        """The wait is over: an example of what is known, else of what missing labels count as."""
        outcome: Outcome = "joined" if known else "expired"
        value = known.value(self._several) if known else self._declared.missing
        if known is not None:
            self._emit(entry.prediction, known, LABEL)
        elif value is not None:
            outcome = "missing"
            ended = min(entry.expires, self._table.stream_time)
            implied = Gathered(1, value, value, value, ended, self._now_ms, "")
            self._emit(entry.prediction, implied, MISSING)
        else:
            self.results.count("expired")
        done = Done(outcome, entry.expires + self._keep_ms)
        if self._corrections_ms:
            ended, used = entry.expires, entry.prediction
            done = Done(outcome, done.expires, used, ended, value, known)
        self._table.put(key, done)
        self._judge_all(entry.later)

    def _emit(
        self, prediction: Prediction, known: Gathered, kind: str, *, fake: bool = False
    ) -> None:
        """An example, unless it is one of the negatives that are left out."""
        declared, value, sampled = self._declared, known.value(self._several), 1.0
        if declared.keep_negatives < 1 and value == 0 and kind != CORRECTION:
            if not keeps_negative(prediction.id, declared.keep_negatives):
                return self.results.count("dropped_negatives")
            sampled = 1 / declared.keep_negatives
        weight = sampled
        if declared.fake_negatives:
            weight *= importance(prediction.score, self._late.share, kind)
            if value == 1 and (fake or kind == LABEL):
                self._late.add(late=fake)
        self.results.count(_COUNTERS[kind])
        self.results.examples.append(
            Example(
                prediction, value, known.time, known.produced_ms, self._partition,
                next(self._sequences), weight, kind, known.producer, sampled,
            )
        )  # fmt: skip

    def _expire(self) -> None:
        while found := self._table.pop_expired():
            self._end(*found)

    def _evict(self) -> None:
        """As if their waits were over: what lies beyond the limit, and leaves nothing behind."""
        while found := self._table.pop_beyond():
            self.results.count("evicted")
            self._end(*found)
            self._table.remove(found[0])

    def _end(self, key: str, entry: Entry) -> None:
        if isinstance(entry, Waiting):
            self._close(key, entry, entry.gathered)
        elif isinstance(entry, Early):
            for label in entry.labels:
                self._refuse("unknown_prediction", label)

    def _refuse(self, cause: _Cause, label: KeptLabel) -> None:
        """A dead letter."""
        event = label.label
        field_, found, allowed = {
            "second_label": ("key", event.key, "one label for a prediction"),
            "late_label": ("time", str(event.time), f"within the declared wait of {event.key}"),
            "unknown_prediction": ("key", event.key, "the key of a prediction"),
            "too_many_labels": ("key", event.key, f"{MOST_KEPT} before the prediction or late"),
        }[cause]
        self.results.labels.append((label, InputError(cause, field_, found, allowed)))


def gathered(label: KeptLabel) -> Gathered:
    """One label as the sum of one."""
    event = label.label
    return Gathered(
        1, event.value, event.value, event.value, event.time, label.timestamp, event.producer
    )
