"""Take events over HTTP, as ours or as CloudEvents, and hand them to the log."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar
from urllib.parse import unquote_to_bytes

import msgspec

from api.http.call import Call
from api.http.errors import refuse_without_broker
from api.http.trace_context import trace_headers
from api.resources.labels import BROKER_DEADLINE_SECONDS
from features.cloud_events import BATCH, STRUCTURED, binary_body, media_type, structured_body
from features.decoding import EventDecoder, event_key
from tidemill import topics
from tidemill.bus import Headers, Outgoing, Producer
from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import BusUnavailable, InputError

MEDIA_TYPES = ("application/json", STRUCTURED, BATCH)
_PREFIX = b"ce-"
_MANY: msgspec.json.Decoder[list[msgspec.Raw]] = msgspec.json.Decoder(list[msgspec.Raw])
Made = TypeVar("Made")
_ENCODE = msgspec.json.Encoder().encode


class EventsAccepted(msgspec.Struct, frozen=True):
    """How many events the broker has acknowledged."""

    accepted: int


class EventInbox:
    """Checks events as the worker will, and answers once the broker has them.

    A request's `time` limits are the api's clock; the worker judges duplicates and lateness.
    """

    def __init__(
        self,
        producer: Producer,
        project: Callable[[], Project],
        clock: Clock,
        skew_ms: int,
        limit: int,
    ) -> None:
        self._producer, self._project, self._limit = producer, project, limit
        self._clock, self._skew_ms = clock, skew_ms
        self._decoder: tuple[Project, EventDecoder] | None = None

    async def take(self, call: Call) -> bytes:
        """Take the events of a call. Raises InputError, and Refused (503) without the broker."""
        bodies, place = self._bodies(call)
        records = self._records(bodies, place, trace_headers(call.traceparent))
        call.held = len(records)
        try:
            async with asyncio.timeout(BROKER_DEADLINE_SECONDS):
                await self._producer.send_many(topics.EVENTS, records)
        except BusUnavailable as error:
            raise refuse_without_broker(str(error), "events") from error
        except TimeoutError:
            message = f"no answer within {BROKER_DEADLINE_SECONDS:g} s"
            raise refuse_without_broker(message, "events") from None
        return _ENCODE(EventsAccepted(len(records)))

    def _bodies(self, call: Call) -> tuple[list[bytes], bool]:
        """Each event as our JSON, and whether it has a place in a list."""
        media = media_type((call.header(b"content-type") or b"").decode("latin-1"))
        if media == STRUCTURED:
            return [structured_body(call.body)], False
        if media == BATCH:
            return [_at(n, structured_body, each) for n, each in enumerate(self._list(call))], True
        if attributes := _attributes(call):
            return [binary_body(attributes, media, call.body, _PREFIX.decode())], False
        if media not in ("", MEDIA_TYPES[0]):
            allowed = f"one of {', '.join(MEDIA_TYPES)}"
            raise InputError("unsupported_media_type", "content-type", media, allowed)
        if call.body.lstrip()[:1] == b"[":
            return self._list(call), True
        return [call.body.strip()], False

    def _list(self, call: Call) -> list[bytes]:
        try:
            found = [bytes(each) for each in _MANY.decode(call.body)]
        except msgspec.ValidationError:
            raise InputError("wrong_type", "body", "another value", "a list of events") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            text = str(error) or "nested too deeply"
            raise InputError("malformed", "body", text, "a JSON list of events") from None
        if len(found) > self._limit:
            allowed = f"at most {self._limit}"
            raise InputError("too_many_events", "body", f"{len(found)} events", allowed)
        return found

    def _records(self, bodies: Sequence[bytes], listed: bool, headers: Headers) -> list[Outgoing]:
        decoder, events = self._decoder_of(self._project()), self._project().events

        def record(body: bytes) -> Outgoing:
            kind, event = decoder.decode(body, decoder.latest_ms())
            key = event_key(events[kind], event).encode()
            return (key, body, headers) if headers else (key, body)

        if not listed:
            return [record(body) for body in bodies]
        return [_at(place, record, body) for place, body in enumerate(bodies)]

    def _decoder_of(self, project: Project) -> EventDecoder:
        """What decodes this declaration's events; made once."""
        if self._decoder is None or self._decoder[0] is not project:
            self._decoder = project, EventDecoder(project, self._clock, self._skew_ms)
        return self._decoder[1]


def _at(place: int, make: Callable[[bytes], Made], body: bytes) -> Made:
    """What `make` makes of one event of a list; an error names the event's place."""
    try:
        return make(body)
    except InputError as error:
        field = f"[{place}].{error.field}"
        raise InputError(error.cause, field, error.found, error.allowed) from None


def _attributes(call: Call) -> dict[str, str]:
    """The attributes of a CloudEvent in binary mode (HTTP protocol binding, section 3.1.3)."""
    found: dict[str, str] = {}
    for name, value in call.scope["headers"]:
        if name.startswith(_PREFIX):
            field = name[len(_PREFIX) :].decode("latin-1")
            try:
                found[field] = unquote_to_bytes(value).decode()
            except UnicodeDecodeError:
                what = "bytes that are not UTF-8"
                raise InputError(
                    "invalid_cloudevent", f"{_PREFIX.decode()}{field}", what, "UTF-8"
                ) from None
    return found
