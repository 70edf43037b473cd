"""Tensors of the Open Inference Protocol as the requests they hold, and answers as tensors."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from tidemill.errors import InputError
from tidemill.fields import Field

TIME = "time"
_WHOLE_RANGES = {
    f"{sign}INT{bits}": (-(2 ** (bits - 1)) if not sign else 0, 2 ** (bits - (not sign)) - 1)
    for sign in ("", "U")
    for bits in (8, 16, 32, 64)
}
_FLOATS = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8"}
_PACKED = {
    "BOOL": "?",
    **_FLOATS,
    **{name: f"<{'u' if name[0] == 'U' else 'i'}{int(name.lstrip('UINT')) // 8}"
       for name in _WHOLE_RANGES},
}  # fmt: skip
_TAKEN: dict[type, tuple[str, ...]] = {
    str: ("BYTES",),
    bool: ("BOOL",),
    int: tuple(_WHOLE_RANGES),
    float: (*_FLOATS, *_WHOLE_RANGES),
}
_GIVEN = {str: "BYTES", bool: "BOOL", int: "INT64", float: "FP64"}
Scalar = str | float | int | bool | None


class Tensor(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """One input: its elements in row-major order, flat or as the shape says; or in the binary part.

    An element that may be missing can be null, which the protocol does not know.
    """

    name: str
    shape: list[int]
    datatype: str
    data: list[Any] | None = None
    parameters: dict[str, Any] = {}


class InputTensors:
    """The inputs of one declaration: a tensor for each field of the request, and its time."""

    def __init__(self, fields: Sequence[Field]) -> None:
        self._fields = {field.name: field for field in fields} | {TIME: Field(TIME, int, True)}

    def metadata(self) -> list[dict[str, Any]]:
        """What the protocol says of each input; the first dimension is that of the requests."""
        return [
            {"name": name, "datatype": _GIVEN[field.type], "shape": [-1]}
            for name, field in self._fields.items()
        ]

    def rows(self, tensors: Sequence[Tensor], packed: bytes, limit: int) -> list[dict[str, Any]]:
        """The requests of these tensors; `packed` are the elements that are not in the JSON.

        Raises InputError naming the tensor.
        """
        columns: dict[str, list[Scalar]] = {}
        place = 0
        for tensor in tensors:
            field = self._field(tensor, columns)
            count = _rows_of(tensor, limit)
            if (size := _binary_size(tensor)) is None:
                columns[tensor.name] = _elements(tensor, count, field)
            else:
                part = packed[place : place + size]
                if len(part) < size:
                    found = f"{len(packed)} bytes"
                    raise _wrong(tensor, "binary_data_size", found, f"{place + size} or more")
                columns[tensor.name] = _unpacked(tensor, count, part)
                place += size
        if place < len(packed):
            allowed = f"{place} bytes, as the inputs say"
            raise InputError("wrong_shape", "body", f"{len(packed)} bytes of tensors", allowed)
        self._check_all_there(columns)
        counts = {name: len(column) for name, column in columns.items()}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InputError("wrong_shape", "inputs", found, "the same number of rows in each")
        names = list(columns)
        return [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def _field(self, tensor: Tensor, before: Mapping[str, object]) -> Field:
        field = self._fields.get(tensor.name)
        if field is None:
            allowed = f"one of {', '.join(self._fields)}"
            raise InputError("unknown_tensor", "inputs", repr(tensor.name[:80]), allowed)
        if tensor.name in before:
            raise InputError("repeated_tensor", "inputs", f"{tensor.name} twice", "each once")
        if tensor.datatype not in _TAKEN[field.type]:
            allowed = f"one of {', '.join(_TAKEN[field.type])}"
            raise _wrong(tensor, "datatype", repr(tensor.datatype[:40]), allowed)
        return field

    def _check_all_there(self, columns: Mapping[str, object]) -> None:
        for name, field in self._fields.items():
            if name not in columns and not field.optional:
                raise InputError("missing_tensor", "inputs", "nothing", f"a tensor named {name}")


def output(name: str, datatype: str, values: Sequence[Scalar]) -> dict[str, Any]:
    """One output of as many rows as there are values."""
    return {"name": name, "datatype": datatype, "shape": [len(values)], "data": list(values)}


def _rows_of(tensor: Tensor, limit: int) -> int:
    shape = tensor.shape
    if not shape or shape[0] < 0 or shape[1:] not in ([], [1]):
        raise _wrong(tensor, "shape", str(shape[:8]), "[rows] or [rows, 1]")
    if shape[0] > limit:
        raise InputError("too_many_requests", "inputs", f"{shape[0]} rows", f"at most {limit}")
    return shape[0]


def _elements(tensor: Tensor, count: int, field: Field) -> list[Scalar]:
    if tensor.data is None:
        raise _wrong(tensor, "data", "nothing", "its elements")
    data = tensor.data
    if len(tensor.shape) == 2:
        data = [e[0] if isinstance(e, list) and len(e) == 1 else e for e in data]
    if len(data) != count:
        raise _wrong(tensor, "data", f"{len(data)} elements", f"{count}, as its shape says")
    fits = _CHECKS.get(tensor.datatype) or _whole_check(tensor.datatype)
    for place, element in enumerate(data):
        if not (fits(element) or (element is None and field.optional)):
            allowed = f"an element of {tensor.datatype}"
            raise _wrong(tensor, f"data[{place}]", type(element).__name__, allowed)
    return data


def _binary_size(tensor: Tensor) -> int | None:
    size = tensor.parameters.get("binary_data_size")
    if size is None:
        return None
    if type(size) is not int or size < 0 or tensor.data is not None:
        found = "beside data" if tensor.data is not None else repr(size)[:40]
        raise _wrong(tensor, "binary_data_size", found, "a number of bytes, and no data")
    return size


def _unpacked(tensor: Tensor, count: int, part: bytes) -> list[Scalar]:
    """Elements in the binary part (Triton's extension "binary tensor data"), little-endian."""
    if tensor.datatype == "BYTES":
        return _strings(tensor, count, part)
    kind = np.dtype(_PACKED[tensor.datatype])
    if len(part) != count * kind.itemsize:
        allowed = f"{count * kind.itemsize} bytes, as its shape says"
        raise _wrong(tensor, "binary_data_size", f"{len(part)} bytes", allowed)
    found: list[Scalar] = np.frombuffer(part, kind).tolist()
    return [None if isinstance(e, float) and not math.isfinite(e) else e for e in found]


def _strings(tensor: Tensor, count: int, part: bytes) -> list[Scalar]:
    """Each string behind its length, an unsigned 32-bit number."""
    found: list[Scalar] = []
    place = 0
    try:
        while place < len(part):
            (length,) = struct.unpack_from("<I", part, place)
            place += 4 + length
            found.append(part[place - length : place].decode())
    except (struct.error, UnicodeDecodeError):
        place = -1
    if place != len(part) or len(found) != count:
        allowed = f"{count} strings in UTF-8, each behind its length"
        raise _wrong(tensor, "binary_data_size", "other bytes", allowed)
    return found


def _whole_check(datatype: str) -> Callable[[Any], bool]:
    low, high = _WHOLE_RANGES[datatype]
    return lambda element: type(element) is int and low <= element <= high


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "BYTES": lambda element: type(element) is str,
    "BOOL": lambda element: type(element) is bool,
    **dict.fromkeys(_FLOATS, lambda element: type(element) in (int, float)),
}


def _wrong(tensor: Tensor, what: str, found: str, allowed: str) -> InputError:
    cause = "wrong_type" if what.startswith(("datatype", "data[")) else "wrong_shape"
    return InputError(cause, f"{tensor.name[:80]}.{what}", found, allowed)
