"""One entity's sketches over tiled windows: the variable tail of its blob."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from features.sketches import hyperloglog, kll, misra_gries
from features.sketches.hyperloglog import HyperLogLog
from features.sketches.kll import KLL
from features.sketches.misra_gries import MisraGries

Sketch = HyperLogLog | KLL | MisraGries
_KINDS: dict[str, type[Sketch]] = {"distinct": HyperLogLog, "quantiles": KLL, "top": MisraGries}
# What the bytes mean; a part of the state's hash, so that old blobs are never read as new ones.
LAYOUT = (1, hyperloglog.LG_K, kll.K, kll.SHRINK, kll.NARROWEST, misra_gries.COUNTERS)
_RING, _TILE = struct.Struct("<qH"), struct.Struct("<HH")


@dataclass(frozen=True)
class SketchRing:
    """What one ring of tiles keeps.

    `column` is the series column of the group's values; `tiles` of `step_ms` milliseconds each;
    lifetime is one tile whose step no time reaches.
    """

    column: int
    kind: Literal["distinct", "quantiles", "top"]
    tiles: int
    step_ms: int


class _Tiles:
    """The tiles of one ring, as bytes until something is added to them."""

    def __init__(self, ring: SketchRing) -> None:
        self.ring, self.newest = ring, -1
        self.stored: dict[int, bytes] = {}
        self.changed: dict[int, Sketch] = {}

    def add(self, time: int, value: float) -> bool:
        """Take one value; False for one older than the oldest tile."""
        tile = time // self.ring.step_ms
        if tile > self.newest:
            self.newest = tile
            self._drop(tile - self.ring.tiles)
        elif tile <= self.newest - self.ring.tiles:
            return False
        sketch = self.changed.get(tile)
        if sketch is None:
            kind = _KINDS[self.ring.kind]
            sketch = self.changed[tile] = kind(self.stored.get(tile, b""), tile)
        sketch.add(value)
        return True

    def _drop(self, latest: int) -> None:
        for tiles in (self.stored, self.changed):
            for tile in [tile for tile in tiles if tile <= latest]:
                del tiles[tile]

    def payloads(self) -> dict[int, bytes]:
        """Every tile as bytes, oldest first; what was changed is encoded once."""
        if self.changed:
            self.stored.update((tile, sketch.encode()) for tile, sketch in self.changed.items())
            self.stored = dict(sorted(self.stored.items()))
            self.changed = {}
        return self.stored

    def covered(self, at_ms: int, window_ms: int) -> list[bytes]:
        """The tiles from floor((at - window) / step) to floor(at / step)."""
        step = self.ring.step_ms
        low, high = (at_ms - window_ms) // step, at_ms // step
        return [payload for tile, payload in self.payloads().items() if low <= tile <= high]


class SketchState:
    """One entity's sketches, ring by ring; equal histories give equal bytes, stored between or not.

    A ring keeps the newest of its tiles and as many tiles as it has before that, like the rings of
    fixed words. Sketches are decoded when values are added to them, merged when they are read.
    """

    def __init__(self, rings: Sequence[SketchRing]) -> None:
        self._rings = [_Tiles(ring) for ring in rings]

    @classmethod
    def decode(cls, rings: Sequence[SketchRing], data: bytes) -> SketchState:
        """The state that `encode` wrote for the same rings; empty bytes are an empty state."""
        state, at = cls(rings), 0
        for tiles in state._rings if data else []:
            tiles.newest, count = _RING.unpack_from(data, at)
            at += _RING.size
            payload = at + count * _TILE.size
            for behind, size in _TILE.iter_unpack(data[at:payload]):
                tiles.stored[tiles.newest - behind] = data[payload : payload + size]
                payload += size
            at = payload
        return state

    def encode(self) -> bytes:
        """All rings one after the other: newest tile, number of tiles, their places and sizes,
        their sketches. An empty state is no bytes.
        """
        if all(tiles.newest < 0 for tiles in self._rings):
            return b""
        parts: list[bytes] = []
        for tiles in self._rings:
            payloads = tiles.payloads()
            parts.append(_RING.pack(tiles.newest, len(payloads)))
            parts += [_TILE.pack(tiles.newest - tile, len(p)) for tile, p in payloads.items()]
            parts += payloads.values()
        return b"".join(parts)

    def update(self, ring: int, times: NDArray[np.int64], values: NDArray[np.float32]) -> int:
        """Take values of a ring in the order they came, NaN for none; returns how many were late.

        times (n,) in ms; values (n,) in the ring's column.
        """
        tiles, late = self._rings[ring], 0
        for time, value in zip(times.tolist(), values.tolist(), strict=True):
            if value == value and not tiles.add(time, value):
                late += 1
        return late

    def payloads(self, ring: int) -> dict[int, bytes]:
        """The sketches of a ring as bytes, by the number of their tile, oldest first."""
        return dict(self._rings[ring].payloads())

    def clear(self, ring: int) -> None:
        """Begin a ring anew."""
        self._rings[ring] = _Tiles(self._rings[ring].ring)

    def distinct(self, ring: int, at_ms: int, window_ms: int) -> float:
        """How many different values a window covers; standard error 3.3 % (`HyperLogLog`)."""
        return hyperloglog.distinct(self._rings[ring].covered(at_ms, window_ms))

    def quantiles(
        self, ring: int, at_ms: int, window_ms: int, ranks: Sequence[float]
    ) -> list[float]:
        """The values at ranks 0 to 1, NaN over nothing; error in rank below 2.1 % (`KLL`)."""
        return kll.quantiles(self._rings[ring].covered(at_ms, window_ms), ranks)

    def top(self, ring: int, at_ms: int, window_ms: int, k: int) -> list[float]:
        """The k most frequent values, NaN where there are less; see `MisraGries` for the error."""
        return misra_gries.top(self._rings[ring].covered(at_ms, window_ms), k)
