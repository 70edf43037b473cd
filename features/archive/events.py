"""Events and labels of the archive as the kernel takes them: decided upon as the worker decides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from features.admission import Admission
from features.archive.point_in_time import Columns, KnownEvents
from features.columns import field_columns
from features.decoding import EventDecoder
from features.plan import FeaturePlan
from tidemill.bus import Headers
from tidemill.clock import FakeClock
from tidemill.declaration import LABEL_VALUE
from tidemill.fields import Field
from tidemill.label import CORRECTION, LABEL
from tidemill.sources import Event

_LATEST_MS = 253_402_300_799_999
"""The end of the year 9999, in place of the time of a record that the broker did not stamp."""
_HISTORY = -1
"""The partition of rows that no log has ordered."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What decides whether an event counts: the worker's settings."""

    skew_ms: int = 3_600_000
    duplicate_window: int = 50_000


class _Record(NamedTuple):
    """An archived event as the record it was read from."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers = ()


def known_events(
    plan: FeaturePlan, events: pa.Table, examples: pa.Table | None, rules: Rules
) -> KnownEvents:
    """Those archived events that count for this plan, in the order in which they became known.

    `events` and `examples` are tables of the archive; the examples are the labels, for plans with
    label rates. Within a partition a record is known no earlier than the one before it. An event
    with a field that is no longer declared counts too: it did when it came.
    """
    found: list[list[_Part]] = [[] for _ in plan.project.events]
    for partition, rows in _by_partition(events):
        for kind, part in _admitted(plan, events.take(pa.array(rows)), rules).items():
            found[kind].append(_Part(part.columns, part.known_ms, part.offsets, partition))
    merged = [
        _merged(parts, event.columns)
        for parts, event in zip(found, plan.project.events, strict=True)
    ]
    if plan.project.label_event is not None:
        merged.append(_labels(plan.project.label_event, examples))
    return KnownEvents(tuple(c for c, _ in merged), tuple(known for _, known in merged))


@dataclass(frozen=True, slots=True)
class _Part:
    """Events of one kind from one partition, in the order of its log."""

    columns: Columns
    known_ms: NDArray[np.int64]
    offsets: NDArray[np.int64]
    partition: int = 0


def _admitted(plan: FeaturePlan, table: pa.Table, rules: Rules) -> dict[int, _Part]:
    """One partition's events that count, by kind: judged as its worker judged them."""
    known = pc.coalesce(table["known_ms"], table["time"]).to_numpy()
    # Not the offsets of the log: rows of history have none.
    places = range(len(table))
    records = [
        _Record(place, None, body, stamp)
        for place, body, stamp in zip(
            places, table["body"].to_pylist(), known.tolist(), strict=True
        )
    ]
    decoder = EventDecoder(plan.project, FakeClock(_LATEST_MS), rules.skew_ms, strict=False)
    known = np.maximum.accumulate(known)
    admission = Admission(plan, decoder, rules.duplicate_window, 0)
    admitted = admission.judge(records).admitted
    return {
        kind: _Part(each.columns, known[each.offsets], each.offsets)
        for kind, each in admitted.items()
    }


def _merged(parts: Sequence[_Part], fields: Sequence[Field]) -> tuple[Columns, NDArray[np.int64]]:
    """Several partitions' events of one kind, by when they became known."""
    if not parts:
        return field_columns(fields, []), np.empty(0, np.int64)
    known = np.concatenate([part.known_ms for part in parts])
    partitions = np.repeat([part.partition for part in parts], [len(p.offsets) for p in parts])
    order = np.lexsort((np.concatenate([part.offsets for part in parts]), partitions, known))
    return {
        name: np.concatenate([part.columns[name] for part in parts])[order]
        for name in parts[0].columns
    }, known[order]


