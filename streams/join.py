"""Predictions + labels → examples, each exactly once: results go through a fenced outbox.

A micro-batch first commits its examples to the outbox together with the offsets and the pending
table, then writes them to the topic. After a crash the outbox is written again; learners know by
partition and sequence what they had.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from features.decoding import decode_label
from streams.bad_cases import BadCaseRules
from streams.context import Context
from streams.dead_letters import DeadLetterBox
from streams.fencing import Ownership
from streams.pending import Done, Early, Entry, PendingTable, Waiting
from streams.step import Records
from tidemill.bus import Message
from tidemill.errors import InputError
from tidemill.topics import BADCASES, EXAMPLES, LABELS, PREDICTIONS
from tidemill.wire import Example, LabelEvent, Prediction, decode

SEQUENCE, OUTBOX, STREAM_TIME = "sequence", "outbox:", "stream_time"


@dataclass
class _Partition:
    """What is in memory of one partition."""

    number: int
    owned: Ownership
    pending: PendingTable
    outbox: list[Example]  # committed with the last batch; leaves the store with the next
    sent: bool = False


@dataclass
class _Results:
    """What one micro-batch brings about."""

    examples: list[Example] = field(default_factory=list)
    refused: list[tuple[Message, InputError]] = field(default_factory=list)
    labels: list[tuple[Message, InputError]] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)

    def count(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1


class Join:
    """Waits for labels, up to the declared time of the stream's own clock."""

    name = "join"
    kinds = (PREDICTIONS, LABELS)

    def __init__(self, context: Context, dead_letters: DeadLetterBox, skew_ms: int) -> None:
        self._names, self._store, self._producer = context.names, context.store, context.producer
        self._measurements, self._clock = context.measurements, context.clock
        self._dead_letters, self._skew_ms = dead_letters, skew_ms
        self._rules = BadCaseRules(context.plan)
        self._wait_ms = context.plan.project.label.wait_ms
        self._owned: dict[int, Ownership] = {}
        self._partitions: dict[int, _Partition] = {}

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Load the pending table and write out what the outbox still holds."""
        if claim or partition not in self._owned:
            self._owned[partition] = Ownership(self._store, self._names, self.name, partition)
        owned = self._owned[partition]
        await owned.open(claim)
        stored = await self._store.side(owned.side)
        outbox = sorted(
            (decode(Example, v) for k, v in stored.items() if k.startswith(OUTBOX)),
            key=lambda example: example.sequence,
        )
        table = PendingTable(stored, owned.get(STREAM_TIME))
        self._partitions[partition] = _Partition(partition, owned, table, outbox)
        return {kind: owned.offset(kind) for kind in self.kinds}

    async def process(self, partition: int, records: Records) -> None:
        """One micro-batch: pair, commit with the outbox, then write examples and bad cases."""
        state = self._partitions[partition]
        fresh = {kind: state.owned.unseen(kind, messages) for kind, messages in records.items()}
        await self._send_outbox(state)
        results = self._pair(state, fresh.get(PREDICTIONS, ()), fresh.get(LABELS, ()))
        await self._refuse(partition, results)
        offsets = {kind: messages[-1].offset + 1 for kind, messages in fresh.items() if messages}
        await self._commit(state, offsets, results)
        await self._send_outbox(state)
        self._measurements.count("tidemill_labels_joined_total", len(results.examples))

    def forget(self, partition: int) -> None:
        """Drop the pending table of a partition."""
        self._partitions.pop(partition, None)

    async def tick(self) -> None:
        """Write what a crash left in the outbox, also when no new record comes."""
        for state in self._partitions.values():
            await self._send_outbox(state)

    async def close(self) -> None:
        """Nothing waits: the outbox was written with its batch."""

    async def _commit(
        self, state: _Partition, offsets: Mapping[str, int], results: _Results
    ) -> None:
        """The new examples enter the outbox, those that were written leave it."""
        sent = [f"{OUTBOX}{example.sequence}" for example in state.outbox]
        to_set, to_delete = state.pending.changes()
        outbox = {f"{OUTBOX}{e.sequence}": e.encode() for e in results.examples}
        await state.owned.commit(
            offsets,
            fields={STREAM_TIME: state.pending.stream_time},
            counters=results.counters | {SEQUENCE: len(results.examples)},
            side_set=to_set | outbox,
            side_delete=to_delete + sent,
        )
        state.pending.saved()
        state.outbox, state.sent = results.examples, not results.examples

    async def _send_outbox(self, state: _Partition) -> None:
        """Write what the outbox holds, once; a failure leaves it for the next try."""
        if state.sent:
            return
        records = [(None, example.encode()) for example in state.outbox]
        await self._producer.send_many(EXAMPLES, records, 0)
        found = self._rules.judge(state.outbox, self._clock.now_ms())
        await self._producer.send_many(
            BADCASES, [(case.prediction.key.encode(), case.encode()) for case in found], 0
        )
        for case in found:
            self._measurements.count("tidemill_bad_cases_total", reason=case.reason)
        state.sent = True

    def _pair(
        self, state: _Partition, predictions: Iterable[Message], labels: Iterable[Message]
    ) -> _Results:
        """Predictions first, so that a label finds one that came with it."""
        results = _Results()
        for message in predictions:
            self._prediction(state, message, results)
        for message in labels:
            self._label(state, message, results)
        self._expire(state, results)
        return results

    def _prediction(self, state: _Partition, message: Message, results: _Results) -> None:
        try:
            prediction: Prediction = decode(Prediction, message.value or b"")
        except msgspec.DecodeError as error:
            refusal = InputError("malformed", "prediction", str(error), "a Prediction record")
            results.refused.append((message, refusal))
            return
        results.count("predictions")
        state.pending.stream_time = max(state.pending.stream_time, prediction.time)
        entry = state.pending.get(prediction.key)
        if isinstance(entry, (Waiting, Done)):
            results.count("repeated_predictions")
        if isinstance(entry, Done):
            return
        expires = prediction.time + self._wait_ms
        if isinstance(entry, Early):
            if entry.label.time <= expires:
                self._join(state, prediction, entry.label, entry.produced_ms, results)
                return
            # Late whichever of the two is read first: the prediction goes on waiting.
            results.labels.append((_Kept(entry), _refused_label(None, entry.label)))
        state.pending.put(prediction.key, Waiting(prediction, expires))

    def _label(self, state: _Partition, message: Message, results: _Results) -> None:
        try:
            label = decode_label(message.value or b"", self._clock.now_ms() + self._skew_ms)
            results.count("labels")
            entry = state.pending.get(label.key)
            if entry is None:
                expires = label.time + self._wait_ms
                early = Early(label, message.offset, message.timestamp, expires)
                state.pending.put(label.key, early)
            elif isinstance(entry, Waiting) and label.time <= entry.expires:
                self._join(state, entry.prediction, label, message.timestamp, results)
            else:
                raise _refused_label(entry, label)
        except InputError as error:
            results.labels.append((message, error))

    def _join(
        self,
        state: _Partition,
        prediction: Prediction,
        label: LabelEvent,
        produced_ms: int,
        results: _Results,
    ) -> None:
        sequence = state.owned.get(SEQUENCE) + len(results.examples) + 1
        results.examples.append(
            Example(prediction, label.value, label.time, produced_ms, state.number, sequence)
        )
        results.count("joined")
        state.pending.put(label.key, Done("joined", prediction.time + 2 * self._wait_ms))

    def _expire(self, state: _Partition, results: _Results) -> None:
        for key, entry in state.pending.pop_expired():
            if isinstance(entry, Waiting):
                results.count("expired")
                state.pending.put(key, Done("expired", entry.expires + self._wait_ms))
            elif isinstance(entry, Early):
                error = InputError("unknown_prediction", "key", key, "the key of a prediction")
                results.labels.append((_Kept(entry), error))

    async def _refuse(self, partition: int, results: _Results) -> None:
        if results.counters:
            self._dead_letters.good()
        for kind, refused in ((PREDICTIONS, results.refused), (LABELS, results.labels)):
            await self._dead_letters.send(self._names.topic(kind), partition, refused)
        for _, error in results.labels:
            results.count(f"refused_{error.cause}")
            self._measurements.count("tidemill_labels_refused_total", cause=error.cause)


class _Kept:
    """An early label as the record it was read from."""

    def __init__(self, early: Early) -> None:
        self.offset, self.timestamp = early.offset, early.produced_ms
        self.key: bytes | None = early.label.key.encode()
        self.value: bytes | None = msgspec.json.encode(early.label)


def _refused_label(entry: Entry | None, label: LabelEvent) -> InputError:
    """Why a label cannot be joined."""
    if isinstance(entry, Early) or (isinstance(entry, Done) and entry.outcome == "joined"):
        return InputError("second_label", "key", label.key, "one label for a prediction")
    allowed = f"within the declared wait of {label.key}"
    return InputError("late_label", "time", str(label.time), allowed)
