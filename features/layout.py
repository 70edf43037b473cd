"""Which state one entity keeps, and in which words of its row each part of it lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tidemill.aggregates import DECAYED, Aggregate
from tidemill.durations import DAY_MS, HOUR_MS, MINUTE_MS
from tidemill.expressions import Expression
from tidemill.feature_kinds import LIFETIME_MS
from tidemill.sources import Event

HEADER_WORDS, GROUP_HEADER_WORDS, RING_HEADER_WORDS, LAST_WORDS, DECAY_WORDS = 4, 2, 2, 4, 6

# What a tile may hold, in the order in which it lies there, and its words. Sums are float64: the
# order in which events of several partitions come then hardly ever shows in a float32 feature.
PARTIALS = {"sum": 2, "squares": 2, "first": 2, "first_value": 1, "count": 1, "min": 1, "max": 1}
NEEDS: dict[str, tuple[str, ...]] = {
    "count": ("count",),
    "sum": ("sum",),
    "mean": ("count", "sum"),
    "min": ("min",),
    "max": ("max",),
    "variance": ("count", "sum", "squares"),
    "std": ("count", "sum", "squares"),
    "first": ("first", "first_value"),
    "ratio": ("sum",),
    "rate": ("count", "sum"),
}
Sketch = Literal["distinct", "quantiles", "top"]
SKETCHES: dict[str, Sketch] = {"distinct": "distinct", "quantile": "quantiles", "top": "top"}


def tile_step_ms(length_ms: int) -> int:
    """The width of a window's tiles: a twelfth of it or less, and a minute below 12 min.

    The ladder is that of Chronon's sawtooth windows; a lifetime is one tile.

    >>> tile_step_ms(HOUR_MS) // MINUTE_MS, tile_step_ms(DAY_MS) // MINUTE_MS
    (5, 60)
    """
    if length_ms < HOUR_MS:
        return MINUTE_MS
    if length_ms < 12 * HOUR_MS:
        return 5 * MINUTE_MS
    if length_ms == LIFETIME_MS:
        return LIFETIME_MS
    return HOUR_MS if length_ms < 12 * DAY_MS else DAY_MS


def tiles_of(length_ms: int, step_ms: int) -> int:
    """How many tiles a ring keeps: a tail within a tile reaches one tile further back."""
    return 1 if step_ms == LIFETIME_MS else -(-length_ms // step_ms) + 1


def reach_ms(length_ms: int) -> int:
    """How old an event may be and still lie in a window: its tail lies within a tile."""
    step = tile_step_ms(length_ms)
    return LIFETIME_MS if step == LIFETIME_MS else length_ms + step


@dataclass(frozen=True, slots=True)
class Wanted:
    """One aggregate of one entity over one window; `output` is its (first) column in the vector."""

    output: int
    aggregate: Aggregate
    event: Event
    of: Expression | None
    where: Expression | None
    per: Expression | None
    length_ms: int
    prior: float = 0.0
    weight: float = 0.0


@dataclass
class Series:
    """One stream of numbers for one entity: an event's expression behind a filter.

    `column` is its place among the entity's series of the same event. The words are places in the
    entity's row, -1 for what is not kept. `reach_ms` is how far back any of it reaches.
    """

    event: Event
    of: Expression | None
    where: Expression | None
    column: int
    partials: set[str] = field(default_factory=set)
    longest_ms: dict[int, int] = field(default_factory=dict)  # of the ring of a step
    ring_words: dict[int, int] = field(default_factory=dict)  # by step
    kept_last: int = 0
    last_word: int = -1
    decay_words: dict[int, int] = field(default_factory=dict)  # by half-life
    sketches: dict[tuple[Sketch, int], int] = field(default_factory=dict)  # kind, step → longest
    reach_ms: int = 0

    @property
    def positions(self) -> dict[str, int]:
        """Where each partial stands in a tile, in words; -1 for one that is not kept."""
        found, at = {}, 0
        for partial, words in PARTIALS.items():
            found[partial] = at if partial in self.partials else -1
            at += words if partial in self.partials else 0
        return found

    @property
    def width(self) -> int:
        """The words of a tile: an even number, for float64 begins at even words."""
        words = sum(PARTIALS[partial] for partial in self.partials)
        return words + words % 2

    def tiles(self, step: int) -> int:
        """The tiles of the ring of one step."""
        return tiles_of(self.longest_ms[step], step)


class Layout:
    """The distinct series of one entity and their words; one expression and filter is one series.

    `words` is the length of the row; `spans` are the first and last (exclusive) word of what each
    kind of event keeps: its newest time (int64 ms), then its series one after the other.
    """

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        self._found: dict[str, Series] = {}
        for each in wanted:
            self._note(each)
        self.spans: dict[str, tuple[int, int]] = {}
        self.words = HEADER_WORDS
        for event in dict.fromkeys(series.event.name for series in self.series):
            begin = self.words
            self.words += GROUP_HEADER_WORDS
            for series in self.series:
                if series.event.name == event:
                    self._place(series)
            self.spans[event] = (begin, self.words)

    @property
    def series(self) -> list[Series]:
        """In order of first mention."""
        return list(self._found.values())

    def of(self, event: Event, of: Expression | None, where: Expression | None) -> Series:
        """The series, made when it is new."""
        key = repr((event.name, of, where))
        if key not in self._found:
            column = sum(series.event.name == event.name for series in self.series)
            self._found[key] = Series(event, of, where, column)
        return self._found[key]

    def _note(self, wanted: Wanted) -> None:
        """Keep what one aggregate needs."""
        kind, length_ms = wanted.aggregate.kind, wanted.length_ms
        series = self.of(wanted.event, wanted.of, wanted.where)
        step = tile_step_ms(length_ms)
        if kind in DECAYED:
            series.decay_words[length_ms] = -1
            series.reach_ms = LIFETIME_MS
            return
        series.reach_ms = max(series.reach_ms, reach_ms(length_ms))
        if kind in ("last", "age"):
            series.kept_last = max(series.kept_last, wanted.aggregate.number, 1)
        elif kind in SKETCHES:
            place = (SKETCHES[kind], step)
            series.sketches[place] = max(series.sketches.get(place, 0), length_ms)
        else:
            self._ring(series, kind, step, length_ms)
            if kind == "ratio":
                divisor = self.of(wanted.event, wanted.per, wanted.where)
                divisor.reach_ms = series.reach_ms
                self._ring(divisor, kind, step, length_ms)

    @staticmethod
    def _ring(series: Series, kind: str, step: int, length_ms: int) -> None:
        series.partials.update(NEEDS[kind])
        series.longest_ms[step] = max(series.longest_ms.get(step, 0), length_ms)

    def _place(self, series: Series) -> None:
        """Give a series its words; every part begins at an even one."""
        if series.kept_last:
            series.last_word = self.words
            self.words += LAST_WORDS * series.kept_last
        for half_life in sorted(series.decay_words):
            series.decay_words[half_life] = self.words
            self.words += DECAY_WORDS
        for step in sorted(series.longest_ms):
            series.ring_words[step] = self.words
            self.words += RING_HEADER_WORDS + series.tiles(step) * series.width
