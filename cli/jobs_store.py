"""Puts what the scheduler says of its jobs into the projects' stores, for their consoles."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from batch.schedule.entries import Schedule
from batch.schedule.queue import JobQueue
from batch.schedule.report import report
from features.redis.client import RedisTls, redis_client
from features.redis.store import RedisStore
from tidemill.clock import Clock
from tidemill.errors import TidemillError
from tidemill.topics import Names

EVERY_MS, AFTER_FAILURE_MS = 2_000, 30_000
TIMEOUT_SECONDS = 1.0
STORE = "TIDEMILL_REDIS"
_log = structlog.get_logger()


class JobsPublisher:
    """Writes each project's report to the store in its environment, or to the scheduler's own."""

    def __init__(self, environment: Mapping[str, str], clock: Clock) -> None:
        self._environment, self._clock = environment, clock
        self._next: dict[str, int] = {}

    def publish(self, schedule: Schedule, queue: JobQueue) -> None:
        """Write what is due; a store that is away is left alone for a while, and only logged."""
        now = self._clock.now_ms()
        for name, entry in schedule.projects.items():
            environment = {**self._environment, **entry.environment}
            if STORE not in environment or self._next.get(name, 0) > now:
                continue
            body = msgspec.json.encode(report(queue, now, name))
            cluster = environment.get(f"{STORE}_CLUSTER", "").lower() in ("1", "true")
            try:
                store = _Store(environment[STORE], cluster, _tls(environment))
                asyncio.run(_write(store, Names(name, 1).jobs(), body))
                self._next[name] = now + EVERY_MS
            except (TidemillError, OSError, ValueError, TimeoutError) as error:
                self._next[name] = now + AFTER_FAILURE_MS
                _log.warning("jobs not published", project=name, error=str(error) or "no answer")


@dataclass(frozen=True, slots=True)
class _Store:
    """Where a project's store is, and how to reach it."""

    address: str = field(repr=False)
    cluster: bool
    tls: RedisTls


def _tls(environment: Mapping[str, str]) -> RedisTls:
    names = ("CA", "CERTIFICATE", "KEY")
    found = (environment.get(f"{STORE}_{name}") for name in names)
    return RedisTls(*(Path(path) if path else None for path in found))


async def _write(store: _Store, key: str, body: bytes) -> None:
    client = redis_client(
        store.address, cluster=store.cluster, timeout_seconds=TIMEOUT_SECONDS, tls=store.tls
    )
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await RedisStore(client).write([(key, body)])
    finally:
        await client.aclose()
