"""CloudEvents 1.0 as events of ours: what their attributes say goes into the event's own JSON.

The fields of an event are the CloudEvent's data. What the data does not say itself comes from the
attributes: `event` from `type` (all of it, or what follows its last dot: `com.shop.payment` is a
`payment`), `id` from `source` and `id`, which together name an event (CloudEvents 1.0, section
"REQUIRED Attributes"), and `time` from `time`. Extensions are passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tidemill.bus import Headers, Message
from tidemill.errors import InputError

STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
INVALID = "invalid_cloudevent"
_VERSION, _PREFIX = "1.0", "ce_"
_REQUIRED = ("id", "source", "specversion", "type")
_DATA: msgspec.json.Decoder[dict[str, msgspec.Raw]] = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODE = msgspec.json.Encoder().encode


def event_body(message: Message) -> bytes:
    """The JSON of a record of `events`, whether it came as ours or as a CloudEvent.

    Raises InputError for a CloudEvent that is none.
    """
    headers = message.headers
    if not headers:
        return message.value or b""
    return _body_beside(headers, message.value or b"")


def event_bodies(messages: Iterable[Message]) -> list[bytes]:
    """`event_body` of many; of a record without headers nothing else is looked at."""
    return [
        _body_beside(message.headers, message.value or b"")
        if message.headers
        else message.value or b""
        for message in messages
    ]


def _body_beside(headers: Headers, value: bytes) -> bytes:
    """The body of a record with these headers (Kafka protocol binding, sections 3.2 and 3.3)."""
    attributes: dict[str, str] = {}
    content_type = ""
    for name, data in headers:
        small = name.lower()
        if small == "content-type":
            content_type = _text(small, data)
        elif small.startswith(_PREFIX):
            attributes[small.removeprefix(_PREFIX)] = _text(small, data)
    media = media_type(content_type)
    if media == STRUCTURED:
        return structured_body(value)
    # Others write headers of their own, such as a trace: those alone make no CloudEvent.
    return binary_body(attributes, media, value) if attributes else value


def binary_body(
    attributes: Mapping[str, str], media: str, data: bytes, prefix: str = _PREFIX
) -> bytes:
    """Our JSON for a CloudEvent in binary mode; `media` is the type of its data, empty for JSON.

    Raises InputError naming the attribute, with the `prefix` it has on the way.
    """
    _check(attributes, prefix)
    if not _is_json(media):
        raise InputError("unsupported_media_type", "content-type", media, "JSON data")
    return _merged(attributes, data)


def structured_body(event: bytes) -> bytes:
    """Our JSON for a CloudEvent in structured mode (JSON format). Raises InputError."""
    fields = _decoded(event, "body")
    attributes = {
        name: _attribute(name, value)
        for name, value in fields.items()
        if name in _ATTRIBUTES and bytes(value) != b"null"  # which is as if it were not there
    }
    _check(attributes, "")
    media = media_type(attributes.get("datacontenttype", ""))
    if not _is_json(media) or "data_base64" in fields:
        found = "data_base64" if "data_base64" in fields else media
        raise InputError("unsupported_media_type", "datacontenttype", found, "JSON data")
    return _merged(attributes, bytes(fields.get("data", b"")))


def media_type(content_type: str) -> str:
    """A media type in small letters, without its parameters."""
    return content_type.partition(";")[0].strip().lower()


_ATTRIBUTES = (*_REQUIRED, "time", "datacontenttype")


def _merged(attributes: Mapping[str, str], data: bytes) -> bytes:
    """The data's own members, and what the attributes add to them."""
    own = _decoded(data, "data")
    said: dict[str, Any] = {
        "event": attributes["type"].rpartition(".")[2],
        "id": f"{attributes['source']} {attributes['id']}",
    }
    if "time" in attributes:
        said["time"] = attributes["time"]
    return _ENCODE(said | own)


def _check(attributes: Mapping[str, str], prefix: str) -> None:
    for name in _REQUIRED:
        if not attributes.get(name):
            raise InputError(INVALID, f"{prefix}{name}", "nothing", "a value")
    if attributes["specversion"] != _VERSION:
        raise InputError(INVALID, f"{prefix}specversion", attributes["specversion"], _VERSION)


def _decoded(data: bytes, field: str) -> dict[str, msgspec.Raw]:
    try:
        return _DATA.decode(data)
    except msgspec.ValidationError:
        raise InputError("wrong_type", field, "another value", "one JSON object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        found = str(error) or "nested too deeply"
        raise InputError("malformed", field, found, "one JSON object") from None


def _attribute(name: str, value: msgspec.Raw) -> str:
    """An attribute of the JSON format, which are strings (JSON event format, section 2.2)."""
    try:
        return msgspec.json.decode(value, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InputError(INVALID, name, "no string", "a string") from None


def _text(name: str, data: bytes | None) -> str:
    try:
        return (data or b"").decode()
    except UnicodeDecodeError:
        raise InputError(INVALID, name, "bytes that are not UTF-8", "UTF-8") from None


def _is_json(media: str) -> bool:
    return not media or media in ("application/json", "text/json") or media.endswith("+json")