def _by_partition(events: pa.Table) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each partition's rows in the order of its log; history's in the order of its times."""
    partitions, offsets = events["partition"].to_numpy(), events["offset"].to_numpy()
    times = events["time"].to_numpy()
    for partition in np.unique(partitions):
        rows = np.flatnonzero(partitions == partition)
        keys = times if partition == _HISTORY else offsets
        yield int(partition), rows[np.argsort(keys[rows], kind="stable")]


def record_decoder(fields: Sequence[Field]) -> msgspec.json.Decoder[Any]:
    """Decodes what was checked when it came: JSON with these fields and `time`, and any others."""
    required = [(f.name, f.type) for f in fields if not f.optional]
    optional = [(f.name, f.type | None, None) for f in fields if f.optional]
    declared: Any = [*required, ("time", int), *optional, ("id", str | None, None)]
    return msgspec.json.Decoder(msgspec.defstruct("Archived", declared, kw_only=True))


def request_columns(
    plan: FeaturePlan, bodies: Sequence[bytes | None]
) -> tuple[Columns, NDArray[np.int64]]:
    """Logged requests as columns, and which of the bodies they are.

    A body that is missing, or lacks a field that is declared by now, is left out.
    """
    fields = plan.project.request.columns
    decoder, records, rows = record_decoder(fields), [], []
    for row, body in enumerate(bodies):
        try:
            records.append(decoder.decode(body or b""))
        except msgspec.DecodeError:
            continue
        rows.append(row)
    return field_columns(fields, records), np.array(rows, np.int64)


def knowledge_until(predictions: pa.Table) -> NDArray[np.int64]:
    """The last ms, for each prediction, in which an event had to become known to be in its vector.

    That is the one before the scoring: no event is applied in the very ms in which the broker
    stamped it, and one sent right after an answer may bear the answer's. Rows of history, which
    nobody scored, know what happened up to their own time.
    """
    scored = pc.coalesce(predictions["scored_ms"], predictions["time"]).to_numpy()
    live = predictions["offset"].to_numpy() >= 0
    until: NDArray[np.int64] = np.where(live, scored - 1, scored)
    return until


def each_once(examples: pa.Table) -> pa.Table:
    """Examples by offset, without what the join sent again after a crash.

    That is a join partition and sequence seen before; rows of history have none and all stay.
    """
    examples = examples.sort_by("offset")
    partitions, sequences = (examples[n].to_numpy() for n in ("join_partition", "sequence"))
    live = sequences >= 0
    pairs = np.stack([partitions[live], sequences[live]], axis=1)
    first = np.unique(pairs, axis=0, return_index=True)[1]
    kept = ~live
    kept[np.flatnonzero(live)[first]] = True
    return examples.filter(pa.array(kept))


def first_labels(examples: pa.Table) -> pa.ChunkedArray:
    """Which examples are events of their own: those with a request, but no corrections."""
    corrections = pc.equal(pc.fill_null(examples["kind"], LABEL), CORRECTION)
    return pc.and_(pc.is_valid(examples["request"]), pc.invert(corrections))


def _labels(label: Event, examples: pa.Table | None) -> tuple[Columns, NDArray[np.int64]]:
    """The examples as label events: known when the join made them."""
    if examples is None or not len(examples):
        return field_columns(label.columns, []), np.empty(0, np.int64)
    examples = each_once(examples)
    examples = examples.filter(first_labels(examples))
    keys = [Field(f.name, f.type, optional=True) for f in label.columns if f.name != LABEL_VALUE]
    decoder = record_decoder(keys)
    columns = field_columns(keys, [decoder.decode(b) for b in examples["request"].to_pylist()])
    times = examples["label_time"].to_numpy()
    known = pc.coalesce(examples["known_ms"], examples["label_time"]).to_numpy()
    columns |= {LABEL_VALUE: examples["label"].to_numpy().astype(float), "time": times}
    order = np.lexsort((examples["offset"].to_numpy(), times, known))
    return {name: column[order] for name, column in columns.items()}, known[order]
