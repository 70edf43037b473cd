"""A River estimator from bytes: records checked, then built, then filled."""

from __future__ import annotations

import functools
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from learners.river_adapter.allowed import method, named
from learners.river_adapter.encoding import (
    ATTRIBUTES,
    FROZEN,
    LONG,
    METHOD,
    REFERENCE,
    SCALAR,
    TUPLE,
)
from tidemill.errors import ArtifactError

_MOST_ARGUMENT = 1 << 20  # a compiled class may set aside as much memory as it is told to
_KINDS = "biuf"  # of arrays: bool, whole numbers, floats


def decode(data: bytes) -> object:
    """What `encode` made bytes of. Raises ArtifactError for any other bytes.

    Only classes and functions that `allowed` names are looked up; no class is called but those of
    River that are made that way, and Python's and NumPy's containers.
    """
    try:
        value, records = msgspec.msgpack.decode(data, type=tuple[Any, list[list[Any]]])
        return _Decoder(records).decode(value)
    except ArtifactError:
        raise
    except Exception as error:  # River's own code runs on what a state says
        raise ArtifactError(f"River state: {type(error).__name__}: {error}") from error
    except BaseException as error:
        # What PyO3 makes of a panic in River's compiled part is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise ArtifactError(f"River state: {error}") from error


class _Decoder:
    """First every record's object is made empty, so that any may refer to any; then filled."""

    def __init__(self, records: list[list[Any]]) -> None:
        self._records = records
        self._objects: list[Any] = [None] * len(records)
        self._made = [0] * len(records)  # 1 while it is being made, 2 when it is
        self._makers: dict[str, Callable[..., Any]] = {
            "list": lambda *_: [],
            "dict": lambda *_: {},
            "ordered": lambda *_: OrderedDict(),
            "counter": lambda *_: Counter(),
            "default": lambda *_: defaultdict(),
            "set": lambda *_: set(),
            "deque": lambda length, *_: deque((), length),
            "bytes": bytearray,
            "array": _array,
            "random": _random,
            "random_state": _random_state,
            "unseeded": lambda: random.Random(0),
            "partial": lambda *_: functools.partial(int),
            "name": named,
            "object": self._make_object,
            "made": self._make_mapping,
        }
        self._fillers: dict[str, Callable[..., None]] = {
            "list": lambda found, *items: found.extend(map(self._value, items)),
            "deque": lambda found, _, *items: found.extend(map(self._value, items)),
            "set": lambda found, *items: found.update(map(self._value, items)),
            "dict": self._fill_pairs,
            "ordered": self._fill_pairs,
            "counter": self._fill_pairs,
            "default": self._fill_default,
            "partial": self._fill_partial,
            "object": self._fill_object,
        }

    def decode(self, root: Any) -> object:
        """The object that the value `root` stands for."""
        for number in range(len(self._records)):
            self._make(number)
        # A key may be an object whose hash needs its attributes: containers come last.
        for last in (False, True):
            for found, record in zip(self._objects, self._records, strict=True):
                fill = self._fillers.get(record[0])
                if fill is not None and last == (record[0] != "object"):
                    fill(found, *record[1:])
        return self._value(root)

    def _make(self, number: int) -> Any:
        if self._made[number] == 1:
            raise ArtifactError("River state: found an object that is part of its own making")
        if self._made[number] == 0:
            self._made[number] = 1
            kind, *rest = self._records[number]
            self._objects[number] = self._makers[kind](*rest)
            self._made[number] = 2
        return self._objects[number]

    def _value(self, value: Any) -> Any:
        if type(value) is not list:
            return value
        kind, *rest = value
        if kind == REFERENCE:
            (number,) = rest
            if not 0 <= number < len(self._records):
                raise ArtifactError(f"River state: found no record {number}")
            return self._make(number)
        if kind == TUPLE:
            return tuple(map(self._value, rest))
        if kind == FROZEN:
            return frozenset(map(self._value, rest))
        if kind == ATTRIBUTES:
            return self._pairs(rest)
        if kind == LONG:
            return int.from_bytes(rest[0], "little", signed=True)
        if kind == SCALAR:
            return _array(rest[0], [1], rest[1])[0]
        if kind == METHOD:
            return method(self._value(rest[0]), rest[1])
        raise ArtifactError(f"River state: found a value of kind {kind!r}")

    def _pairs(self, parts: list[Any]) -> dict[Any, Any]:
        values = list(map(self._value, parts))
        return dict(zip(values[::2], values[1::2], strict=True))

    def _make_object(self, kind: Any, arguments: Any, *_: object) -> Any:
        cls, given = self._value(kind), self._value(arguments)
        if not isinstance(cls, type):
            raise ArtifactError(f"River state: found an object of {cls!r}, which is no class")
        if any(isinstance(part, int) and abs(part) > _MOST_ARGUMENT for part in given):
            raise ArtifactError(f"River state: found {given} to make a {cls.__name__} of")
        return cls.__new__(cls, *given)

    def _make_mapping(self, kind: Any, pairs: list[Any], *more: Any) -> Any:
        cls = self._value(kind)
        if not isinstance(cls, type) or not cls.__module__.startswith("river._river_rust."):
            raise ArtifactError(f"River state: found a {cls!r} made of a dict")
        return cls(self._pairs(pairs), *map(self._value, more))

    def _fill_pairs(self, found: Any, *parts: Any) -> None:
        # Counter.update() would add, so a plain dict's own is taken.
        for key, value in self._pairs(list(parts)).items():
            dict.__setitem__(found, key, value) if type(found) is Counter else found.__setitem__(
                key, value
            )

    def _fill_default(self, found: Any, factory: Any, *parts: Any) -> None:
        made = self._value(factory)
        if made is not None and not callable(made):
            raise ArtifactError(f"River state: found {made!r} to make defaults")
        found.default_factory = made
        self._fill_pairs(found, *parts)

    def _fill_partial(self, found: Any, function: Any, arguments: Any, *parts: Any) -> None:
        found.__setstate__(
            (self._value(function), self._value(arguments), self._pairs([*parts]), {})
        )

    def _fill_object(self, found: Any, _: Any, __: Any, state: Any, items: Any, pairs: Any) -> None:
        value = self._value(state)
        set_state = getattr(type(found), "__setstate__", None)
        if value is not None and set_state is not None:
            set_state(found, value)
        elif value is not None:
            attributes, slots = value if type(value) is tuple else (value, None)
            for name, part in (attributes or {}).items():
                found.__dict__[name] = part
            for name, part in (slots or {}).items():
                object.__setattr__(found, name, part)
        for item in items or ():
            found.append(self._value(item))
        for key, part in self._pairs(pairs or []).items():
            found[key] = part


def _array(dtype: str, shape: list[int], data: bytes, order: Literal["C", "F"] = "C") -> Any:
    kind = np.dtype(dtype)
    if kind.kind not in _KINDS:
        raise ArtifactError(f"River state: found an array of {dtype}")
    return np.frombuffer(data, kind).reshape(shape, order=order).copy(order)


def _random(version: int, words: bytes, gauss: float | None) -> random.Random:
    found = random.Random()
    found.setstate((version, tuple(np.frombuffer(words, "<u4").tolist()), gauss))
    return found


def _random_state(words: bytes, place: int, has_gauss: int, gauss: float) -> Any:
    found = np.random.RandomState()
    key = np.frombuffer(words, "<u4")
    found.set_state(("MT19937", key, place, has_gauss, gauss))
    return found
