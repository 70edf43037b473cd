"""Make the entities' state from the archive: what the stream would have made of the same events.

Events of a partition are admitted in the order of its log, by the code the worker admits them with,
and folded by the kernel it folds them with; partitions, history and labels are interleaved by the
moment each record became known. The state then stands exactly at the offsets that are archived.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.admission import Admission, Decision
from features.archive.events import Rules, known_events
from features.archive.files import (
    BACKFILL,
    archived_rows,
    committed_offsets,
    read_archive,
    read_in_order,
)
from features.archive.point_in_time import Columns, take
from features.decoding import EventDecoder
from features.plan import FeaturePlan
from features.replay import Replayer
from tidemill.bus import Headers
from tidemill.clock import Clock
from tidemill.durations import HOUR_MS
from tidemill.errors import DeclarationError, InputError
from tidemill.topics import EVENTS, EXAMPLES

PIECE_ROWS = 2_000
UNREADABLE = ("missing_field", "wrong_type")  # causes that come from the declaration
Advance = Callable[[int], None]


class Archived(NamedTuple):
    """An archived event as the record it was read from."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = ()


@dataclass
class Reached:
    """How far a state has come: what its worker goes on from.

    By partition of events: `offsets` the next one, `stream_times` the newest time, `accepted` how
    many count; `examples` is the next offset of the examples, `sequences` the highest by join
    partition.
    """

    offsets: dict[int, int]
    examples: int = 0
    stream_times: dict[int, int] = field(default_factory=dict)
    accepted: dict[int, int] = field(default_factory=dict)
    sequences: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Some events of one kind with the moments they became known, int64 ms, never falling."""

    kind: int
    columns: Columns
    known_ms: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Part:
    """The next records of one source: how many, what counts of them, and when all were known."""

    records: int
    known_until: int
    pieces: list[_Piece]


class _Source:
    """One partition's parts, taken piecemeal."""

    def __init__(self, parts: Iterator[_Part]) -> None:
        self._parts, self._part = parts, next(parts, None)

    @property
    def part(self) -> _Part | None:
        """What is not taken yet; None at the end."""
        return self._part

    def take_until(self, moment: int) -> list[_Piece]:
        """What became known by then; goes on to the next part when this one is used up."""
        part = self._part
        assert part is not None
        if part.known_until <= moment:
            self._part = next(self._parts, None)
            return part.pieces
        cuts = [int(np.searchsorted(p.known_ms, moment, "right")) for p in part.pieces]
        first = [_some(p, slice(0, at)) for p, at in zip(part.pieces, cuts, strict=True)]
        rest = [_some(p, slice(at, None)) for p, at in zip(part.pieces, cuts, strict=True)]
        self._part = _Part(part.records, part.known_until, rest)
        return first


