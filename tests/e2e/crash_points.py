"""The marked points: a worker that kills itself at the n-th call of a port, before or after it.

A call is named `PORT:STEP` (and `:TOPIC` for what is sent), for example `commit:updates`,
`send:events:deadletters`. The moments:

- before: nothing of the call has happened;
- after: all of it has, and the caller knows;
- answer: the broker or the store has done it, and the answer has not been read;
- alone: of several calls at once only this one was let through, and is done;
- pause: before it, the process stops itself; whoever wakes it finds it a zombie;
- lost: nothing is killed; the call is done, but its answer is lost: the caller sees an error.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import time
from dataclasses import dataclass
from typing import Any, Self

import redis
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.group_coordinator import CoordinatorGroupRebalance, GroupCoordinator
from redis.asyncio.connection import AbstractConnection

import features.archive.files
from cli.kafka_bus import KafkaConsumer, KafkaProducer
from features.archive.files import ArchiveWriter
from features.redis.store import RedisStore
from features.store import Commit
from streams.archive import Archive
from streams.fold import Fold
from streams.join import Join
from streams.learn import Learn
from streams.rekey import Rekey
from tidemill.errors import BusUnavailable, StoreUnavailable

_APPLIED_SECONDS = 2.0
_PRODUCE = 0  # the key of this request in Kafka's protocol
_step: contextvars.ContextVar[str] = contextvars.ContextVar("step", default="")
_commit: contextvars.ContextVar[Commit | None] = contextvars.ContextVar("commit", default=None)


@dataclass(frozen=True)
class Point:
    """Where to die."""

    call: str
    moment: str
    nth: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """The point that `str` wrote."""
        call, moment, nth = text.split()
        return cls(call, moment, int(nth))

    def __str__(self) -> str:
        return f"{self.call} {self.moment} {self.nth}"


def _points(calls: str, moments: str, nth: int = 1) -> list[Point]:
    return [Point(call, moment, nth) for call in calls.split() for moment in moments.split()]


ASLEEP, LOST = "asleep at its point", "the answer is lost at its point"  # what a worker writes
OPENED = 9  # files an archive opens, each with a mark: events, predictions and examples

POINTS = [
    # events → updates
    *_points("sync:events sync:updates", "before after"),
    *_points("claim:events", "before after"),
    *_points("poll:events", "after"),
    *_points("send:events:updates", "before alone answer after lost"),
    *_points("send:events:updates", "alone after", 3),
    *_points("send:events:deadletters", "before answer after lost"),
    *_points("commit:events", "before answer after lost"),
    *_points("commit:events", "before answer", 2),
    # updates → windows
    *_points("claim:updates", "before after"),
    *_points("poll:updates", "after"),
    *_points("read:updates", "before after"),
    *_points("commit:updates", "before answer after lost"),
    *_points("commit:updates", "before answer after", 3),
    # labels → examples
    *_points("side:join poll:join", "after"),
    *_points("commit:join send:join:examples", "before answer after lost"),
    # everything → archive
    *_points("poll:archive", "after"),
    *_points("open:archive write:archive file:archive", "before after"),
    *_points("file:archive", "after", 3),
    *_points("mark:archive", "before after"),
    *_points("mark:archive", "before after", OPENED + 1),
]  # fmt: skip


@dataclass
class _Trigger:
    """Counts the calls of one name; `hit` is true for the one to act at."""

    point: Point
    count: int = 0

    def hit(self, call: str) -> bool:
        if call != self.point.call:
            return False
        self.count += 1
        return self.count == self.point.nth

    def passed(self, call: str) -> bool:
        return call == self.point.call and self.count > self.point.nth


def arm(point: Point, store_url: str) -> None:
    """Wrap the ports of this process, for good."""
    trigger = _Trigger(point)
    for step in (Rekey, Fold, Join, Learn, Archive):
        for method in ("open", "process", "tick", "close"):
            _name_step(step, method)
    for method in ("read", "claim", "side", "commit"):
        _wrap(RedisStore, method, trigger, f"{method}:", StoreUnavailable)
    _wrap(KafkaProducer, "send_many", trigger, "send:", BusUnavailable)
    _wrap_poll(trigger)
    _wrap_sync(trigger)
    _wrap_plain(ArchiveWriter, "__init__", trigger, "open:archive")
    _wrap_plain(ArchiveWriter, "write", trigger, "write:archive")
    _wrap_plain(ArchiveWriter, "_write_commit", trigger, "mark:archive")
    _wrap_plain(features.archive.files, "_write_parquet", trigger, "file:archive")
    if point.moment == "answer":
        _die_with_answers(store_url)


def tell_members() -> None:
    """Write every membership of a Kafka group to the log, so that a dead member can be evicted."""

    def told(self: Any, member: str) -> None:
        self.__dict__["member_id"] = member
        if member:
            print(f"member {self.group_id} {member}", flush=True)

    GroupCoordinator.member_id = property(lambda self: self.__dict__["member_id"], told)


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _act_before(moment: str) -> None:
    if moment == "before":
        _die()
    if moment == "pause":
        print(ASLEEP, flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)


def _act_after(moment: str) -> None:
    if moment == "after":
        _die()


def _name_step(step: Any, method: str) -> None:
    original = getattr(step, method)

    async def named(self: Any, *arguments: Any, **options: Any) -> Any:
        token = _step.set(self.name)
        try:
            return await original(self, *arguments, **options)
        finally:
            _step.reset(token)

    setattr(step, method, named)


def _wrap(owner: Any, method: str, trigger: _Trigger, prefix: str, error: type[Exception]) -> None:
    original, moment = getattr(owner, method), trigger.point.moment

    async def wrapped(self: Any, *arguments: Any, **options: Any) -> Any:
        call = prefix + _step.get()
        if method == "send_many":
            if not arguments[1]:
                return await original(self, *arguments, **options)
            call += f":{arguments[0]}"
        hit = trigger.hit(call)
        if moment == "alone" and trigger.passed(call):
            await asyncio.Event().wait()
        if not hit:
            return await original(self, *arguments, **options)
        _act_before(moment)
        if moment == "answer":
            _armed.update(topic=self._names.topic(arguments[0]) if method == "send_many" else "")
            _commit.set(arguments[0] if method == "commit" else None)
        result = await original(self, *arguments, **options)
        _act_after(moment if moment != "alone" else "after")
        if moment == "lost":
            print(LOST, call, flush=True)
            raise error(f"{call}: its answer was lost")
        assert moment == "pause", f"{call}: its answer was read"
        return result

    setattr(owner, method, wrapped)


def _wrap_poll(trigger: _Trigger) -> None:
    original = KafkaConsumer.poll

    async def wrapped(self: Any, wait_ms: int, limit: int) -> Any:
        polled = await original(self, wait_ms, limit)
        group = self._options["group_id"]
        if polled and trigger.point.call.startswith("poll:"):
            step = trigger.point.call.removeprefix("poll:")
            if step in group.split("-") and trigger.hit(trigger.point.call):
                _act_before(trigger.point.moment)
                _act_after(trigger.point.moment)
        return polled

    KafkaConsumer.poll = wrapped  # type: ignore[method-assign]


def _wrap_sync(trigger: _Trigger) -> None:
    """Between a group's two calls: the broker has a new member that never says a word."""
    original = CoordinatorGroupRebalance._send_sync_group_request

    async def wrapped(self: Any, request: Any) -> Any:
        parts = self._coordinator.group_id.split("-")
        hit = any(trigger.hit(f"sync:{part}") for part in parts)
        if hit:
            _act_before(trigger.point.moment)
        answer = await original(self, request)
        if hit:
            _act_after(trigger.point.moment)
        return answer

    CoordinatorGroupRebalance._send_sync_group_request = wrapped


