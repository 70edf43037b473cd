"""A client that sends events, scores until it gets an answer, and labels what it scored."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from typing import Any

import httpx
from aiokafka import AIOKafkaProducer
from ledger import NAMES
from processes import Service, until

from tidemill.topics import EVENTS, LABELS

START_MS = 1_700_000_000_000
PIERS, FERRIES = 5, 7


class Traffic:
    """Seeded; `sent` holds, per topic kind, each partition's next offset as the broker told it."""

    def __init__(self, service: Service, producer: AIOKafkaProducer, seed: int) -> None:
        self._service, self._producer, self._rng = service, producer, random.Random(seed)
        self.sent: dict[str, dict[int, int]] = {EVENTS: {}, LABELS: {}}
        self.refused: dict[int, int] = defaultdict(int)  # answers other than 200, by status
        self.events = self.scores = self.labels = 0

    async def event(self, body: dict[str, Any] | bytes, key: str) -> None:
        """One event, acknowledged."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._send(EVENTS, data, key)

    async def some_events(self, count: int) -> None:
        """Events of both kinds; every 40th is no JSON, unknown or a repeated id."""
        await asyncio.gather(*(self.event(*self._next_event()) for _ in range(count)))

    async def score(self) -> dict[str, Any]:
        """One score, asked for until it is given; the answer with its `ticket`."""
        ticket = f"t{self.scores}"
        self.scores += 1
        request = {"ticket": ticket, "time": START_MS + 600_000 + self.scores, **self._place()}
        request["distance"] = round(self._rng.gauss(0, 1), 3)

        async def ask() -> dict[str, Any]:
            try:
                answer = await self._service.client.post("/v1/score", json=request)
            except httpx.TransportError:
                self.refused[0] += 1
                return {}
            if answer.status_code != 200:
                self.refused[answer.status_code] += 1
                assert answer.status_code == 503, answer.text
                return {}
            return {**answer.json(), "request": request}

        return await until("a score", ask)

    async def label(self, ticket: str, value: int | None = None) -> None:
        """The outcome of one ticket."""
        self.labels += 1
        outcome = self._rng.randrange(2) if value is None else value
        body = {"key": ticket, "value": outcome, "time": START_MS + 700_000 + self.labels}
        await self._send(LABELS, json.dumps(body).encode(), ticket)

    async def run(self, stopping: asyncio.Event) -> None:
        """Send events, and scores with their labels, side by side until told to stop."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._run_events(stopping))
            group.create_task(self._run_scores(stopping))

    async def _run_events(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            await self.some_events(10)
            await asyncio.sleep(0.05)

    async def _run_scores(self, stopping: asyncio.Event) -> None:
        tickets: list[str] = []
        while not stopping.is_set() or tickets:
            if not stopping.is_set():
                tickets.append((await self.score())["request"]["ticket"])
            if stopping.is_set() or len(tickets) > 10:
                await self.label(tickets.pop(0))
            await asyncio.sleep(0.02)

    def _place(self) -> dict[str, str]:
        pier, ferry = self._rng.randrange(PIERS), self._rng.randrange(FERRIES)
        return {"pier": f"p{pier}", "ferry": f"f{ferry}"}

    def _next_event(self) -> tuple[dict[str, Any] | bytes, str]:
        number, self.events = self.events, self.events + 1
        place = self._place()
        # Whole numbers: their float32 sums do not depend on the order in which sources arrive.
        amount = float(self._rng.randrange(100))
        body: dict[str, Any] = {"id": f"e{number}", "time": START_MS + 20 * number, **place}
        bad = number % 120
        if bad == 39:
            return b"no json", place["pier"]
        if bad == 79:
            return {"event": "sunk", **body}, place["pier"]
        if bad == 119:  # the same id, sent twice to the same partition
            return {"event": "boarded", "weight": 1.0, **body, "id": "e0"}, "p0"
        if number == 0:
            return {"event": "boarded", "weight": 1.0, **body, "pier": "p0"}, "p0"
        if number % 3:
            return {"event": "boarded", "weight": amount, **body}, place["pier"]
        return {"event": "sailed", "delay": amount, **body}, place["ferry"]

    async def _send(self, kind: str, data: bytes, key: str) -> None:
        topic = NAMES.topic(kind)
        place = await self._producer.send_and_wait(topic, data, key=key.encode())
        ends = self.sent[kind]
        ends[place.partition] = max(ends.get(place.partition, 0), place.offset + 1)
