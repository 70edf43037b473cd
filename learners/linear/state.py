"""What a linear learner has learned, as bytes: all of it, or what was touched."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from learners.learner import Encoded
from learners.linear.encoding import Encoder
from learners.linear.kernels import COLUMNS, WEIGHT, N, Rule, Z, set_weights
from learners.linear.table import Table, primed
from tidemill.errors import ArtifactError


class State(msgspec.Struct, frozen=True, array_like=True):
    """Rows of a table with their numbers, and what the encoder learned.

    `rule` is what the numbers mean weights by; `hash_bits` is -1 for numbered categories, of which
    `keys` are those from number `known` on. Arrays are little-endian: `moments` float64 (columns,
    3), `keys` uint64, `rows` int64 ascending, `numbers` float64 (rows, 2).
    """

    release: str
    rule: Rule
    hash_bits: int
    known: int
    moments: bytes
    keys: bytes
    rows: bytes
    numbers: bytes


def encode(
    release: str, encoder: Encoder, table: Table, rows: NDArray[np.int64], known: int
) -> bytes:
    """These rows of a table; of the categories those from number `known` on."""
    return msgspec.msgpack.encode(
        State(
            release,
            table.rule,
            _bits(encoder),
            known,
            encoder.moments.astype("<f8", copy=False).tobytes(),
            encoder.keys[known:].astype("<u8", copy=False).tobytes(),
            rows.astype("<i8", copy=False).tobytes(),
            table.rows[rows][:, [Z, N]].astype("<f8", copy=False).tobytes(),
        )
    )


def apply(data: Encoded, release: str, encoder: Encoder, table: Table) -> NDArray[np.int64]:
    """Bring table and encoder to what `encode` wrote; the rows that were set.

    Raises ArtifactError, changing nothing, for bytes that are damaged or of another start. Numbers
    written under other settings are carried over by their weights: the predictions stay.
    """
    try:
        state = msgspec.msgpack.decode(data, type=State)
        moments, numbers = (
            np.frombuffer(part, "<f8").astype(np.float64) for part in (state.moments, state.numbers)
        )
        keys = np.frombuffer(state.keys, "<u8").astype(np.uint64)
        rows = np.frombuffer(state.rows, "<i8").astype(np.int64)
    except (msgspec.DecodeError, ValueError, TypeError) as error:
        raise ArtifactError(f"linear state: {error}") from error
    _check_place(state, release, encoder, keys)
    if moments.shape != (encoder.moments.size,) or numbers.shape != (2 * len(rows),):
        raise ArtifactError("linear state: found arrays of other lengths than its rows and columns")
    moments, numbers = moments.reshape(-1, 3), numbers.reshape(-1, 2)
    slots = encoder.slots + (len(keys) if encoder.hash_bits is None else 0)
    if len(rows) and not (
        rows[0] >= 0 and rows[-1] < slots * table.outputs and (np.diff(rows) > 0).all()
    ):
        raise ArtifactError("linear state: found rows that are not ascending rows of its table")
    if not all(np.isfinite(part).all() for part in (moments, numbers)) or (
        (numbers[:, 1] < 0).any() or (moments[:, [0, 2]] < 0).any()
    ):
        raise ArtifactError("linear state: found numbers that are not finite, or squares below 0")
    encoder.add(keys)
    encoder.moments[:] = moments
    table.grow(encoder.slots)
    table.put(rows, _translated(numbers, state.rule, table.rule))
    return rows


def _bits(encoder: Encoder) -> int:
    return -1 if encoder.hash_bits is None else encoder.hash_bits


def _check_place(state: State, release: str, encoder: Encoder, keys: NDArray[np.uint64]) -> None:
    if state.release != release:
        raise ArtifactError(f"linear state: found release {state.release}; allowed: {release}")
    found = (state.hash_bits, state.known)
    allowed = (_bits(encoder), encoder.known)
    if found != allowed:
        raise ArtifactError(
            f"linear state: found hash_bits and categories {found}; allowed: {allowed}"
        )
    every = np.concatenate([encoder.keys, keys])
    if len(np.unique(every)) != len(every) or (encoder.hash_bits is not None and len(keys)):
        raise ArtifactError("linear state: found a category that has a slot already")


def _translated(numbers: NDArray[np.float64], old: Rule, new: Rule) -> NDArray[np.float64]:
    if old._replace(max_step=0.0) == new._replace(max_step=0.0):
        return numbers
    table = np.zeros((len(numbers), COLUMNS))
    table[:, Z], table[:, N] = numbers[:, 0], numbers[:, 1]
    set_weights(table, np.arange(len(numbers)), old)
    return np.stack([primed(table[:, WEIGHT], numbers[:, 1], new), numbers[:, 1]], axis=1)
