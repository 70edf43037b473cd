"""Predictions + labels → examples, each exactly once: results go through a fenced outbox.

A micro-batch first commits its examples to the outbox together with the offsets and the pending
table, then writes them to the topic. After a crash the outbox is written again; learners know by
partition and sequence what they had. What is paired with what says `streams/pairing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from features.decoding import decode_label
from streams.alignment import in_order
from streams.bad_cases import BadCaseRules
from streams.context import Context
from streams.dead_letters import DeadLetterBox
from streams.fencing import Ownership
from streams.label_policy import LateShare
from streams.pairing import Pairing, Results
from streams.pending import KeptLabel, PendingTable
from streams.step import Records
from tidemill.bus import Message
from tidemill.errors import InputError
from tidemill.topics import BADCASES, EXAMPLES, LABELS, PREDICTIONS
from tidemill.wire import Example, Prediction, decode

SEQUENCE, OUTBOX, STREAM_TIME = "sequence", "outbox:", "stream_time"
POSITIVES, LATE_POSITIVES = "positives_weight", "late_positives_weight"
REFUSED = "refused_"
OUTCOMES = {
    "joined": "joined",
    "missing": "missing",
    "expired": "expired",
    "evicted": "evicted",
    "corrected": "corrected",
    "repeated_labels": "repeated",
    "dropped_negatives": "dropped_negatives",
    f"{REFUSED}late_label": "late",
    f"{REFUSED}second_label": "second",
    f"{REFUSED}unknown_prediction": "dangling",
}
"""What the fence counts of the join's outcomes, and what metrics and console call it."""


@dataclass
class _Partition:
    """What is in memory of one partition."""

    number: int
    owned: Ownership
    pending: PendingTable
    late: LateShare
    outbox: list[Example]  # committed with the last batch; leaves the store with the next
    sent: bool = False


class Join:
    """Waits for labels, up to the declared time of the stream's own clock.

    At most `limit` entries wait in a partition; of more, those that would expire first are closed.
    """

    name = "join"
    kinds = (PREDICTIONS, LABELS)

    def __init__(
        self, context: Context, dead_letters: DeadLetterBox, skew_ms: int, limit: int
    ) -> None:
        self._names, self._store, self._producer = context.names, context.store, context.producer
        self._measurements, self._clock = context.measurements, context.clock
        self._dead_letters, self._skew_ms, self._limit = dead_letters, skew_ms, limit
        self._rules = BadCaseRules(context.plan)
        self._label = context.plan.project.label
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
        table = PendingTable(stored, owned.get(STREAM_TIME), self._limit)
        late = LateShare(owned.get(POSITIVES), owned.get(LATE_POSITIVES))
        self._partitions[partition] = _Partition(partition, owned, table, late, outbox)
        return {kind: owned.offset(kind) for kind in self.kinds}

    async def process(self, partition: int, records: Records) -> None:
        """One micro-batch: pair, commit with the outbox, then write examples and bad cases."""
        state = self._partitions[partition]
        fresh = {kind: state.owned.unseen(kind, messages) for kind, messages in records.items()}
        await self._send_outbox(state)
        results = self._pair(state, fresh)
        await self._refuse(partition, results)
        offsets = {kind: messages[-1].offset + 1 for kind, messages in fresh.items() if messages}
        await self._commit(state, offsets, results)
        self._measure(results)
        await self._send_outbox(state)

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
        self, state: _Partition, offsets: Mapping[str, int], results: Results
    ) -> None:
        """The new examples enter the outbox, those that were written leave it."""
        sent = [f"{OUTBOX}{example.sequence}" for example in state.outbox]
        to_set, to_delete = state.pending.changes()
        outbox = {f"{OUTBOX}{e.sequence}": e.encode() for e in results.examples}
        await state.owned.commit(
            offsets,
            fields=self._fields(state),
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

    def _fields(self, state: _Partition) -> dict[str, int]:
        fields = {STREAM_TIME: state.pending.stream_time}
        if self._label.fake_negatives:
            fields |= {POSITIVES: state.late.positives, LATE_POSITIVES: state.late.late}
        return fields

    def _pair(self, state: _Partition, records: Records) -> Results:
        """In the order of the broker's stamps, a prediction before a label of the same moment."""
        pairing = Pairing(
            self._label, state.pending, state.late, state.number, state.owned.get(SEQUENCE)
        )
        for kind, message in in_order(records, self.kinds):
            if kind == PREDICTIONS:
                self._prediction(pairing, message)
            else:
                self._label_read(pairing, message)
        return pairing.results

    def _prediction(self, pairing: Pairing, message: Message) -> None:
        try:
            prediction: Prediction = decode(Prediction, message.value or b"")
        except msgspec.DecodeError as error:
            refusal = InputError("malformed", "prediction", str(error), "a Prediction record")
            pairing.results.refused.append((message, refusal))
            return
        pairing.prediction(prediction, message.timestamp)

    def _label_read(self, pairing: Pairing, message: Message) -> None:
        body, latest_ms = message.value or b"", self._clock.now_ms() + self._skew_ms
        try:
            label = decode_label(body, latest_ms, self._label.kind)
        except InputError as error:
            pairing.results.labels.append((message, error))
            return
        pairing.label(KeptLabel(label, message.offset, message.timestamp, body))

    async def _refuse(self, partition: int, results: Results) -> None:
        if results.counters:
            self._dead_letters.good()
        for kind, refused in ((PREDICTIONS, results.refused), (LABELS, results.labels)):
            await self._dead_letters.send(self._names.topic(kind), partition, refused)
        for _, error in results.labels:
            results.count(f"{REFUSED}{error.cause}")

    def _measure(self, results: Results) -> None:
        self._measurements.count("tidemill_labels_joined_total", results.counters.get("joined", 0))
        for name, number in results.counters.items():
            if name.startswith(REFUSED):
                cause = name.removeprefix(REFUSED)
                self._measurements.count("tidemill_labels_refused_total", number, cause=cause)
            if outcome := OUTCOMES.get(name):
                self._measurements.count("tidemill_join_outcomes_total", number, outcome=outcome)
