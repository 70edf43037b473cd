"""Where Kafka's own clients put keys: murmur2, for many keys at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from aiokafka.partitioner import murmur2
from numpy.typing import NDArray

# Fewer are done sooner one by one; and keys are padded to the longest, which a caller may choose.
FEW, LONGEST_BYTES = 12, 256
_SEED, _MIX = np.uint32(0x9747B28C), np.uint32(0x5BD1E995)
_POSITIVE = 0x7FFFFFFF
# Written in Python, and event keys repeat.
_hash = lru_cache(maxsize=4096)(murmur2)


def partitions_of(keys: Sequence[bytes | None], partitions: int) -> list[int]:
    """The partition of each key as the default partitioner has it; without a key the first."""
    if partitions == 1:
        return [0] * len(keys)
    known = [key for key in keys if key is not None]
    if FEW <= len(known) == len(keys) and max(map(len, known)) <= LONGEST_BYTES:
        found: list[int] = ((_hashes(known) & _POSITIVE) % partitions).tolist()
        return found
    return [0 if key is None else (_hash(key) & _POSITIVE) % partitions for key in keys]


def _hashes(keys: Sequence[bytes]) -> NDArray[np.uint32]:
    """Murmur2 (Appleby, 2008) with the seed of Kafka's clients; a step takes a word of each key."""
    lengths = np.fromiter(map(len, keys), np.uint32, len(keys))
    whole, width = lengths // 4, int(lengths.max()) // 4 + 1  # a word more: what is left over
    padded = b"".join([key.ljust(4 * width, b"\0") for key in keys])
    words = np.frombuffer(padded, "<u4").reshape(len(keys), width)
    mixed = words * _MIX
    mixed ^= mixed >> 24
    mixed *= _MIX
    hashes: NDArray[np.uint32] = lengths ^ _SEED
    for place in range(width - 1):
        hashes = np.where(place < whole, hashes * _MIX ^ mixed[:, place], hashes)
    rest = words[np.arange(len(keys)), whole]
    hashes = np.where(lengths % 4 > 0, (hashes ^ rest) * _MIX, hashes)
    hashes ^= hashes >> 13
    hashes *= _MIX
    hashes ^= hashes >> 15
    return hashes
