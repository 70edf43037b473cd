"""Paused learning: why and since when, what came meanwhile, and what an operator wants of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from learners.guard import Trip
from streams.fencing import Ownership
from streams.learning import Placed
from tidemill.bus import Producer
from tidemill.topics import QUARANTINE
from tidemill.wire import Example, Quarantined

HALT = "halt"
"""The field of the learner's side hash that says learning is paused."""


class Halt(msgspec.Struct, frozen=True):
    """Examples from offset `start` on are not learned; those before `forwarded` are put aside.

    `examples` counts them, each once; `sequences` are the highest of each partition of the join.
    """

    reason: str
    message: str
    start: int
    began_ms: int
    forwarded: int
    examples: int
    sequences: dict[int, int]

    @classmethod
    def begun(cls, trip: Trip, start: int, sequences: Mapping[int, int], now_ms: int) -> Halt:
        """A halt that begins after everything before `start` was learned."""
        return cls(trip.reason, str(trip), start, now_ms, start, 0, dict(sequences))

    def encode(self) -> bytes:
        """As it lies in the store."""
        return msgspec.msgpack.encode(self)

    @classmethod
    def found_in(cls, side: Mapping[str, bytes]) -> Halt | None:
        """The halt in a learner's side hash, None while learning goes on."""
        data = side.get(HALT)
        return msgspec.msgpack.decode(data, type=cls) if data else None

    def with_examples(self, placed: Sequence[tuple[int, Example]]) -> tuple[Halt, list[Placed]]:
        """The halt after these examples, and those of them that it did not have."""
        fresh, sequences, forwarded = [], dict(self.sequences), self.forwarded
        for offset, example in placed:
            if offset < forwarded:
                continue
            forwarded = offset + 1
            if example.sequence > sequences.get(example.partition, 0):
                sequences[example.partition] = example.sequence
                fresh.append((offset, example))
        after = msgspec.structs.replace(
            self, forwarded=forwarded, examples=self.examples + len(fresh), sequences=sequences
        )
        return after, fresh


class Order(msgspec.Struct, frozen=True):
    """What to do with the quarantine of the halt that began then: learn it, or leave it out."""

    action: Literal["replay", "skip"]
    began_ms: int

    def encode(self) -> bytes:
        """As it lies in the store."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, data: bytes | None) -> Order | None:
        """The order in these bytes; None where there is none that can be read."""
        try:
            return msgspec.json.decode(data, type=cls) if data else None
        except msgspec.DecodeError:
            return None


async def put_aside(
    producer: Producer, owned: Ownership, halt: Halt, placed: Sequence[Placed]
) -> tuple[Halt, list[Example]]:
    """Write what is new to the quarantine, then remember it behind the fence.

    A crash between the two writes it twice; its offset tells. Raises BusUnavailable, FencedError or
    StoreUnavailable.
    """
    after, fresh = halt.with_examples(placed)
    if after.forwarded == halt.forwarded:
        return halt, []
    records = [
        (str(offset).encode(), Quarantined(offset, halt.reason, example.encode()).encode())
        for offset, example in fresh
    ]
    await producer.send_many(QUARANTINE, records, 0)
    await owned.commit({}, side_set={HALT: after.encode()})
    return after, [example for _, example in fresh]