class StateBackfill:
    """Makes the state of one declaration from one project's archive; holds it in memory."""

    def __init__(self, home: Path, plan: FeaturePlan, rules: Rules, clock: Clock) -> None:
        self._home, self._plan, self._rules = home, plan, rules
        self._name = plan.project.name
        self._decoder = EventDecoder(plan.project, clock, rules.skew_ms, strict=False)
        self.replayer = Replayer(plan)
        self._committed = committed_offsets(home, self._name, EVENTS)
        live = {int(p): offset for p, offset in self._committed.items() if p != BACKFILL}
        self.reached = Reached(live)
        self.total = archived_rows(home, self._name, EVENTS)
        """The archived events, those that do not count included."""
        self._seen: Counter[str] = Counter()  # archived events by kind
        self._unreadable: Counter[str] = Counter()
        self._reason: dict[str, InputError] = {}

    def run(self, advance: Advance, limit: int | None = None) -> None:
        """Apply everything, or about `limit` events; `advance` hears of every so many read.

        May block for long. Raises DeclarationError when the declaration cannot read what the
        archive holds: its state would lack what the one before it has.
        """
        read = 0
        sources = [_Source(self._events(partition)) for partition in self._committed]
        if self._plan.project.label_event is not None:
            sources.append(_Source(self._labels()))
        while parts := [source.part for source in sources if source.part is not None]:
            # What every source has shown up to here is complete.
            until = min(part.known_until for part in parts)
            done = sum(part.records for part in parts if part.known_until <= until)
            self._apply([p for s in sources if s.part is not None for p in s.take_until(until)])
            advance(done)
            read += done
            if limit is not None and read >= limit:
                break
        if limit is None:
            self._require_readable()

    def _events(self, partition: str) -> Iterator[_Part]:
        """One partition's events, judged as its worker did."""
        window, latest, number = self._rules.duplicate_window, 0, 0
        admission = Admission(self._plan, self._decoder, window, 0)
        until = self._committed[partition]
        for table in read_in_order(self._home, self._name, EVENTS, partition, until):
            for begin in range(0, len(table), PIECE_ROWS):
                messages, known = _messages(table.slice(begin, PIECE_ROWS), latest)
                if partition == BACKFILL:  # no log has numbered them
                    messages = [m._replace(offset=number + i) for i, m in enumerate(messages)]
                latest, number = int(known[-1]), number + len(messages)
                decision = admission.judge(messages)
                admitted = decision.admitted
                if partition != BACKFILL:
                    counted = sum(len(each.offsets) for each in admitted.values())
                    self._note(int(partition), counted, admission.stream_time)
                offsets = np.array([message.offset for message in messages], np.int64)
                self._note_unreadable(table["event"].slice(begin, PIECE_ROWS), offsets, decision)
                pieces = [
                    _Piece(kind, each.columns, known[np.searchsorted(offsets, each.offsets)])
                    for kind, each in admitted.items()
                ]
                yield _Part(len(messages), latest, pieces)

    def _note_unreadable(
        self, kinds: pa.ChunkedArray, offsets: NDArray[np.int64], decision: Decision
    ) -> None:
        self._seen.update(kinds.to_pylist())
        for message, error in decision.refused:
            if error.cause in UNREADABLE:
                kind = kinds[int(np.searchsorted(offsets, message.offset))].as_py()
                self._unreadable[kind] += 1
                self._reason.setdefault(kind, error)

    def _require_readable(self) -> None:
        """Raise when most events of a kind are lost on this declaration: it is a mistake then."""
        for kind, count in self._unreadable.items():
            if 2 * count > self._seen[kind]:
                seen = f"{count:,} of {self._seen[kind]:,} archived events that it cannot read"
                allowed = "fields that older events have too; a new one must be optional (`| None`)"
                found = f"{seen} ({self._reason[kind]})"
                raise DeclarationError(f"Event {kind}.fields", found, allowed)

    def _note(self, partition: int, accepted: int, stream_time: int) -> None:
        self.reached.accepted[partition] = self.reached.accepted.get(partition, 0) + accepted
        self.reached.stream_times[partition] = stream_time

    def _labels(self) -> Iterator[_Part]:
        """The labels that became known, each once."""
        kind = len(self._plan.events) - 1
        self.reached.examples = committed_offsets(self._home, self._name, EXAMPLES).get("0", 0)
        examples = read_archive(self._home, self._name, EXAMPLES)
        examples = examples.filter(pc.less(examples["offset"], self.reached.examples))
        examples = _each_once(examples, self.reached)
        none = read_archive(self._home, self._name, EVENTS, 0, 0)
        labels = known_events(self._plan, none, examples, self._rules)
        columns, known = labels.columns[kind], labels.known_ms[kind]
        for begin in range(0, len(known), PIECE_ROWS):
            piece = _some(_Piece(kind, columns, known), slice(begin, begin + PIECE_ROWS))
            yield _Part(0, int(piece.known_ms[-1]), [piece])

    def _apply(self, pieces: list[_Piece]) -> None:
        """Fold events in the order in which they became known, an hour of stream time at a time.

        Within an hour the kinds are folded one after the other, as in a micro-batch.
        """
        pieces = [piece for piece in pieces if len(piece.known_ms)]
        if not pieces:
            return
        kinds = np.repeat([p.kind for p in pieces], [len(p.known_ms) for p in pieces])
        order = np.argsort(np.concatenate([p.known_ms for p in pieces]), kind="stable")
        times = np.concatenate([p.columns["time"] for p in pieces])[order]
        hours, kinds = np.maximum.accumulate(times) // HOUR_MS, kinds[order]
        merged = {
            kind: (_merged([p for p in pieces if p.kind == kind]), hours[kinds == kind])
            for kind in np.unique(kinds).tolist()
        }
        for hour in np.unique(hours).tolist():
            for kind, (columns, own) in merged.items():
                begin, end = np.searchsorted(own, (hour, hour + 1)).tolist()
                if end > begin:
                    some = take(columns, slice(begin, end))
                    self.replayer.apply(self._plan.events[kind].name, some)


def _messages(table: pa.Table, latest: int) -> tuple[list[Archived], NDArray[np.int64]]:
    """Archived events as records, and when each was known: not before the one ahead of it."""
    known = pc.coalesce(table["known_ms"], table["time"]).to_numpy()
    stamps = pc.coalesce(table["known_ms"], pa.scalar(0, pa.int64())).to_pylist()
    columns = (table["offset"].to_pylist(), table["body"].to_pylist(), stamps)
    messages = [
        Archived(offset, None, body, stamp) for offset, body, stamp in zip(*columns, strict=True)
    ]
    return messages, np.maximum.accumulate(np.maximum(known, latest))


def _some(piece: _Piece, rows: slice) -> _Piece:
    return _Piece(piece.kind, take(piece.columns, rows), piece.known_ms[rows])


def _merged(pieces: list[_Piece]) -> Columns:
    """Pieces of one kind as one, in the order in which they became known."""
    order = np.argsort(np.concatenate([piece.known_ms for piece in pieces]), kind="stable")
    names: dict[str, Any] = dict.fromkeys(pieces[0].columns)
    return {name: np.concatenate([p.columns[name] for p in pieces])[order] for name in names}


def _each_once(examples: pa.Table, reached: Reached) -> pa.Table:
    """Without what a crash made the join send again; notes the highest sequences."""
    partitions, sequences = (examples[n].to_numpy() for n in ("join_partition", "sequence"))
    fresh = np.ones(len(examples), bool)
    for row in np.argsort(examples["offset"].to_numpy(), kind="stable").tolist():
        partition, sequence = int(partitions[row]), int(sequences[row])
        if sequence < 0:
            continue  # computed from history
        fresh[row] = sequence > reached.sequences.get(partition, 0)
        reached.sequences[partition] = max(sequence, reached.sequences.get(partition, 0))
    return examples.filter(pa.array(fresh))
