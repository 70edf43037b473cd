"""Flights as live traffic: events, requests and labels in the order of their times, at a rate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np
from aiokafka import AIOKafkaProducer
from flights import PLAN, Flights

from bench._load import http_request
from bench._open_loop import OpenLoop
from cli.demo.messages import event_records
from cli.demo.timeline import rows
from tidemill.topics import EVENTS, LABELS, Names

TICK_SECONDS = 0.01
LINES = 64


@dataclass(frozen=True)
class Answered:
    """One request: its row, when it was due and how long its answer took, and what it said."""

    row: int
    status: int
    due: float  # of perf_counter
    milliseconds: float
    answer: dict[str, Any]

    @property
    def release(self) -> str:
        """The release that answered."""
        found: str = self.answer["model"]["release"]
        return found


@dataclass
class FlightTraffic:
    """Sends from the first flight on; `label_of` makes the JSON of a row's outcome."""

    flights: Flights
    names: Names
    port: int
    producer: AIOKafkaProducer
    label_of: Callable[[int], bytes]
    answers: list[Answered] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._events = _event_log(self.flights)
        order = np.argsort(self.flights.label_times, kind="stable")
        self._labels = list(
            zip(self.flights.label_times[order].tolist(), order.tolist(), strict=True)
        )
        self._next_event = self._next_label = self.asked = 0

    async def run(self, rate: int, stopping: asyncio.Event) -> float:
        """So many requests a second, whether they are answered or not; for how many seconds."""
        client = OpenLoop(self.port, self._note)
        await client.open(LINES)
        per_tick, began, first, tick = rate * TICK_SECONDS, perf_counter(), self.asked, 0
        while not stopping.is_set() and self.asked < len(self.flights):
            due = began + tick * TICK_SECONDS
            await asyncio.sleep(max(due - perf_counter(), 0))
            until = min(first + round((tick + 1) * per_tick), len(self.flights))
            await self._known(int(self.flights.times[min(until, len(self.flights) - 1)]))
            for row in range(self.asked, until):
                request = http_request("/v1/score", self.flights.bodies[row])
                client.post((row, due), request, due)
            self.asked, tick = until, tick + 1
        await client.close()
        assert client.ended == client.sent
        return tick * TICK_SECONDS

    async def rest_of_labels(self) -> None:
        """The outcomes of everything that was asked, however long it would take."""
        while self._next_label < len(self._labels):
            _, row = self._labels[self._next_label]
            self._next_label += 1
            if row < self.asked:
                await self._label(row)
        await self.producer.flush()

    async def _known(self, now_ms: int) -> None:
        """Send what is known by now."""
        while self._next_event < len(self._events) and self._events[self._next_event][0] <= now_ms:
            _, key, body = self._events[self._next_event]
            await self.producer.send(self.names.topic(EVENTS), body, key=key)
            self._next_event += 1
        # The last request's own label must not overtake it.
        while self._next_label < len(self._labels) and self._labels[self._next_label][0] <= now_ms:
            _, row = self._labels[self._next_label]
            if row >= self.asked:
                break
            await self._label(row)
            self._next_label += 1

    async def _label(self, row: int) -> None:
        key = self.flights.keys[row].encode()
        await self.producer.send(self.names.topic(LABELS), self.label_of(row), key=key)
        self.labelled.append(row)

    def _note(self, what: object, status: int, body: bytes, milliseconds: float) -> None:
        row, due = what
        answer = json.loads(body) if body else {}
        self.answers.append(Answered(row, status, due, milliseconds, answer))


def percentiles(answers: Sequence[Answered]) -> tuple[float, float]:
    """p50 and p99 in milliseconds."""
    found = np.percentile([each.milliseconds for each in answers], (50, 99)).round(2).tolist()
    return found[0], found[1]


def _event_log(flights: Flights) -> list[tuple[int, bytes, bytes]]:
    """Every event with its time and key, in the order of their times."""
    found = []
    for event in PLAN.project.events:
        table = flights.history.events[event.name]
        for time, (key, body) in zip(
            table["time"].tolist(), event_records(event, rows(table, slice(None))), strict=True
        ):
            assert key is not None
            found.append((time, key, body))
    return sorted(found, key=lambda each: each[0])
