"""Take labels over HTTP and hand them to the log, exactly as producers write them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from api.http.call import Call
from api.http.errors import refuse_without_broker
from api.http.trace_context import trace_headers
from api.ports import KeyStore
from api.resources.idempotency import Idempotency
from features.decoding import check_label, label_error
from tidemill import topics
from tidemill.bus import Headers, Outgoing, Producer
from tidemill.clock import Clock
from tidemill.errors import BusUnavailable, InputError
from tidemill.label import Kind
from tidemill.wire import LabelEvent

BROKER_DEADLINE_SECONDS = 5.0
MOST_LABELS = 1_000


class LabelsAccepted(msgspec.Struct, frozen=True):
    """How many labels the broker has acknowledged."""

    accepted: int


class LabelInbox:
    """Checks labels and answers once the broker has them; an idempotency key is honoured."""

    def __init__(  # noqa: PLR0913 - ports, and the bounds of what is taken
        self,
        producer: Producer,
        keys: KeyStore,
        clock: Clock,
        skew_ms: int,
        kind: Callable[[], Kind],
        limit: int = MOST_LABELS,
    ) -> None:
        self._limit = limit
        self._producer, self._clock, self._skew_ms = producer, clock, skew_ms
        self._kind, self._idempotency = kind, Idempotency(keys)
        self._decoder = msgspec.json.Decoder(LabelEvent | list[LabelEvent])

    async def take(self, call: Call) -> bytes:
        """Take the labels of a call. Raises InputError, Refused and StoreUnavailable."""
        labels = self.decode(call.body)  # before any key: what cannot be used takes none
        call.held = len(labels)

        async def answer() -> bytes:
            accepted = await self.accept(labels, trace_headers(call.traceparent))
            return msgspec.json.encode(accepted)

        return await self._idempotency.once(call, answer)

    def decode(self, body: bytes) -> list[LabelEvent]:
        """One label or a list of them. Raises InputError naming the label's place in a list."""
        try:
            decoded: LabelEvent | list[LabelEvent] = self._decoder.decode(body)
        except msgspec.DecodeError as error:
            raise label_error(error, self._kind()) from None
        except UnicodeDecodeError as error:
            raise InputError("malformed", "body", str(error), "UTF-8") from None
        except RecursionError:
            raise InputError("malformed", "body", "nested too deeply", "labels") from None
        if isinstance(decoded, LabelEvent):
            self._check(decoded, "")
            return [decoded]
        if len(decoded) > self._limit:  # checking and sending them is work that scores wait for
            found, allowed = f"{len(decoded)} labels", f"at most {self._limit}"
            raise InputError("too_many_labels", "body", found, allowed)
        for place, label in enumerate(decoded):
            self._check(label, f"[{place}].")
        return decoded

    async def accept(self, labels: list[LabelEvent], headers: Headers = ()) -> LabelsAccepted:
        """Write them to the log. Raises Refused (503) when the broker does not acknowledge."""
        records: list[Outgoing] = [(label.key.encode(), _ENCODE(label)) for label in labels]
        if headers:
            records = [(key, value, headers) for key, value, *_ in records]
        try:
            async with asyncio.timeout(BROKER_DEADLINE_SECONDS):
                await self._producer.send_many(topics.LABELS, records)
        except BusUnavailable as error:
            raise refuse_without_broker(str(error)) from error
        except TimeoutError:
            message = f"no answer within {BROKER_DEADLINE_SECONDS:g} s"
            raise refuse_without_broker(message) from None
        return LabelsAccepted(len(labels))

    def _check(self, label: LabelEvent, place: str) -> None:
        try:
            check_label(label, self._clock.now_ms() + self._skew_ms, self._kind())
        except InputError as error:
            field = f"{place}{error.field}"
            raise InputError(error.cause, field, error.found, error.allowed) from None


_ENCODE = msgspec.json.Encoder().encode
