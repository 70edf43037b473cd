"""Events for a crash: out of order, repeated, malformed, too late, in four partitions."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from typing import Any

from aiokafka import AIOKafkaProducer

from tidemill.durations import DAY_MS
from tidemill.topics import EVENTS, LABELS, PREDICTIONS, Names
from tidemill.wire import Prediction

START_MS = 1_700_000_000_000
SHOPS, ITEMS, CITIES = 12, 30, 3
STEP_MS = 2_000
TOO_LATE_MS = 200 * DAY_MS
Body = tuple[str, bytes]
_WHOLE = b'{"event":"returned","time":1700000000001,"item":"i1","shop":"s1","units":1}'
# Also halves and pairs of events, which would be events where bodies are decoded together.
NO_JSON = (b"\xff no json", _WHOLE[:40], _WHOLE[40:], _WHOLE + b"," + _WHOLE, b"")


class Stallholder:
    """Seeded; `ends` holds, per topic kind, each partition's next offset as the broker told it."""

    def __init__(self, names: Names, producer: AIOKafkaProducer, seed: int) -> None:
        self._names, self._producer, self._rng = names, producer, random.Random(seed)
        self._recent: deque[Body] = deque(maxlen=4_000)
        self._late: deque[dict[str, Any]] = deque(maxlen=20)
        self.ends: dict[str, dict[int, int]] = {EVENTS: {}, PREDICTIONS: {}, LABELS: {}}
        self.events = self.tickets = 0

    async def send(self, count: int) -> None:
        """So many events, a tenth as many tickets with their labels, all acknowledged."""
        sent = [self._send(EVENTS, *self._next()) for _ in range(count)]
        for _ in range(count // 10):
            sent += self._ticket()
        await asyncio.gather(*sent)

    async def run(self, stopping: asyncio.Event, pause_seconds: float) -> None:
        """Send until told to stop."""
        while not stopping.is_set():
            await self.send(self._rng.randint(1, 60))
            await asyncio.sleep(pause_seconds)

    def _next(self) -> Body:
        """The next event; about one in ten is not good."""
        number, self.events = self.events, self.events + 1
        shop, item = f"s{self._rng.randrange(SHOPS)}", f"i{self._rng.randrange(ITEMS)}"
        kind = self._rng.random()
        if number > 200 and kind < 0.10:
            return self._bad(kind, number, shop, item)
        behind = self._rng.randrange(900) if kind < 0.4 else 0
        # No two good events have one time, so that the newest is the same in every order.
        time = START_MS + STEP_MS * (number - behind) + number % 1_000
        body: dict[str, Any] = {"id": f"e{number}", "time": time, "shop": shop, "item": item}
        body["units"] = float(self._rng.randrange(100))
        if number % 4:
            body["price"] = round(self._rng.lognormvariate(2, 1), 6)
            city = f"c{self._rng.randrange(CITIES)}"
            event = (shop, json.dumps({"event": "sold", "city": city, **body}).encode())
        else:
            event = (item, json.dumps({"event": "returned", **body}).encode())
        self._recent.append(event)
        return event

    def _bad(self, kind: float, number: int, shop: str, item: str) -> Body:
        """Malformed, unknown, without a field, too late, or sent before (now or long ago)."""
        time = START_MS + STEP_MS * number
        if kind < 0.01:
            return shop, self._rng.choice(NO_JSON)
        if kind < 0.02:
            return shop, json.dumps({"event": "eaten", "time": time, "shop": shop}).encode()
        if kind < 0.03:
            return item, json.dumps({"event": "returned", "time": time, "item": item}).encode()
        if kind < 0.05:
            body = {"id": f"e{number}", "time": time - TOO_LATE_MS, "shop": shop, "item": item}
            body["units"] = float(number % 100)
            self._late.append(body)
            return item, json.dumps({"event": "returned", **body}).encode()
        if kind < 0.06 and self._late:  # corrected by its producer, who keeps the id
            body = self._late.popleft() | {"time": time + number % 1_000}
            return str(body["item"]), json.dumps({"event": "returned", **body}).encode()
        return self._recent[self._rng.randrange(len(self._recent))]

    def _ticket(self) -> list[Any]:
        number, self.tickets = self.tickets, self.tickets + 1
        key, time = f"t{number}", START_MS + 20 * STEP_MS * number
        request = {"ticket": key, "shop": f"s{number % SHOPS}", "item": "i0", "city": "c0",
                   "pages": 1.0, "time": time}  # fmt: skip
        prediction = Prediction(
            f"p{number}", key, time, b"\0\0\0\0", "", 0.5, 0.5, "", 0, time,
            json.dumps(request).encode(),
        )  # fmt: skip
        label = {"key": key, "value": number % 2, "time": time + 1}
        return [
            self._send(PREDICTIONS, key, prediction.encode()),
            self._send(LABELS, key, json.dumps(label).encode()),
        ]

    async def _send(self, kind: str, key: str, value: bytes) -> None:
        topic = self._names.topic(kind)
        place = await self._producer.send_and_wait(topic, value, key=key.encode())
        ends = self.ends[kind]
        ends[place.partition] = max(ends.get(place.partition, 0), place.offset + 1)
