"""How many different values there were: HyperLogLog, by Apache DataSketches."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from datasketches import hll_sketch, hll_union, tgt_hll_type

LG_K = 10
# Where a compact sketch of each mode keeps its numbers of four bytes (HLL format, "Preamble").
_MODE_BYTE, _MODES, _SET, _ARRAY = 7, 3, 1, 2
_SET_COUPONS, _EXCEPTIONS = 12, 40 + 2 ** (LG_K - 1)


class HyperLogLog:
    """One tile's distinct values.

    Flajolet et al., "HyperLogLog" (2007), with 2^10 registers of 4 bits and coupons while there are
    few values. The relative standard error is 1.04 / sqrt(2^10) = 3.3 % (a single sketch does a
    little better); up to 96 values the count is exact but for collisions of 26-bit hashes. A sketch
    takes at most 12 + 4n bytes for n <= 96 values, then 552 (and 4 for each extreme register).
    """

    def __init__(self, payload: bytes = b"", seed: int = 0) -> None:
        self._sketch = hll_sketch.deserialize(payload) if payload else _empty()

    def add(self, value: float) -> None:
        """Take one value, which is not NaN; 0.0 and -0.0 are the same."""
        self._sketch.update(value)

    def encode(self) -> bytes:
        """The sketch as bytes, which depend on nothing but the sequence of values.

        The library writes its hash tables in slot order, which a restored sketch does not share
        with one that was never stored: their entries are sorted here.
        """
        payload: bytes = self._sketch.serialize_compact()
        mode = payload[_MODE_BYTE] & _MODES
        start = {_SET: _SET_COUPONS, _ARRAY: _EXCEPTIONS}.get(mode, len(payload))
        entries = (len(payload) - start) // 4
        if entries < 2:
            return payload
        form = f"<{entries}I"
        return payload[:start] + struct.pack(
            form, *sorted(struct.unpack_from(form, payload, start))
        )


def distinct(payloads: Iterable[bytes]) -> float:
    """How many different values the tiles saw together, to the nearest whole number.

    The relative standard error is that of one sketch, however many tiles there are.
    """
    union = hll_union(LG_K)
    for payload in payloads:
        union.update(hll_sketch.deserialize(payload))
    return float(round(union.get_estimate()))


def _empty() -> hll_sketch:
    return hll_sketch(LG_K, tgt_hll_type.HLL_4)
