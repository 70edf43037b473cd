"""A net learner's state, or what changed in it, as msgpack with little-endian arrays."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.learner import Encoded
from learners.net.id_map import EMPTY
from learners.net.table import RARE, Candidates, Rows
from tidemill.errors import ArtifactError

FORMAT = "net 1"


class NetState(msgspec.Struct, frozen=True, array_like=True):
    """What was learned from a release; `since` is -1 for all of it.

    Otherwise it is what changed since the learner had been given so many examples. `given` counts
    all examples; those of no whole block yet wait in `vectors`, `labels`, `weights`, `offsets`.
    """

    format: str
    release: str
    shape: str
    since: int
    given: int
    scale: float
    dense: bytes
    sums: bytes
    moments: bytes
    row_numbers: bytes
    row_keys: bytes
    row_touched: bytes
    row_values: bytes
    candidates: bytes
    counts: bytes
    candidates_whole: bool
    vectors: bytes
    labels: bytes
    weights: bytes
    offsets: bytes

    def encode(self) -> bytes:
        """Msgpack."""
        return _ENCODER.encode(self)

    @classmethod
    def decode(cls, data: Encoded, release: str, shape: str) -> NetState:
        """Raises ArtifactError for damaged bytes and those of another release or shape."""
        try:
            state = _DECODER.decode(data)
        except (msgspec.DecodeError, ValueError) as error:
            raise ArtifactError(f"net state: {error}") from error
        for name, found, allowed in (
            ("format", state.format, FORMAT),
            ("release", state.release, release),
            ("shape", state.shape, shape),
        ):
            if found != allowed:
                raise ArtifactError(f"net state {name}: found {found}; allowed: {allowed}")
        if state.given < 0 or not np.isfinite(state.scale):
            raise ArtifactError(f"net state: found {state.given} examples, scale {state.scale}")
        return state

    def array(self, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
        """One array by its name, -1 in its shape for any length. Raises ArtifactError."""
        data = getattr(self, name)
        try:
            found = np.frombuffer(data, dtype).reshape(shape)
        except ValueError as error:
            raise ArtifactError(f"net state {name}: {error}") from error
        if not np.isfinite(found).all() and name != "vectors":
            raise ArtifactError(f"net state {name}: found numbers that are not finite")
        return found.astype(found.dtype.newbyteorder("="))

    def rows(self, columns: int, width: int, most: int) -> Rows:
        """The rows of its table. Raises ArtifactError for those that no table has."""
        numbers = self.array("row_numbers", "<i8", (-1,))
        keys = self.array("row_keys", "<i8", numbers.shape)
        touched = self.array("row_touched", "<i8", numbers.shape)
        values = self.array("row_values", "<f4", (len(numbers), 2 * width))
        ordered = len(numbers) == 0 or (numbers[0] >= 0 and (np.diff(numbers) > 0).all())
        if not ordered or (numbers >= most).any():
            raise ArtifactError(f"net state rows: found numbers out of order or beyond {most}")
        ids = keys[keys >= 0]
        rare = (keys == RARE) == (numbers < columns)
        if not (rare.all() and (keys >= RARE).all() and len(np.unique(ids)) == len(ids)):
            raise ArtifactError("net state rows: found keys that no table has")
        if not (values[keys != EMPTY, width:] > 0).all():
            raise ArtifactError("net state rows: found sums that are not above 0")
        return Rows(numbers, keys, touched, values)

    def waiting(self) -> Candidates:
        """The ids without a row. Raises ArtifactError."""
        keys = self.array("candidates", "<i8", (-1,))
        counts = self.array("counts", "<i8", keys.shape)
        if not ((keys >= 0).all() and (np.diff(keys) > 0).all() and (counts >= 0).all()):
            raise ArtifactError("net state candidates: found keys out of order")
        return Candidates(keys, counts, self.candidates_whole)


def little_endian(array: NDArray[Any]) -> bytes:
    """An array's bytes, the same on every machine."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(NetState)
