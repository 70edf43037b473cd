"""Typed fields of events and requests, and the records they make up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Any

import numpy as np

from tidemill.checks import check_name, check_one_of
from tidemill.errors import DeclarationError
from tidemill.expressions import Column, Expression

FieldType = type[str] | type[float] | type[int] | type[bool]
RESERVED_FIELDS = ("event", "id", "time")
# A column is float64: a whole number beyond this would change its value on the way.
LARGEST_WHOLE = 2**53
_FIELD_TYPES: dict[Any, tuple[FieldType, bool]] = {
    kind: (base, optional)
    for base in (str, float, int, bool)
    for kind, optional in ((base, False), (base | None, True))
}


@dataclass(frozen=True, slots=True)
class Field:
    """One typed field of an event or a request."""

    name: str
    type: FieldType
    optional: bool

    def sample(self) -> np.ndarray[Any, Any]:
        """A column of two rows as it may arrive, to try an expression on."""
        if self.type is str:
            return np.array(["a", None if self.optional else "b"], dtype=object)
        return np.array([1.0, np.nan if self.optional else 2.0])


def samples(fields: Iterable[Field]) -> dict[str, np.ndarray[Any, Any]]:
    """Columns of two rows: every field and the time."""
    return {f.name: f.sample() for f in fields} | {"time": np.array([1, 2], dtype=np.int64)}


class Record:
    """Named typed fields; `record.name` and `record["name"]` give the column to compute with."""

    __slots__ = ()
    name: str
    columns: tuple[Field, ...]

    def __getitem__(self, name: str) -> Expression:
        """The column of one field."""
        allowed = [f.name for f in self.columns] + ["time"]
        check_one_of(f"{self.name}.{name}", name, allowed)
        return Column(name)

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_") or name == "columns":
            raise AttributeError(name)
        return self[name]

    def field(self, name: str) -> Field:
        """One field by its name; KeyError if there is none."""
        return {f.name: f for f in self.columns}[name]


def typed_fields(where: str, fields: Mapping[str, Any]) -> tuple[Field, ...]:
    """The declared fields in order; raises DeclarationError for what is no field."""
    if not isinstance(fields, Mapping) or not fields:
        raise DeclarationError(f"{where}.fields", fields, "a mapping from field name to type")
    columns = []
    for name, kind in fields.items():
        check_name(f"{where}.fields", name)
        if name in RESERVED_FIELDS:
            raise DeclarationError(f"{where}.fields", name, "any name but event, id and time")
        if not isinstance(kind, (type, UnionType)) or kind not in _FIELD_TYPES:
            allowed = "str, float, int or bool, or one of them with | None"
            raise DeclarationError(f"{where}.fields[{name!r}]", kind, allowed)
        columns.append(Field(name, *_FIELD_TYPES[kind]))
    return tuple(columns)
