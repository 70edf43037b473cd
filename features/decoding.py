"""Decode what comes from outside: events and score requests, checked against their declaration."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any

import msgspec

from tidemill.clock import Clock
from tidemill.declaration import Project
from tidemill.errors import InputError
from tidemill.fields import LARGEST_WHOLE, Field
from tidemill.label import Kind
from tidemill.sources import Event
from tidemill.wire import LabelEvent

Whole = Annotated[int, msgspec.Meta(ge=-LARGEST_WHOLE, le=LARGEST_WHOLE)]
Time = int | Annotated[datetime, msgspec.Meta(tz=True)]
# No declared field has a name with a space, and no text matches.
_NO_EVENT, _Never = "no event", Annotated[str, msgspec.Meta(pattern="(?!)")]
LABEL_VALUES = {"binary": "0 or 1", "number": "a finite number"}
TIME_ALLOWED = "milliseconds since 1970 (integer) or ISO 8601 with an offset"
_EXPECTED = re.compile(r"Expected `(?P<allowed>[^`]+)`, got `(?P<found>[^`]+)`")
_LIMIT = re.compile(r"Expected `int` [<>]= ")
_OUT_OF_RANGE = "a number out of range"
_WHOLE_ALLOWED = f"an integer from -{LARGEST_WHOLE} to {LARGEST_WHOLE}"
_ENUM = re.compile(r"Invalid enum value (?P<found>.+)")
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`")
_NAMED = re.compile(r"(?P<what>missing required field|contains unknown field) `(?P<field>[^`]*)`")


def input_error(error: msgspec.DecodeError) -> InputError:
    """The typed error for what msgspec found wrong: which field, what was found and allowed."""
    text = str(error)
    path = (_PATH.search(text) or {"path": ""})["path"]
    text = _PATH.sub("", text)
    if not isinstance(error, msgspec.ValidationError):
        return InputError("malformed", "body", text, "one JSON object")
    if named := _NAMED.search(text):
        field = f"{path}.{named['field']}" if path else named["field"]
        if named["what"].startswith("missing"):
            return InputError("missing_field", field, "nothing", "a value")
        return InputError("unknown_field", field, "a field", "declared fields only")
    if expected := _EXPECTED.search(text):
        allowed = TIME_ALLOWED if path.endswith("time") else expected["allowed"]
        return InputError("wrong_type", path or "body", expected["found"], allowed)
    if _LIMIT.search(text):
        return InputError("invalid_value", path, _OUT_OF_RANGE, _WHOLE_ALLOWED)
    if path.endswith("time"):
        return InputError("invalid_value", path, text, TIME_ALLOWED)
    if text == "Number out of range":
        return InputError("invalid_value", path, _OUT_OF_RANGE, "a number that float64 can hold")
    found = enum["found"] if (enum := _ENUM.search(text)) else text
    return InputError("invalid_value", path or "body", found, "a declared value")


def label_error(error: msgspec.DecodeError, kind: Kind = "binary") -> InputError:
    """`input_error` for a label, or a list of them: it says which values there are."""
    found = input_error(error)
    if found.field.endswith("value") and found.cause in ("wrong_type", "invalid_value"):
        return InputError(found.cause, found.field, found.found, LABEL_VALUES[kind])
    return found


def milliseconds(time: int | datetime) -> int:
    """A decoded time as milliseconds since 1970."""
    return time if isinstance(time, int) else round(time.timestamp() * 1000)


def check_time(time_ms: int, latest_ms: int) -> int:
    """The time itself; raises InputError for one before 1970 or after `latest_ms`."""
    if not 0 < time_ms <= latest_ms:
        allowed = f"a time after 1970 and not later than {latest_ms} ms (now and the allowed skew)"
        raise InputError("absurd_time", "time", str(time_ms), allowed)
    return time_ms


def _annotation(field: Field) -> Any:
    kind: Any = Whole if field.type is int else field.type
    return kind | None if field.optional else kind


def _decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """Decode one body; raises msgspec.DecodeError for everything that is wrong with it."""
    try:
        return decoder.decode(body)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(f"not UTF-8: {error}") from None
    except RecursionError:
        raise msgspec.DecodeError("nested too deeply") from None


def _struct(
    name: str, fields: Sequence[Field], extra: list[Any], strict: bool = True, **options: Any
) -> type[Any]:
    required = [(f.name, _annotation(f)) for f in fields if not f.optional]
    optional = [(f.name, _annotation(f), None) for f in fields if f.optional]
    return msgspec.defstruct(
        # Scalars only: never part of a cycle.
        name,
        [*required, *extra, *optional],
        forbid_unknown_fields=strict,
        kw_only=True,
        gc=False,
        **options,
    )


def decode_together(
    decoder: msgspec.json.Decoder[list[Any]], bodies: Sequence[bytes]
) -> list[Any] | None:
    """Many bodies as one JSON list, at half the price of one by one.

    None when any of them cannot be decoded, or one holds what is not exactly one object.
    """
    # Bodies cut so that several make up one object must not pass for it: each is an object's
    # beginning and end, and no string spans two of them, for it cannot hold a newline.
    if not all(body[:1] == b"{" and body[-1:] == b"}" for body in bodies):
        return None
    try:
        found = decoder.decode(b"[" + b",\n".join(bodies) + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return found if len(found) == len(bodies) else None


class EventDecoder:
    """Decodes events of every declared kind; the JSON field `event` says which.

    Unless `strict`, a field that is not declared is passed over: for events of the archive, whose
    fields were checked when they came.
    """

    def __init__(
        self, project: Project, clock: Clock, skew_ms: int, *, strict: bool = True
    ) -> None:
        self._clock, self.skew_ms, self._strict = clock, skew_ms, strict
        extra = [("time", Time), ("id", str | None, None)]
        self._structs = {
            _struct(
                event.name, event.columns, extra, strict, tag_field="event", tag=event.name
            ): index
            for index, event in enumerate(project.events)
        }
        # With one kind alone msgspec would not ask for the field that tells kinds apart, and its
        # producers would be refused when a second is declared.
        kinds: Any = msgspec.defstruct(
            "NoEvent",
            [("nothing", _Never)],
            rename={"nothing": _NO_EVENT},
            tag_field="event",
            tag="",
        )
        for struct in self._structs:
            kinds = kinds | struct
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(kinds)
        self._many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[kinds])
        self._names = ", ".join(event.name for event in project.events)

    def latest_ms(self, produced_ms: int = 0) -> int:
        """The latest time of an event produced at `produced_ms`; 0 or less: not known, so now."""
        return (produced_ms if produced_ms > 0 else self._clock.now_ms()) + self.skew_ms

    def decode_many(self, bodies: Sequence[bytes]) -> tuple[list[int], list[Any]] | None:
        """The kinds and records of all bodies, times unchecked; None if any cannot be decoded."""
        # A field that is passed over may be a list that begins in one body and ends in another.
        if not self._strict and any(b"[" in body for body in bodies):
            return None
        records = decode_together(self._many, bodies)
        if records is None:
            return None
        for record in records:
            time = record.time
            if type(time) is not int:
                record.time = time = milliseconds(time)
            if not 0 < time <= LARGEST_WHOLE:
                return None
        kinds = self._structs
        return [kinds[type(record)] for record in records], records

    def decode(self, body: bytes, latest_ms: int) -> tuple[int, Any]:
        """The event's index among the project's events and its record; raises InputError."""
        try:
            record = _decode(self._decoder, body)
        except msgspec.DecodeError as error:
            raise self._explain(error) from None
        time = record.time
        if type(time) is not int:
            record.time = time = milliseconds(time)
        if not 0 < time <= latest_ms:
            check_time(time, latest_ms)
        return self._structs[type(record)], record

    def _explain(self, error: msgspec.DecodeError) -> InputError:
        found = input_error(error)
        if found.field == "event" or "`event`" in str(error) or f"`{_NO_EVENT}`" in str(error):
            return InputError("unknown_event", "event", found.found, f"one of {self._names}")
        return found


class RequestDecoder:
    """Decodes score requests; a request without `time` is scored for now."""

    def __init__(self, project: Project, clock: Clock, skew_ms: int) -> None:
        self._clock, self._skew_ms = clock, skew_ms
        extra = [("time", Time | None, None)]
        self.struct = _struct("Request", project.request.columns, extra)
        self._one: msgspec.json.Decoder[Any] = msgspec.json.Decoder(self.struct)
        many: Any = list[self.struct]  # type: ignore[name-defined]
        batch = msgspec.defstruct("Batch", [("requests", many)], forbid_unknown_fields=True)
        self._many: msgspec.json.Decoder[Any] = msgspec.json.Decoder(batch)
        key = project.label.key
        self._fields = attrgetter(*key) if key else None
        self._is_one_field = len(key) == 1

    def decode(self, body: bytes) -> Any:
        """One request; raises InputError."""
        return self._checked(self._decoded(self._one, body), self._clock.now_ms())

    def decode_batch(self, body: bytes) -> list[Any]:
        """The requests of `{"requests": [...]}`; raises InputError naming the place."""
        now = self._clock.now_ms()
        requests = self._decoded(self._many, body).requests
        for place, request in enumerate(requests):
            try:
                self._checked(request, now)
            except InputError as error:
                field = f"requests[{place}].{error.field}"
                raise InputError(error.cause, field, error.found, error.allowed) from None
        return list(requests)

    def join_key(self, request: Any, prediction_id: str) -> str:
        """The key by which the label finds the request's prediction: its fields, or else its id."""
        if self._fields is None:
            return prediction_id
        found = self._fields(request)
        return str(found) if self._is_one_field else "|".join(map(str, found))

    @staticmethod
    def _decoded(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
        try:
            return _decode(decoder, body)
        except msgspec.DecodeError as error:
            raise input_error(error) from None

    def _checked(self, request: Any, now_ms: int) -> Any:
        time, latest_ms = request.time, now_ms + self._skew_ms
        if time is None:
            request.time = now_ms
        elif type(time) is not int or not 0 < time <= latest_ms:
            request.time = check_time(milliseconds(time), latest_ms)
        return request


_LABEL: msgspec.json.Decoder[LabelEvent] = msgspec.json.Decoder(LabelEvent)


def decode_label(body: bytes, latest_ms: int, kind: Kind = "binary") -> LabelEvent:
    """One label as producers send it; raises InputError."""
    try:
        label: LabelEvent = _decode(_LABEL, body)
    except msgspec.DecodeError as error:
        raise label_error(error, kind) from None
    check_label(label, latest_ms, kind)
    return label


def check_label(label: LabelEvent, latest_ms: int, kind: Kind) -> None:
    """Raise InputError for a value or a time that no label can have."""
    allowed = label.value in (0, 1) if kind == "binary" else math.isfinite(label.value)
    if not allowed:
        found = f"{label.value:g}"
        raise InputError("invalid_value", "value", found, LABEL_VALUES[kind])
    check_time(label.time, latest_ms)


def event_key(event: Event, record: Any) -> str:
    """The Kafka key of an event."""
    return str(getattr(record, event.key))
