"""Arrays and words in the safetensors format: a JSON header, then bytes; nothing in it runs.

A length (8 bytes, little-endian), a JSON object of dtype, shape and place of each array, then the
arrays. Written and read here in a few lines, so that no serving process needs another package;
every tool for the format reads the files (https://github.com/huggingface/safetensors).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from tidemill.errors import ArtifactError

_DTYPES = {
    "F64": "<f8", "I64": "<i8", "F32": "<f4", "I32": "<i4", "U32": "<u4", "I8": "|i1", "U8": "|u1",
    "BOOL": "|b1",
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_WORDS = "__metadata__"
_MOST_HEADER_BYTES = 1_000_000


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    """Where an array lies, as the header says it."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def write_tensors(arrays: Mapping[str, NDArray[Any]], words: Mapping[str, str]) -> bytes:
    """A file of arrays of the dtypes above and some words; equal input, equal bytes."""
    header: dict[str, Any] = {_WORDS: dict(sorted(words.items()))}
    chunks, at = [], 0
    # The widest first, so that each begins at a multiple of its own width.
    for name, array in sorted(arrays.items(), key=lambda each: (-each[1].itemsize, each[0])):
        dtype = np.dtype(array.dtype).newbyteorder("<").str
        data = np.ascontiguousarray(array).astype(dtype, copy=False).tobytes()
        place = (at, at + len(data))
        header[name] = _Entry(_NAMES[dtype], list(array.shape), place)
        chunks.append(data)
        at += len(data)
    text = msgspec.json.encode(header)
    text += b" " * (-len(text) % 8)  # so that arrays begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + b"".join(chunks)


def read_tensors(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """The arrays (read-only views) and words of a file. Raises ArtifactError when it is damaged."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_MOST_HEADER_BYTES, len(data) - 8):
        raise ArtifactError(f"tensors: found {len(data)} bytes; allowed: a whole safetensors file")
    try:
        header = msgspec.json.decode(data[8 : 8 + length], type=dict[str, msgspec.Raw])
        words = msgspec.json.decode(header.pop(_WORDS, b"{}"), type=dict[str, str])
        entries = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items()}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ArtifactError(f"tensors: {error}") from error
    body = memoryview(data)[8 + length :]
    return {name: _array(name, entry, body) for name, entry in entries.items()}, words


def _array(name: str, entry: _Entry, body: memoryview) -> NDArray[Any]:
    if entry.dtype not in _DTYPES:
        raise ArtifactError(f"tensor {name}: found {entry.dtype}; allowed: {', '.join(_DTYPES)}")
    dtype = np.dtype(_DTYPES[entry.dtype])
    start, end = entry.data_offsets
    fits = all(side >= 0 for side in entry.shape) and 0 <= start <= end <= len(body)
    if not fits or end - start != math.prod(entry.shape) * dtype.itemsize:
        raise ArtifactError(
            f"tensor {name}: found shape {entry.shape} in bytes {start} to {end} of {len(body)}; "
            "allowed: as many bytes as the shape has"
        )
    found = np.frombuffer(body[start:end], dtype).reshape(entry.shape)
    if entry.dtype == "BOOL" and (found.view(np.uint8) > 1).any():
        raise ArtifactError(f"tensor {name}: found a byte above 1; allowed for BOOL: 0 and 1")
    return found
