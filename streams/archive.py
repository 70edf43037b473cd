"""Events, predictions and examples → Parquet: buffered, in whole files, each record once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from features.archive import ARCHIVE_SCHEMAS, ArchiveWriter, examples_table, predictions_table
from features.decoding import Time, check_time, milliseconds
from streams.context import Context
from streams.step import Records
from tidemill.bus import Message
from tidemill.errors import FencedError, InputError, StoreUnavailable
from tidemill.topics import EVENTS, EXAMPLES, PREDICTIONS
from tidemill.wire import Example, Prediction, decode

LATEST_MS = 253_402_300_799_999  # the end of the year 9999: no date comes after it


class _Envelope(msgspec.Struct):
    """What every event has, whatever its kind."""

    event: str
    time: Time
    id: str | None = None


_ENVELOPES: msgspec.json.Decoder[_Envelope] = msgspec.json.Decoder(_Envelope)


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
        """Write everything."""
        for (kind, partition), buffer in self._buffers.items():
            if buffer.messages:
                await self._flush(kind, partition, buffer)

    async def _flush(self, kind: str, partition: int, buffer: _Buffer) -> None:
        messages, buffer.messages = buffer.messages, []
        try:
            await asyncio.to_thread(_write, kind, partition, messages, buffer.writer)
        except OSError as error:  # a full disk, a folder that went away
            raise StoreUnavailable(f"archive: {error}") from error
        except FencedError:
            self._lost.add(partition)
            raise
        self._measurements.count("tidemill_archived_records_total", len(messages), topic=kind)

    def _writer(self, kind: str, partition: int) -> ArchiveWriter:
        try:
            return ArchiveWriter(self._home, self._names.project, kind, partition)
        except OSError as error:
            raise StoreUnavailable(f"archive: {error}") from error


def _write(kind: str, partition: int, messages: Sequence[Message], writer: ArchiveWriter) -> None:
    writer.write(_TABLES[kind](messages, partition), messages[-1].offset + 1)


def _events(messages: Sequence[Message], partition: int) -> pa.Table:
    """Events as they came; those without a readable envelope are dead letters only."""
    rows: list[tuple[Any, ...]] = []
    for message in messages:
        try:
            envelope = _ENVELOPES.decode(message.value or b"")
            time = check_time(milliseconds(envelope.time), LATEST_MS)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, InputError):
            continue
        key = message.key.decode(errors="replace") if message.key is not None else None
        origin = (partition, message.offset)
        rows.append((time, envelope.event, envelope.id, key, message.value, *origin))
    schema = ARCHIVE_SCHEMAS[EVENTS]
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(column, f.type) for column, f in zip(columns, schema, strict=True)]
    return pa.table(arrays, schema=schema)


def _predictions(messages: Sequence[Message], partition: int) -> pa.Table:
    """Predictions as they came; what is none is the join's dead letter only."""
    records: list[Prediction] = []
    offsets: list[int] = []
    for message in messages:
        try:
            prediction: Prediction = decode(Prediction, message.value or b"")
            check_time(prediction.time, LATEST_MS)
        except (msgspec.DecodeError, InputError):
            continue
        records.append(prediction)
        offsets.append(message.offset)
    return predictions_table(records, partition, offsets)


def _examples(messages: Sequence[Message], partition: int) -> pa.Table:
    records: list[Example] = [decode(Example, message.value or b"") for message in messages]
    return examples_table(records, partition, [message.offset for message in messages])


_TABLES: dict[str, Callable[[Sequence[Message], int], pa.Table]] = {
    EVENTS: _events,
    PREDICTIONS: _predictions,
    EXAMPLES: _examples,
}
