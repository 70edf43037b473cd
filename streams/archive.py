"""Events, predictions and examples → Parquet: buffered, in whole files, each record once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from features.archive.definitions import write_definition
from features.archive.files import ARCHIVE_SCHEMAS, ArchiveWriter, examples_table, predictions_table
from features.cloud_events import event_bodies, event_body
from features.decoding import Time, check_time, decode_together, milliseconds
from streams.context import Context
from streams.step import Records, Reopen
from tidemill.bus import Message
from tidemill.errors import FencedError, InputError, StoreUnavailable
from tidemill.topics import EVENTS, EXAMPLES, PREDICTIONS
from tidemill.wire import Example, Prediction, decode

LATEST_MS = 253_402_300_799_999  # the end of the year 9999: no date comes after it


class _Envelope(msgspec.Struct, gc=False):
    """What every event has, whatever its kind; holds nothing that could be part of a cycle."""

    event: str
    time: Time
    id: str | None = None


_ENVELOPES: msgspec.json.Decoder[_Envelope] = msgspec.json.Decoder(_Envelope)
_MANY_ENVELOPES: msgspec.json.Decoder[list[_Envelope]] = msgspec.json.Decoder(list[_Envelope])
CHUNK = 1_000
"""Events decoded together; one that is bad sends its chunk, and no more, to the slow road."""


@dataclass
class _Buffer:
    """Records of one topic's partition that are not archived yet."""

    writer: ArchiveWriter
    next_offset: int
    messages: list[Message] = field(default_factory=list)
    since_ms: int = 0


class Archive:
    """Its offsets are those the archive has committed, so that it needs no store to go on."""

    name = "archive"
    kinds = (EVENTS, PREDICTIONS, EXAMPLES)

    def __init__(self, context: Context, home: Path, *, rows: int, interval_ms: int) -> None:
        self._names, self._measurements = context.names, context.measurements
        self._plan = context.plan
        self._clock, self._home = context.clock, home
        self._rows, self._interval_ms = rows, interval_ms
        self._buffers: dict[tuple[str, int], _Buffer] = {}
        self._lost: set[int] = set()

    async def open(self, partition: int, claim: bool) -> Mapping[str, int]:
        """Take over the files of a partition, whatever a dead writer left half made.

        Without `claim` raises FencedError when another writer took them since: taking them back
        would fence the one the group chose.
        """
        if not claim and partition in self._lost:
            raise FencedError(f"archive: partition {partition} has another writer")
        await asyncio.to_thread(_warm_up)
        await asyncio.to_thread(self._write_definition)
        self._lost.discard(partition)
        offsets = {}
        for kind in self.kinds:
            if partition < self._names.partitions_of(kind):
                writer = await asyncio.to_thread(self._writer, kind, partition)
                self._buffers[kind, partition] = _Buffer(writer, writer.next_offset)
                offsets[kind] = writer.next_offset
        return offsets

    async def process(self, partition: int, records: Records) -> None:
        """Keep the records until there are enough of them, or they have waited long enough."""
        for kind, messages in records.items():
            buffer = self._buffers[kind, partition]
            # A log may deliver a record a second time.
            fresh = messages
            if messages[0].offset < buffer.next_offset:
                fresh = [message for message in messages if message.offset >= buffer.next_offset]
            if not fresh:
                continue
            if not buffer.messages:
                buffer.since_ms = self._clock.now_ms()
            buffer.messages.extend(fresh)
            buffer.next_offset = fresh[-1].offset + 1

    def forget(self, partition: int) -> None:
        """Drop what is buffered; it is still in the log."""
        for kind in self.kinds:
            self._buffers.pop((kind, partition), None)

    async def tick(self) -> None:
        """Write the buffers that are full or old."""
        now = self._clock.now_ms()
        for (kind, partition), buffer in self._buffers.items():
            old = now - buffer.since_ms >= self._interval_ms
            if buffer.messages and (old or len(buffer.messages) >= self._rows):
                await self._flush(kind, partition, buffer)

    async def close(self) -> None:
        """Write everything that is still ours."""
        for (kind, partition), buffer in self._buffers.items():
            if buffer.messages:
                with suppress(Reopen):
                    await self._flush(kind, partition, buffer)

    async def _flush(self, kind: str, partition: int, buffer: _Buffer) -> None:
        messages, buffer.messages = buffer.messages, []
        try:
            await asyncio.to_thread(_write, kind, partition, messages, buffer.writer)
        except OSError as error:  # a full disk, a folder that went away
            raise StoreUnavailable(f"archive: {error}") from error
        except FencedError as error:  # of this partition only: the others are still ours
            self._lost.add(partition)
            raise Reopen(self.name, partition) from error
        self._measurements.count("tidemill_archived_records_total", len(messages), topic=kind)

    def _write_definition(self) -> None:
        """Say beside the archive what the vectors of this declaration mean."""
        try:
            write_definition(self._home, self._plan, self._clock.now_ms())
        except OSError as error:
            raise StoreUnavailable(f"archive: {error}") from error

    def _writer(self, kind: str, partition: int) -> ArchiveWriter:
        try:
            return ArchiveWriter(self._home, self._names.project, kind, partition)
        except OSError as error:
            raise StoreUnavailable(f"archive: {error}") from error


