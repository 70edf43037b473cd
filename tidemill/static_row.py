"""Static rows: numbers about an entity that are loaded from a file and swapped whole."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from tidemill.checks import check_kind, check_name, check_unique, check_whole
from tidemill.errors import DeclarationError
from tidemill.sources import Entity

MOST_FLOATS = 100_000  # of one row


@dataclass(frozen=True, slots=True)
class StaticRow:
    """Numbers about an entity that `tidemill features load` writes: a profile, an embedding.

    `columns` are the names of the file's columns, each a number, or a mapping from name to size: 1
    for a number, more for a list of so many. Features are named `{name}_{column}`, those of a list
    `{name}_{column}_0`, `_1` and so on; one row has at most 100 000. An entity that the file did
    not name, and a value that it left empty, are missing (NaN).

    A load replaces the whole table at once. A vector holds the rows as they are when it is scored;
    one computed later from the archive lacks them, or holds those of that later moment where they
    are handed to the replay (`Replayer.vectors`): static rows know no time, so rows made from later
    outcomes would leak them.
    """

    name: str
    by: Entity
    columns: tuple[str, ...] | Mapping[str, int] = field(repr=False, compare=False)
    sizes: tuple[tuple[str, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        check_name("StaticRow.name", self.name)
        where = f"StaticRow {self.name}"
        check_kind(f"{where}.by", (self.by,), Entity, "an Entity")
        if not isinstance(self.columns, (tuple, Mapping)) or not self.columns:
            allowed = "a tuple of column names, or a mapping from name to size"
            raise DeclarationError(f"{where}.columns", self.columns, allowed)
        for column in self.columns:
            check_name(f"{where}.columns", column)
            if column in self.by.keys:
                allowed = f"names other than {self.by.name}'s keys"
                raise DeclarationError(f"{where}.columns", column, allowed)
        sized = self.columns if isinstance(self.columns, Mapping) else None
        check_unique(f"{where}.columns", list(self.columns))
        for column, size in (sized or {}).items():
            check_whole(f"{where}.columns[{column!r}]", size, 1, MOST_FLOATS)
        object.__setattr__(
            self, "sizes", tuple((name, sized[name] if sized else 1) for name in self.columns)
        )
        if self.floats > MOST_FLOATS:
            allowed = f"at most {MOST_FLOATS} floats together"
            raise DeclarationError(f"{where}.columns", self.floats, allowed)

    @property
    def floats(self) -> int:
        """How many features a row has."""
        return sum(size for _, size in self.sizes)

    @property
    def names(self) -> list[str]:
        """The names of its features, in the order of the vector."""
        return [
            name
            for column, size in self.sizes
            for name in (
                [f"{self.name}_{column}"]
                if size == 1
                else [f"{self.name}_{column}_{position}" for position in range(size)]
            )
        ]

    @property
    def layout(self) -> int:
        """A number that changes with the meaning of any float of a row (31 bits)."""
        meaning = (self.name, self.by.name, self.by.keys, self.sizes)
        return zlib.crc32(repr(meaning).encode()) & 0x7FFFFFFF
