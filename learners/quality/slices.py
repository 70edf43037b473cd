"""Which slice an example belongs to: the values that its request has in declared fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

MISSING = "missing"
LONGEST = 80  # letters of a value that are shown

Ints = NDArray[np.int64]


class SliceReader:
    """Reads the declared fields of many requests in one call and numbers their values."""

    def __init__(self, fields: tuple[str, ...], most_held: int) -> None:
        self.fields = fields
        self._most_held = most_held
        value = str | int | float | bool | None
        kind = msgspec.defstruct("Sliced", [(name, value, None) for name in fields])
        self._nothing = kind()
        self._many = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
        self._one = msgspec.json.Decoder(kind)
        self._codes = [_Codes() for _ in fields]

    def read(self, requests: Sequence[bytes]) -> Ints:
        """The codes of each request's values, shape (fields, requests)."""
        if not self.fields:
            return np.zeros((0, len(requests)), np.int64)
        rows = self._decode(requests)
        return np.array(
            [
                [codes[getattr(row, name)] for row in rows]
                for name, codes in zip(self.fields, self._codes, strict=True)
            ],
            np.int64,
        )

    def value(self, field: int, code: int) -> str:
        """What a code stands for, as text."""
        value = self._codes[field].values[code]
        return MISSING if value is None else str(value)[:LONGEST]

    def forget(self, held: Ints) -> Ints:
        """Drop values that no row has any more once there are too many; returns `held` renumbered.

        A field with a value for every request must not make the worker grow without end.
        """
        for field, codes in enumerate(self._codes):
            if len(codes.values) > self._most_held:
                used, held[field] = np.unique(held[field], return_inverse=True)
                self._codes[field] = _Codes(codes.values[code] for code in used.tolist())
        return held

    def _decode(self, requests: Sequence[bytes]) -> list[Any]:
        try:
            return self._many.decode(b"[" + b",".join(requests) + b"]")
        except msgspec.DecodeError:  # one of an earlier version, without its request
            return [self._decode_one(request) for request in requests]

    def _decode_one(self, request: bytes) -> Any:
        try:
            return self._one.decode(request)
        except msgspec.DecodeError:
            return self._nothing


class _Codes(dict[Any, int]):
    """Numbers values in the order in which they are first asked for."""

    def __init__(self, values: Any = ()) -> None:
        super().__init__()
        self.values: list[Any] = []  # type: ignore[assignment]
        for value in values:
            self[value]

    def __missing__(self, value: Any) -> int:
        code = self[value] = len(self.values)
        self.values.append(value)
        return code
