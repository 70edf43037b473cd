"""Drives the service in event time: events and labels to Kafka, a barrier, a score per flight."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import msgspec

from cli.demo.client import HttpClient, Reply, require_ok
from cli.demo.history import History
from cli.demo.messages import event_records, label_records, request_bodies
from cli.demo.options import DemoOptions
from cli.demo.progress import Progress
from cli.demo.timeline import Step, rows, steps
from tidemill.bus import Producer
from tidemill.declaration import Project
from tidemill.errors import ServiceError
from tidemill.topics import EVENTS, LABELS

BARRIER_SECONDS, FIRST_GUESS_SECONDS, POLL_SECONDS, RETRY_SECONDS = 60.0, 0.004, 0.0015, 0.05
LEFT_FOR_SECONDS = 60.0  # at the slow rate there is always this much more to score
OVER_HTTP_EVERY = 50  # one label in so many goes through the api instead of Kafka
SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Connections:
    """What the replay talks to: the api (one client for each use) and the broker."""

    scores: HttpClient
    labels: HttpClient
    others: HttpClient
    producer: Producer


@dataclass(frozen=True)
class Prepared:
    """One step as it will be sent; `over_http` are the labels that go through the api."""

    step: Step
    events: list[tuple[bytes | None, bytes]]
    labels: list[tuple[bytes | None, bytes]]
    over_http: list[bytes]
    requests: list[bytes]


Between = Callable[[Step], Awaitable[bool]]
"""Runs after each step; true while the replay shall go slowly."""


class Replay:
    """Replays a range once. Same data, same barriers: every run sends the same requests."""

    def __init__(
        self,
        project: Project,
        history: History,
        options: DemoOptions,
        connections: Connections,
        progress: Progress,
    ) -> None:
        self._history, self._options, self._progress = history, options, progress
        self._connections, self._producer = connections, connections.producer
        self._events = {event.name: event for event in project.events}
        self._fields = [field.name for field in project.request.columns]
        self._usual_wait = FIRST_GUESS_SECONDS
        self._labels_seen = 0
        self._ends: dict[int, int] = {}
        span = options.span
        self._steps = steps(history, span, span.start_ms - span.step_ms)
        self._next: Prepared | None = None

    async def run(self, between: Between) -> None:
        """Replay every step; raises TidemillError when the service stops answering.

        Times begin once the worker has applied the first step: before that it joins its groups.
        """
        self._prepare_next()
        slow, ready = False, False
        began = started = perf_counter()
        while (prepared := self._next) is not None:
            self._next = None
            await self._step(prepared, wait=not ready or bool(prepared.requests))
            if slow:
                pause = len(prepared.requests) / self._slow_rate()
                await asyncio.sleep(max(pause - (perf_counter() - began), 0))
            if self._next is None:
                self._prepare_next()
            self._progress.event_time_ms = prepared.step.barrier_ms
            now_slow = await between(prepared.step)
            now = perf_counter()
            if not ready:
                ready, started = True, now
            elif prepared.step.barrier_ms < self._options.span.end_ms:
                if not slow:
                    self._progress.scored_full_speed += len(prepared.requests)
                    self._progress.seconds_full_speed += now - began
                self._progress.seconds_overall = now - started
            slow, began = now_slow, now

    def _slow_rate(self) -> float:
        """Flights per second beside a retrain; fewer where few are left, to see its swap."""
        left = self._progress.flights_total - self._progress.scored
        return min(self._options.throttled_per_second, max(left / LEFT_FOR_SECONDS, 1.0))

    def _prepare_next(self) -> None:
        step = next(self._steps, None)
        self._next = None if step is None else self._prepare(step)

    def _prepare(self, step: Step) -> Prepared:
        """Encode a step: most labels go through Kafka, some through the api."""
        events = [
            record
            for name, chosen in step.events.items()
            if chosen.stop > chosen.start
            for record in event_records(
                self._events[name], rows(self._history.events[name], chosen)
            )
        ]
        labels = label_records(rows(self._history.labels, step.labels))
        first = -self._labels_seen % OVER_HTTP_EVERY
        self._labels_seen += len(labels)
        over_http = [body for _, body in labels[first::OVER_HTTP_EVERY]]
        del labels[first::OVER_HTTP_EVERY]
        requests = request_bodies(self._fields, rows(self._history.requests, step.requests))
        return Prepared(step, events, labels, over_http, requests)

    async def _step(self, prepared: Prepared, wait: bool) -> None:
        """What is known goes out and is applied, then the flights are scored."""
        self._ends |= dict(await self._producer.send_many(EVENTS, prepared.events))
        self._progress.events_sent += len(prepared.events)
        if wait:
            await self._wait_until_applied(self._ends)
        # Labels go out beside the scores: while the events are applied they would be in the way.
        await asyncio.gather(self._send_labels(prepared), self._score(prepared.requests))

    async def _send_labels(self, prepared: Prepared) -> None:
        await self._producer.send_many(LABELS, prepared.labels)
        replies = await self._post(self._connections.labels, "/v1/labels", prepared.over_http)
        self._note_failures(replies)
        self._progress.labels_sent += len(prepared.labels) + len(prepared.over_http)

    async def _wait_until_applied(self, sent: Mapping[int, int]) -> None:
        """Poll until every entity has been brought up to date with all events sent so far."""
        began = perf_counter()
        self._prepare_next()
        # Asking too early costs the worker the very core it needs.
        await asyncio.sleep(max(self._usual_wait * 0.8 - (perf_counter() - began), 0))
        while not await self._applied(sent):
            if perf_counter() - began > BARRIER_SECONDS:
                raise ServiceError(f"events were not applied within {BARRIER_SECONDS:g} s: {sent}")
            await asyncio.sleep(max(POLL_SECONDS, self._usual_wait * 0.1))
        waited = perf_counter() - began
        self._progress.barrier_seconds += waited
        self._usual_wait += 0.1 * (min(waited, 0.05) - self._usual_wait)

    async def _applied(self, sent: Mapping[int, int]) -> bool:
        reply = await self._connections.others.get("/v1/progress")
        if reply.status != 200 and self._options.retry:
            await asyncio.sleep(RETRY_SECONDS)
            return False
        applied = msgspec.json.decode(require_ok(reply, "GET /v1/progress"))["events"]
        return all(applied.get(str(source), 0) >= end for source, end in sent.items())

    async def _score(self, bodies: Sequence[bytes]) -> None:
        replies = await self._post(self._connections.scores, "/v1/score", bodies)
        self._note_failures(replies)
        good = [reply.milliseconds for reply in replies if reply.good]
        self._progress.latencies_ms += good
        self._progress.scored += len(good)

    async def _post(self, client: HttpClient, path: str, bodies: Sequence[bytes]) -> list[Reply]:
        """POST all; where processes are killed on purpose, until all are answered."""
        replies = await client.post(path, bodies)
        while self._options.retry:
            again = [at for at, reply in enumerate(replies) if not reply.good]
            if not again:
                break
            await asyncio.sleep(RETRY_SECONDS)
            self._progress.repeated += len(again)
            for at, reply in zip(
                again, await client.post(path, [bodies[at] for at in again]), strict=True
            ):
                replies[at] = reply
        return replies

    def _note_failures(self, replies: Sequence[Reply]) -> None:
        for reply in replies:
            if not reply.good:
                self._progress.failed += 1
                if len(self._progress.failures) < SHOWN_FAILURES:
                    text = reply.body[:200].decode(errors="replace")
                    self._progress.failures.append(f"status {reply.status}: {text}")