def _wrap_plain(owner: Any, name: str, trigger: _Trigger, call: str) -> None:
    """A call that blocks: those of the archive."""
    original = getattr(owner, name)

    def wrapped(*arguments: Any) -> Any:
        hit = trigger.hit(call)
        if hit:
            _act_before(trigger.point.moment)
        result = original(*arguments)
        if hit:
            _act_after(trigger.point.moment)
        return result

    setattr(owner, name, wrapped)


_armed: dict[str, str] = {}


def _die_with_answers(store_url: str) -> None:
    """Die when what was asked for is done, while its answer still waits to be read."""
    handle, read = AIOKafkaConnection._handle_frame, AbstractConnection.read_response

    def handle_frame(self: Any, frame: bytes) -> None:
        request = self._requests[0][1]
        if request.API_KEY == _PRODUCE and _armed.get("topic") in _topics(request):
            _die()
        handle(self, frame)

    async def read_response(self: Any, *arguments: Any, **options: Any) -> Any:
        commit = _commit.get()
        if commit is not None and _is_applied(store_url, commit):
            _die()
        return await read(self, *arguments, **options)

    AIOKafkaConnection._handle_frame = handle_frame
    AbstractConnection.read_response = read_response


def _topics(produce: Any) -> list[str]:
    return [topic for topic, _ in produce.topics]


def _is_applied(store_url: str, commit: Commit) -> bool:
    """Ask on a connection of its own, and let nothing else happen in this process meanwhile.

    False when the server knew no such script yet and waits for its text.
    """
    deadline = time.monotonic() + _APPLIED_SECONDS
    wanted = {name.encode(): str(value).encode() for name, value in commit.fields.items()}
    with redis.Redis.from_url(store_url) as other:
        while time.monotonic() < deadline:
            found: Any = other.hgetall(commit.fence)
            if all(found.get(name) == value for name, value in wanted.items()):
                return True
            time.sleep(0.001)
    return False
