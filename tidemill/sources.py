"""What comes in: kinds of events, the request, and the entities they are about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidemill.checks import check_kind, check_name, check_one_of, check_unique
from tidemill.durations import duration_ms
from tidemill.errors import DeclarationError
from tidemill.fields import Field, Record, typed_fields


@dataclass(frozen=True)
class Event(Record):
    """A kind of fact that producers send.

    `key` is the field whose value orders the events on Kafka; `fields` maps names to `str`,
    `float`, `int` or `bool`, with `| None` for one that may be missing. Every event also has `time`
    (milliseconds) and may have `id`.
    """

    name: str
    key: str
    fields: Mapping[str, Any]
    columns: tuple[Field, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_name("Event.name", self.name)
        object.__setattr__(self, "columns", typed_fields(f"Event {self.name}", self.fields))
        check_one_of(f"Event {self.name}.key", self.key, self.fields)


@dataclass(frozen=True)
class Request(Record):
    """What a caller sends to get a score; `time` is the moment it is scored for."""

    fields: Mapping[str, Any]
    columns: tuple[Field, ...] = field(init=False)
    name: str = "request"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", typed_fields("Request", self.fields))


@dataclass(frozen=True, slots=True)
class Entity:
    """What features are about: named by one field, or by several together.

    What a kind of event left is forgotten, lifetime aggregates too, once the entity had no other of
    that kind for `expires` of event time. Without it windows end by themselves, the store drops an
    entity when none of them can hold anything any more, and lifetime and decayed ones never end.
    """

    name: str
    keys: tuple[str, ...]
    expires: str | None = None

    def __post_init__(self) -> None:
        check_name("Entity.name", self.name)
        if not isinstance(self.keys, tuple) or not self.keys:
            raise DeclarationError(f"Entity {self.name}.keys", self.keys, "a tuple of field names")
        check_kind(f"Entity {self.name}.keys", self.keys, str, "a field name")
        check_unique(f"Entity {self.name}.keys", self.keys)
        if self.expires is not None:
            duration_ms(f"Entity {self.name}.expires", self.expires)
