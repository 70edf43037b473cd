"""The payments that benchmarks stream: six JSON fields, Zipf keys, ordered per partition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import aiokafka
import numpy as np
from aiokafka.partitioner import murmur2
from numpy.typing import NDArray

CARDS, SHOPS, DEVICES = 100_000, 10_000, 50_000
SPAN_MS = 3_600_000
_BATCH_BYTES = 256 * 1024
_IN_FLIGHT = 64

_hash = lru_cache(maxsize=CARDS)(murmur2)  # written in Python


@dataclass(frozen=True)
class Payments:
    """Events in the order of their times, all within the hour before `end_ms`.

    cards, shops, devices: int64 numbers of the keys; amounts: float64 multiples of 0.25, so that
    sums are exact in every order; times: int64 milliseconds.
    """

    cards: NDArray[np.int64]
    shops: NDArray[np.int64]
    devices: NDArray[np.int64]
    amounts: NDArray[np.float64]
    times: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.cards)

    def part(self, begin: int, end: int) -> Payments:
        """Those from one place to another."""
        parts = (self.cards, self.shops, self.devices, self.amounts, self.times)
        return Payments(*(each[begin:end] for each in parts))  # type: ignore[arg-type]

    def bodies(self, now_ms: int | None = None) -> Iterator[tuple[str, bytes]]:
        """Each event's key and its JSON of six fields, about 120 bytes; `now_ms` for all times."""
        rows = zip(
            self.cards.tolist(), self.shops.tolist(), self.devices.tolist(),
            self.amounts.tolist(), self.times.tolist(), strict=True,
        )  # fmt: skip
        for card, shop, device, amount, time in rows:
            key = card_key(card)
            body = (
                f'{{"event":"payment","time":{now_ms or time},"card":"{key}","shop":"s{shop:05d}",'
                f'"device":"d{device:05d}","amount":{amount}}}'
            )
            yield key, body.encode()

    def totals(self) -> dict[str, tuple[int, float]]:
        """Per card, how many payments and their sum."""
        counts = np.bincount(self.cards, minlength=CARDS)
        sums = np.bincount(self.cards, self.amounts, minlength=CARDS)
        seen = np.flatnonzero(counts)
        return {card_key(int(n)): (int(counts[n]), float(sums[n])) for n in seen}


def card_key(number: int) -> str:
    """The card with this number."""
    return f"c{number:06d}"


def make_payments(count: int, end_ms: int, seed: int = 7) -> Payments:
    """Keys drawn with a chance of 1/rank (Zipf's law)."""
    random = np.random.default_rng(seed)
    times = end_ms - SPAN_MS + np.arange(count, dtype=np.int64) * SPAN_MS // max(count, 1)
    return Payments(
        _zipf(random, CARDS, count),
        _zipf(random, SHOPS, count),
        _zipf(random, DEVICES, count),
        random.integers(1, 4_000, count).astype(np.float64) * 0.25,
        times,
    )


def _zipf(random: np.random.Generator, keys: int, count: int) -> NDArray[np.int64]:
    weights = np.cumsum(1 / np.arange(1, keys + 1))
    ranks = np.searchsorted(weights, random.random(count) * weights[-1])
    # A permutation, so that a rank says nothing about the partition of its key.
    numbers: NDArray[np.int64] = random.permutation(keys)[ranks]
    return numbers


class Feed:
    """Batches of records for a topic's partitions, sent when they are full or when told."""

    def __init__(self, producer: Any, topic: str, partitions: int) -> None:
        self._producer, self._topic, self._partitions = producer, topic, partitions
        self._batches = [producer.create_batch() for _ in range(partitions)]
        self._waiting: list[Any] = []

    async def add(self, key: str, body: bytes, now_ms: int) -> None:
        """One record, in the partition where every Kafka client would put its key."""
        name = key.encode()
        place = (_hash(name) & 0x7FFFFFFF) % self._partitions
        if self._batches[place].append(key=name, value=body, timestamp=now_ms) is None:
            await self._send(place)
            self._batches[place].append(key=name, value=body, timestamp=now_ms)

    async def flush(self) -> None:
        """Send what there is."""
        for place, batch in enumerate(self._batches):
            if batch.record_count():
                await self._send(place)

    async def settle(self) -> None:
        """Wait until everything sent is acknowledged."""
        await asyncio.gather(*self._waiting)
        self._waiting.clear()

    async def _send(self, place: int) -> None:
        batch, self._batches[place] = self._batches[place], self._producer.create_batch()
        sent = await self._producer.send_batch(batch, self._topic, partition=place)
        self._waiting.append(sent)
        if len(self._waiting) >= _IN_FLIGHT:
            await self.settle()


@asynccontextmanager
async def feed(broker: str, topic: str, partitions: int) -> AsyncIterator[Feed]:
    """A feed of a topic, which must exist; all is acknowledged when the context ends."""
    producer = aiokafka.AIOKafkaProducer(
        bootstrap_servers=broker, max_batch_size=_BATCH_BYTES, max_request_size=4 * _BATCH_BYTES
    )
    await producer.start()
    try:
        feeding = Feed(producer, topic, partitions)
        yield feeding
        await feeding.flush()
        await feeding.settle()
    finally:
        await producer.stop()


async def produce(
    broker: str, topic: str, partitions: int, payments: Payments, now_ms: int
) -> None:
    """Write all to the topic, which must exist; returns once all are acknowledged."""
    async with feed(broker, topic, partitions) as feeding:
        for key, body in payments.bodies():
            await feeding.add(key, body, now_ms)
