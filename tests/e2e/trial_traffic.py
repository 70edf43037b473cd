"""Crossings that are asked about at a rate, and outcomes that follow the swell, or the wind."""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from aiokafka import AIOKafkaProducer

from bench._load import http_request
from bench._open_loop import OpenLoop

RATE = 120  # requests a second
BLOCK_ROWS = 12  # of which a minute of the stream has so many
STEP_MS = 60_000 // BLOCK_ROWS
START_MS = 1_700_000_040_000  # a full minute
MOST = RATE * 300
RIGHT = 0.9  # how many outcomes are what the swell, or the wind, says
LINES, PIERS = 32, 5


@dataclass(frozen=True)
class Answered:
    """One request: when it was due and answered, by perf_counter, and what it was told."""

    status: int
    due: float
    moment: float
    answer: dict[str, Any]

    @property
    def release(self) -> str:
        """The release that answered."""
        found: str = self.answer["model"]["release"]
        return found

    @property
    def version(self) -> tuple[str, int]:
        """The release that answered, and the number of its snapshot."""
        return self.release, self.answer["model"]["snapshot"]


class Crossings:
    """Seeded; asks whether it is answered or not, and sends every outcome behind its answer."""

    def __init__(self, port: int, producer: AIOKafkaProducer, topic: str, seed: int) -> None:
        """`topic` is that of the labels."""
        self._port, self._producer, self._topic = port, producer, topic
        self._random = random.Random(seed)
        self._late: list[int] = []
        self._turned = False
        self._known: deque[int] = deque()
        self.answers: list[Answered] = []

    @property
    def asked(self) -> int:
        """How many requests were made."""
        return len(self._late)

    def turn(self) -> int:
        """From the next request on its wind decides, not its swell; the time of its outcome."""
        self._turned = True
        return _outcome_ms(self.asked)

    async def run(self, stopping: asyncio.Event) -> None:
        """Ask until told to stop; then wait for what is under way, and send what is known of it."""
        client = OpenLoop(self._port, self._note)
        await client.open(LINES)
        began = perf_counter()
        while not stopping.is_set():
            assert self.asked < MOST, "it takes too long"
            due = began + self.asked / RATE
            await asyncio.sleep(max(due - perf_counter(), 0))
            row, body = self.asked, self._next_request()
            client.post((row, due), http_request("/v1/score", body), due)
            await self._tell()
        await client.close()
        await self._tell()
        await self._producer.flush()

    def _next_request(self) -> bytes:
        row, draw = self.asked, self._random
        wind, swell = draw.gauss(0, 1), draw.gauss(0, 1)
        decides = wind if self._turned else swell
        self._late.append(int((decides > 0) == (draw.random() < RIGHT)))
        request = {"ticket": f"t{row}", "pier": f"p{row % PIERS}", "wind": wind, "swell": swell}
        return json.dumps(request | {"time": START_MS + row * STEP_MS}).encode()

    async def _tell(self) -> None:
        """Send the outcomes of what was answered."""
        while self._known:
            row = self._known.popleft()
            body = {"key": f"t{row}", "value": self._late[row], "time": _outcome_ms(row)}
            key = body["key"].encode()
            await self._producer.send(self._topic, json.dumps(body).encode(), key=key)

    def _note(self, what: object, status: int, body: bytes, milliseconds: float) -> None:
        row, due = what
        answer = json.loads(body) if body else {}
        self.answers.append(Answered(status, due, due + milliseconds / 1000, answer))
        if status == 200:
            self._known.append(row)


def _outcome_ms(row: int) -> int:
    """When it is known whether a crossing was late: before the next one is asked about."""
    return START_MS + row * STEP_MS + STEP_MS // 2