def _warm_up() -> None:
    """PyArrow imports pandas, where there is one, at its first array: not while events wait."""
    pa.array([0])


def _write(kind: str, partition: int, messages: Sequence[Message], writer: ArchiveWriter) -> None:
    writer.write(_TABLES[kind](messages, partition), messages[-1].offset + 1)


@dataclass
class _Read:
    """Records with a readable envelope: their JSON, what it says of them, and their times."""

    messages: list[Message] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    envelopes: list[_Envelope] = field(default_factory=list)
    times: list[int] = field(default_factory=list)

    def add(self, more: _Read) -> None:
        """Put these behind."""
        self.messages += more.messages
        self.bodies += more.bodies
        self.envelopes += more.envelopes
        self.times += more.times


def _events(messages: Sequence[Message], partition: int) -> pa.Table:
    """Events as they came; those without a readable envelope are dead letters only."""
    read = _Read()
    for begin in range(0, len(messages), CHUNK):
        some = messages[begin : begin + CHUNK]
        read.add(_together(some) or _one_by_one(some))
    kept, envelopes, count = read.messages, read.envelopes, len(read.messages)
    keys = [m.key.decode(errors="replace") if m.key is not None else None for m in kept]
    columns = {
        "time": np.array(read.times, np.int64),
        "event": pa.array([envelope.event for envelope in envelopes], pa.string()),
        "id": pa.array([envelope.id for envelope in envelopes], pa.string()),
        "key": pa.array(keys, pa.string()),
        "body": pa.array(read.bodies, pa.binary()),
        "partition": np.full(count, partition, np.int32),
        "offset": np.fromiter((message.offset for message in kept), np.int64, count),
        "known_ms": np.fromiter((message.timestamp for message in kept), np.int64, count),
    }
    return pa.table(columns, schema=ARCHIVE_SCHEMAS[EVENTS])


def _together(messages: Sequence[Message]) -> _Read | None:
    """All of them at once; None when any has to be looked at by itself."""
    try:
        bodies = event_bodies(messages)
    except InputError:  # a CloudEvent that is none
        return None
    envelopes = decode_together(_MANY_ENVELOPES, bodies)
    times = None if envelopes is None else _times(envelopes)
    if envelopes is None or times is None:
        return None
    return _Read(list(messages), bodies, envelopes, times)


def _times(envelopes: Sequence[_Envelope]) -> list[int] | None:
    """Their times in ms; None if any of them is none that the archive could hold."""
    times = [e.time if type(e.time) is int else milliseconds(e.time) for e in envelopes]
    return times if min(times) > 0 and max(times) <= LATEST_MS else None


def _one_by_one(messages: Sequence[Message]) -> _Read:
    read = _Read()
    for message in messages:
        try:
            body = event_body(message)
            envelope = _ENVELOPES.decode(body)
            time = check_time(milliseconds(envelope.time), LATEST_MS)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputError):
            continue
        read.add(_Read([message], [body], [envelope], [time]))
    return read


def _predictions(messages: Sequence[Message], partition: int) -> pa.Table:
    """Predictions as they came; what is none is the join's dead letter only."""
    records: list[Prediction] = []
    offsets: list[int] = []
    known_ms: list[int] = []
    for message in messages:
        try:
            prediction: Prediction = decode(Prediction, message.value or b"")
            check_time(prediction.time, LATEST_MS)
        except (msgspec.DecodeError, InputError):
            continue
        records.append(prediction)
        offsets.append(message.offset)
        known_ms.append(message.timestamp)
    return predictions_table(records, partition, offsets, known_ms)


def _examples(messages: Sequence[Message], partition: int) -> pa.Table:
    records: list[Example] = [decode(Example, message.value or b"") for message in messages]
    offsets = [message.offset for message in messages]
    return examples_table(records, partition, offsets, [message.timestamp for message in messages])


_TABLES: dict[str, Callable[[Sequence[Message], int], pa.Table]] = {
    EVENTS: _events,
    PREDICTIONS: _predictions,
    EXAMPLES: _examples,
}
