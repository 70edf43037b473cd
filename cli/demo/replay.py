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
from cli.demo.producer import EventProducer
from cli.demo.progress import Progress
from cli.demo.timeline import Step, rows, steps
from tidemill.declaration import Project
from tidemill.errors import ServiceError
from tidemill.topics import EVENTS, LABELS

BARRIER_SECONDS, FIRST_GUESS_SECONDS, POLL_SECONDS, RETRY_SECONDS = 60.0, 0.004, 0.0015, 0.05
OVER_HTTP_EVERY = 50  # one label in so many goes through the api instead of Kafka
SHOWN_FAILURES = 5


@dataclass(frozen=True)
class Connections:
    """What the replay talks to: scores, everything else of the api, and the broker."""

    scores: HttpClient
    others: HttpClient
    producer: EventProducer


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
        self._scores, self._others = connections.scores, connections.others
        self._producer = connections.producer
        self._events = {event.name: event for event in project.events}
        self._fields = [field.name for field in project.request.columns]
        self._usual_wait = FIRST_GUESS_SECONDS
        self._labels_seen = 0
        self._ends: dict[int, int] = {}

    async def run(self, between: Between) -> None:
        """Replay every step; raises TidemillError when the service stops answering."""
        span = self._options.span
        slow, started = False, perf_counter()
        for step in steps(self._history, span, span.start_ms - span.step_ms):
            began = perf_counter()
            scored = await self._step(step)
            if slow:
                pause = scored / self._options.throttled_per_second - (perf_counter() - began)
                await asyncio.sleep(max(pause, 0))
            elif scored:
                self._progress.scored_full_speed += scored
                self._progress.seconds_full_speed += perf_counter() - began
            self._progress.event_time_ms = step.barrier_ms
            self._progress.seconds_overall = perf_counter() - started
            slow = await between(step)

    async def _step(self, step: Step) -> int:
        """What is known goes out and is applied, then flights are scored; returns how many."""
        await self._send_labels(step)
        sent = await self._send_events(step)
        bodies = request_bodies(self._fields, rows(self._history.requests, step.requests))
        if bodies:
            await self._wait_until_applied(sent)
            await self._score(bodies)
        return len(bodies)

    async def _send_events(self, step: Step) -> Mapping[int, int]:
        records = [
            record
            for name, chosen in step.events.items()
            if chosen.stop > chosen.start
            for record in event_records(
                self._events[name], rows(self._history.events[name], chosen)
            )
        ]
        self._progress.events_sent += len(records)
        self._ends |= await self._producer.send(EVENTS, records)
        return self._ends

    async def _send_labels(self, step: Step) -> None:
        """Most through Kafka, some through the api: both roads lead to the same topic."""
        if not len(step.labels):
            return
        records = label_records(rows(self._history.labels, step.labels))
        first = -self._labels_seen % OVER_HTTP_EVERY
        over_http = [body for _, body in records[first::OVER_HTTP_EVERY]]
        del records[first::OVER_HTTP_EVERY]
        self._labels_seen += len(step.labels)
        await self._producer.send(LABELS, records)
        replies = await self._post(self._others, "/v1/labels", over_http)
        self._note_failures(replies)
        self._progress.labels_sent += len(records) + len(over_http)

    async def _wait_until_applied(self, sent: Mapping[int, int]) -> None:
        """Poll until every entity has been brought up to date with all events sent so far."""
        began = perf_counter()
        # Asking too early costs the worker the very core it needs.
        await asyncio.sleep(self._usual_wait * 0.8)
        while not await self._applied(sent):
            if perf_counter() - began > BARRIER_SECONDS:
                raise ServiceError(f"events were not applied within {BARRIER_SECONDS:g} s: {sent}")
            await asyncio.sleep(max(POLL_SECONDS, self._usual_wait * 0.1))
        waited = perf_counter() - began
        self._progress.barrier_seconds += waited
        self._usual_wait += 0.1 * (min(waited, 0.05) - self._usual_wait)

    async def _applied(self, sent: Mapping[int, int]) -> bool:
        reply = await self._others.get("/v1/progress")
        if reply.status != 200 and self._options.retry:
            await asyncio.sleep(RETRY_SECONDS)
            return False
        applied = msgspec.json.decode(require_ok(reply, "GET /v1/progress"))["events"]
        return all(applied.get(str(source), 0) >= end for source, end in sent.items())

    async def _score(self, bodies: Sequence[bytes]) -> None:
        replies = await self._post(self._scores, "/v1/score", bodies)
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
