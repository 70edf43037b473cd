"""Sums of resources, and what of a need does not fit into what is left."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from batch.schedule.job import Held, Resources
from tidemill.errors import DeclarationError

_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*(" + "|".join(_UNITS) + ")")


@dataclass(frozen=True, slots=True)
class Room:
    """What may be taken; None means that nothing limits it. What is not listed of GPUs is none."""

    cores: int | None = None
    memory_bytes: int | None = None
    gpus: Mapping[str, int] | None = field(default=None)

    def lacks(self, need: Resources) -> str:
        """What of the need is missing, in words; empty when it fits."""
        if self.cores is not None and need.cores > self.cores:
            return f"{_cores(need.cores)}, {_left(self.cores)}"
        if self.memory_bytes is not None and (need.memory_bytes or 0) > self.memory_bytes:
            return f"{in_words(need.memory_bytes or 0)} of memory, {_left(self.memory_bytes, True)}"
        for label, count in need.gpus.items():
            if self.gpus is not None and count > self.gpus.get(label, 0):
                return f"{count} GPU {label}, {_left(self.gpus.get(label, 0))}"
        return ""

    def less(self, taken: Resources) -> Room:
        """What is left after something was taken; may be below zero where quotas were lowered."""
        return Room(
            None if self.cores is None else self.cores - taken.cores,
            None if self.memory_bytes is None else self.memory_bytes - (taken.memory_bytes or 0),
            None if self.gpus is None else _minus(self.gpus, taken.gpus),
        )

    def at_most(self, need: Resources) -> Resources:
        """As much of a need as fits."""
        return Resources(
            _lesser(need.cores, self.cores),
            _lesser(need.memory_bytes or 0, self.memory_bytes),
            {
                label: count if self.gpus is None else _lesser(count, self.gpus.get(label, 0))
                for label, count in need.gpus.items()
            },
        )


def held_as_need(held: Held) -> Resources:
    """What a running job takes of its quota."""
    gpus = {label: len(ids) for label, ids in held.gpus.items()}
    return Resources(len(held.cores), held.memory_bytes, gpus)


def left_of(room: Room, taken: Iterable[Resources]) -> Room:
    """What all of these leave."""
    for each in taken:
        room = room.less(each)
    return room


def bytes_of(name: str, text: object) -> int:
    """Bytes of a size such as `8GB`; `name` says in the error where it stood.

    >>> bytes_of("memory", "1.5GB")
    1500000000
    """
    match = _BYTES.fullmatch(text) if isinstance(text, str) else None
    found = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if found <= 0:
        raise DeclarationError(name, text, "a size such as 500MB, 8GB or 16GiB")
    return found


def in_words(size: int) -> str:
    """Bytes as a person reads them."""
    unit = "GB" if size >= _UNITS["GB"] else "MB"
    return f"{size / _UNITS[unit]:.3g} {unit}"


def _minus(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    return {label: count - right.get(label, 0) for label, count in left.items()}


def _cores(count: int) -> str:
    return "1 core" if count == 1 else f"{count} cores"


def _lesser(need: int, room: int | None) -> int:
    return need if room is None else max(min(need, room), 0)


def _left(amount: int, size: bool = False) -> str:
    return f"{in_words(max(amount, 0)) if size else max(amount, 0)} free"
