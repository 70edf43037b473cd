"""A River estimator as bytes: its graph of objects as flat records, no code and no pickle."""

from __future__ import annotations

import copyreg
import functools
import random
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, Literal

import msgspec
import numpy as np

from learners.river_adapter.allowed import is_allowed

REFERENCE, TUPLE, FROZEN, ATTRIBUTES, LONG, SCALAR, METHOD = range(7)
"""What stands first in a value that is an array; every other value stands for itself."""

_UNSEEDED = object()
"""Stands for the generator of a distribution without a seed.

River's trees hold thousands of normal distributions, each with a generator of random numbers that
nothing asks and that starts from the machine's entropy: no two runs would have equal bytes.
"""

_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # whole numbers that msgpack has


class NotEncodable(Exception):
    """Holds what no state can: its text says what."""


def encode(root: object) -> bytes:
    """All that is reachable from `root`, each shared object once; equal graphs give equal bytes.

    A record's place is where its object is first met, breadth first, so nothing recurses into a
    deep tree. Raises NotEncodable for what `allowed` does not name.
    """
    return _Encoder().encode(root)


class _Encoder:
    """Values refer to records by number; records still to be written wait in line."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}
        self._met: list[object] = []  # holds on to what was met, so that no id is used twice
        self._records: dict[type, Callable[[Any], list[object]]] = {
            list: lambda found: ["list", *map(self._value, found)],
            dict: lambda found: ["dict", *self._pairs(found)],
            OrderedDict: lambda found: ["ordered", *self._pairs(found)],
            Counter: lambda found: ["counter", *self._pairs(found)],
            defaultdict: lambda found: [
                "default",
                self._value(found.default_factory),
                *self._pairs(found),
            ],
            set: lambda found: ["set", *self._sorted(found)],
            deque: lambda found: ["deque", found.maxlen, *map(self._value, found)],
            bytearray: lambda found: ["bytes", bytes(found)],
            np.ndarray: _array,
            random.Random: _random,
            np.random.RandomState: _random_state,
            functools.partial: self._partial,
        }

    def encode(self, root: object) -> bytes:
        """See the function of this name."""
        value = self._value(root)
        records: list[list[object]] = []
        while len(records) < len(self._met):
            records.append(self._record(self._met[len(records)]))
        return msgspec.msgpack.encode([value, records])

    def _value(self, found: Any) -> object:
        kind = type(found)
        if found is None or kind in (bool, float, str, bytes):
            return found
        if kind is int:
            if _SMALLEST <= found <= _LARGEST:
                return found
            return [LONG, found.to_bytes(found.bit_length() // 8 + 1, "little", signed=True)]
        if kind is tuple:
            return [TUPLE, *map(self._value, found)]
        if kind is frozenset:
            return [FROZEN, *self._sorted(found)]
        if isinstance(found, np.generic) and kind.__module__ == "numpy":
            return [SCALAR, _dtype(found.dtype), found.tobytes()]
        if kind is MethodType or (kind is BuiltinFunctionType and _is_bound(found)):
            return [METHOD, self._value(found.__self__), found.__name__]
        return [REFERENCE, self._number(found)]

    def _number(self, found: object) -> int:
        number = self._numbers.setdefault(id(found), len(self._met))
        if number == len(self._met):
            self._met.append(found)
        return number

    def _record(self, found: Any) -> list[object]:
        if found is _UNSEEDED:
            return ["unseeded"]
        make = self._records.get(type(found))
        if make is not None:
            return make(found)
        if isinstance(found, (type, FunctionType, BuiltinFunctionType)):
            module, name = found.__module__, found.__qualname__
            if not is_allowed(module, name):
                raise NotEncodable(f"{module}.{name}")
            return ["name", module, name]
        return self._object(found)

    def _object(self, found: Any) -> list[object]:
        kind = type(found)
        if not is_allowed(kind.__module__, kind.__qualname__):
            raise NotEncodable(f"{kind.__module__}.{kind.__qualname__}")
        try:
            make, arguments, *rest = found.__reduce_ex__(4)
        except Exception as error:  # a class may do anything here
            raise NotEncodable(f"{kind.__module__}.{kind.__qualname__}: {error}") from error
        state, items, pairs = (*rest, None, None, None)[:3]
        if kind.__module__.startswith("river.proba.") and getattr(found, "seed", 0) is None:
            state = state | {"_rng": _UNSEEDED}
        if make is kind:
            return self._made(kind, arguments, (state, items, pairs))
        if make is not copyreg.__newobj__ or arguments[0] is not kind:  # type: ignore[attr-defined]
            raise NotEncodable(f"{kind.__module__}.{kind.__qualname__}")
        return [
            "object",
            self._value(kind),
            self._value(tuple(arguments[1:])),
            self._attributes(state),
            None if items is None else [self._value(item) for item in items],
            None if pairs is None else self._pairs(dict(pairs)),
        ]

    def _made(self, kind: type, arguments: Any, rest: tuple[object, ...]) -> list[object]:
        """A mapping of River's that is made by its class of a dict and more, and by that alone."""
        if rest != (None, None, None) or not arguments or type(arguments[0]) is not dict:
            raise NotEncodable(f"{kind.__module__}.{kind.__qualname__}")
        first, more = arguments[0], arguments[1:]
        return ["made", self._value(kind), self._pairs(first), *map(self._loose, more)]

    def _loose(self, found: object) -> object:
        """A set as a value: a class makes its own copy of it."""
        return self._value(frozenset(found) if type(found) is set else found)

    def _attributes(self, state: Any) -> object:
        """An object's state: a dict of attributes is no object of its own."""
        if type(state) is dict:
            return [ATTRIBUTES, *self._pairs(state)]
        if type(state) is tuple and len(state) == 2 and type(state[1]) is dict:
            return [TUPLE, self._attributes(state[0]), self._attributes(state[1])]
        return self._value(state)

    def _pairs(self, found: dict[Any, Any]) -> list[object]:
        return [self._value(part) for pair in found.items() for part in pair]

    def _sorted(self, found: Any) -> list[object]:
        """A set has no order of its own: its elements' bytes give it one."""
        values = [self._value(item) for item in found]
        if any(type(value) is list and value[0] in (REFERENCE, METHOD) for value in values):
            raise NotEncodable("a set of objects")
        return sorted(values, key=msgspec.msgpack.encode)

    def _partial(self, found: functools.partial[object]) -> list[object]:
        arguments = self._value(found.args)
        return ["partial", self._value(found.func), arguments, *self._pairs(found.keywords)]


def _is_bound(found: Any) -> bool:
    owner = found.__self__
    return owner is not None and type(owner).__name__ != "module"


def _dtype(dtype: np.dtype[Any]) -> str:
    if dtype.hasobject or dtype.names is not None:
        raise NotEncodable(f"an array of {dtype}")
    return dtype.str


def _array(found: np.ndarray[Any, Any]) -> list[object]:
    # Some of River's kernels write into arrays in Fortran's order only.
    order: Literal["C", "F"]
    order = "F" if found.flags.f_contiguous and not found.flags.c_contiguous else "C"
    return ["array", _dtype(found.dtype), list(found.shape), found.tobytes(order), order]


def _random(found: random.Random) -> list[object]:
    version, words, gauss = found.getstate()
    return ["random", version, np.array(words, "<u4").tobytes(), gauss]


def _random_state(found: np.random.RandomState) -> list[object]:
    state: Any = found.get_state(legacy=False)
    words = np.asarray(state["state"]["key"], "<u4").tobytes()
    rest = [int(state["state"]["pos"]), int(state["has_gauss"]), float(state["gauss"])]
    return ["random_state", words, *rest]
