"""How small and how fast a release must be, and what that may cost."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.checks import check_kind, check_one_of, check_range, check_unique, check_whole
from tidemill.errors import DeclarationError

METHODS = {
    "slim": "trees: only what serving and learning read, numbers as short as they may be",
    "prune": "trees: subtrees that say little become leaves; the leaves are fitted again",
    "rounds": "trees: the first rounds only; their leaves are fitted again",
    "distil": "trees: fewer trees that learn what the release answers",
    "int8": "net: weights of 8 bits",
    "rows": "net: embeddings that are seldom used are dropped; weights of 8 bits",
    "units": "net: hidden units that say little are dropped; weights of 8 bits",
    "sparse": "linear: empty slots are left out",
    "half": "linear: weights of 16 bits, empty slots are left out",
    "slots": "linear: slots that say little are dropped; weights of 16 bits",
}
"""The closed list of methods, each with what it does to which family."""


@dataclass(frozen=True, slots=True)
class Compression:
    """What a release is to be brought to, and what its loss may grow by at most (relative).

    A release reaches its targets when it is `smaller` times smaller than before, its prediction
    takes `faster` times fewer operations (counted: nodes visited, multiplications), it has at most
    `most_bytes`, and one row takes at most `most_microseconds`. That last one is measured: with it
    the same data may give other bytes on another day, without it never. Without any target it is
    made as small as `loss` allows. Where the targets are not reached within `loss`, the smallest
    within it is taken, or with `required` the release is refused.
    """

    smaller: float | None = 4.0
    faster: float | None = None
    most_bytes: int | None = None
    most_microseconds: float | None = None
    loss: float = 0.01
    required: bool = False
    methods: tuple[str, ...] = tuple(METHODS)

    def __post_init__(self) -> None:
        for name in ("smaller", "faster"):
            if getattr(self, name) is not None:
                check_range(f"Compression.{name}", getattr(self, name), 1, 1e6)
        if self.most_bytes is not None:
            check_whole("Compression.most_bytes", self.most_bytes, 1, 1_000_000_000_000)
        if self.most_microseconds is not None:
            check_range("Compression.most_microseconds", self.most_microseconds, 1e-3, 1e9)
        check_range("Compression.loss", self.loss, 0, 1)
        check_kind("Compression.required", (self.required,), bool, "True or False")
        if not isinstance(self.methods, tuple) or not self.methods:
            raise DeclarationError("Compression.methods", self.methods, "a tuple of methods")
        for method in self.methods:
            check_one_of("Compression.methods", method, METHODS)
        check_unique("Compression.methods", self.methods)
        if self.required and not self.has_target:
            raise DeclarationError("Compression.required", True, "False without a target")

    @property
    def has_target(self) -> bool:
        """True when there is something to reach."""
        targets = (self.smaller, self.faster, self.most_bytes, self.most_microseconds)
        return any(target is not None for target in targets)
