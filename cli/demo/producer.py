"""Writes records as whole batches per partition and says which offset follows them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import aiokafka
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from tidemill.errors import BusUnavailable
from tidemill.topics import Names

BATCH_BYTES = 1024 * 1024
_partitioner = DefaultPartitioner()


class EventProducer:
    """The demo's outside world: what sends events and labels. Use as an async context manager."""

    def __init__(self, broker: str, names: Names) -> None:
        self._broker, self._names = broker, names
        self._client: Any = None

    async def __aenter__(self) -> EventProducer:
        self._client = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self._broker, acks="all", max_batch_size=BATCH_BYTES
        )
        try:
            await self._client.start()
        except (KafkaError, OSError) as error:
            await self._client.stop()
            raise BusUnavailable(f"broker {self._broker}: {error!r}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.stop()

    async def send(self, kind: str, records: Sequence[tuple[str, bytes]]) -> dict[int, int]:
        """Write (key, value) records in order; returns partition → the offset after its last.

        Returns when the broker has acknowledged all. Raises BusUnavailable when it did not.
        """
        topic, partitions = self._names.topic(kind), self._names.partitions_of(kind)
        chosen: dict[int, list[tuple[bytes, bytes]]] = defaultdict(list)
        for key, value in records:
            chosen[_partition(key, partitions)].append((key.encode(), value))
        try:
            ends = await asyncio.gather(
                *(self._send_all(topic, partition, rows) for partition, rows in chosen.items())
            )
        except KafkaError as error:
            raise BusUnavailable(f"writing to {topic}: {error!r}") from error
        return dict(zip(chosen, ends, strict=True))

    async def _send_all(
        self, topic: str, partition: int, records: list[tuple[bytes, bytes]]
    ) -> int:
        now_ms = time.time_ns() // 1_000_000
        sent = []
        batch, count = self._client.create_batch(), 0
        for key, value in records:
            if batch.append(key=key, value=value, timestamp=now_ms) is None:
                sent.append(
                    (await self._client.send_batch(batch, topic, partition=partition), count)
                )
                batch, count = self._client.create_batch(), 0
                batch.append(key=key, value=value, timestamp=now_ms)
            count += 1
        sent.append((await self._client.send_batch(batch, topic, partition=partition), count))
        ends = [(await future).offset + rows for future, rows in sent]
        return int(ends[-1])


@lru_cache(maxsize=4096)
def _partition(key: str, partitions: int) -> int:
    """Where every Kafka client would put the key."""
    everything = list(range(partitions))
    return int(_partitioner(key.encode(), everything, everything))
