"""The kinds of features a project declares: windows, rates, static, of the request, derived."""

from __future__ import annotations

from dataclasses import dataclass

from tidemill.aggregates import DECAYED, WITHOUT_VALUE, Aggregate, parse_aggregate
from tidemill.checks import check_kind, check_name, check_number, check_one_of, check_range
from tidemill.durations import DAY_MS, MINUTE_MS, duration_ms
from tidemill.errors import DeclarationError
from tidemill.expressions import Expression
from tidemill.fields import samples
from tidemill.sources import Entity, Event
from tidemill.static_row import StaticRow

LIFETIME = "lifetime"
SHORTEST_WINDOW_MS, LONGEST_WINDOW_MS = MINUTE_MS, 90 * DAY_MS
LIFETIME_MS = 2**62  # longer than any time: one tile holds everything


def window_ms(where: str, over: str) -> int:
    """The length of a window, `LIFETIME_MS` for "lifetime"; raises DeclarationError."""
    if over == LIFETIME:
        return LIFETIME_MS
    length = duration_ms(where, over)
    if not SHORTEST_WINDOW_MS <= length <= LONGEST_WINDOW_MS:
        raise DeclarationError(where, over, 'a duration from 1min to 90d, or "lifetime"')
    return length


@dataclass(frozen=True, slots=True)
class Window:
    """Aggregates of one event over sliding windows, for each of several entities.

    `of` is the number to aggregate (not needed for counts and age), `where` keeps only some events,
    `over` are lengths from 1min to 90d, or "lifetime". Features are named
    `{name}_{aggregate}_{entity}_{over}`. Windows reach to the request's moment; their tail slides
    in steps of 1/12 or finer, of one minute below 12 min (Chronon's sawtooth). Aggregates:

    - `count`, `sum`, `mean`, `min`, `max`, `variance` and `std` (of the population), `first`
    - `last`, `last_K` (the K newest values, newest first), `age` (seconds since the newest event)
    - `ratio`: sum(`of`) / sum(`per`)
    - `decayed_count`, `decayed_sum`, `decayed_mean`: each event counts 2^(-age / `over`), so `over`
      is the half-life
    - `distinct` (HyperLogLog), `p1` to `p99` (KLL quantiles), `top_K` (the K most frequent values):
      approximate, with the bounds in `features/sketches/`

    A count or sum over nothing is 0, everything else is missing (NaN).
    """

    name: str
    event: Event
    aggregate: tuple[str, ...]
    by: tuple[Entity, ...]
    over: tuple[str, ...]
    of: Expression | None = None
    where: Expression | None = None
    per: Expression | None = None

    def __post_init__(self) -> None:
        check_name("Window.name", self.name)
        where = f"Window {self.name}"
        check_kind(f"{where}.event", (self.event,), Event, "an Event")
        _check_tuples(where, self, ("aggregate", "by", "over"))
        check_kind(f"{where}.by", self.by, Entity, "an Entity")
        for over in self.over:
            window_ms(f"{where}.over", over)
        for aggregate in self.aggregates:
            self._check_aggregate(where, aggregate)
        if self.per is not None and "ratio" not in self.aggregate:
            raise DeclarationError(f"{where}.per", self.per, "nothing (only ratio takes it)")
        self._check_columns(where)

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        """The aggregates, parsed."""
        return tuple(parse_aggregate(f"Window {self.name}.aggregate", a) for a in self.aggregate)

    def _check_aggregate(self, where: str, aggregate: Aggregate) -> None:
        if self.of is None and aggregate.kind not in WITHOUT_VALUE:
            allowed = f"an expression ({aggregate.kind} needs one)"
            raise DeclarationError(f"{where}.of", None, allowed)
        if self.per is None and aggregate.kind == "ratio":
            raise DeclarationError(f"{where}.per", None, "an expression (ratio needs one)")
        if aggregate.kind in DECAYED and LIFETIME in self.over:
            allowed = f"half-lives ({aggregate.kind} is never forgotten at once)"
            raise DeclarationError(f"{where}.over", LIFETIME, allowed)

    def _check_columns(self, where: str) -> None:
        fields = [f.name for f in self.event.columns] + ["time"]
        for attribute in ("of", "where", "per"):
            expression = getattr(self, attribute)
            if expression is None:
                continue
            check_kind(f"{where}.{attribute}", (expression,), Expression, "an expression")
            for name in sorted(expression.names()):
                check_one_of(f"{where}.{attribute}", name, fields)
            check_number(f"{where}.{attribute}", expression, samples(self.event.columns))
        for entity in self.by:
            for key in entity.keys:
                check_one_of(f"{where}.by {entity.name}", key, fields)

    @property
    def names(self) -> list[str]:
        """The names of its features, in the order of the vector."""
        return [
            self.feature_name(output, entity, over)
            for entity in self.by
            for over in self.over
            for aggregate in self.aggregates
            for output in aggregate.outputs
        ]

    def feature_name(self, output: str, entity: Entity, over: str) -> str:
        """The name of one feature; `output` is one of an aggregate's."""
        return f"{self.name}_{output}_{entity.name}_{over}"


@dataclass(frozen=True, slots=True)
class LabelRate:
    """How often the label was 1 lately, for each of several entities (target encoding).

    (sum of labels + `weight` * `prior`) / (number of labels + `weight`) over the labels that became
    known within the window, whenever their requests were scored: a label counts from the moment it
    is joined, never earlier. The prior alone for an entity without labels. Features are named
    `{name}_{entity}_{over}`. Source: Micci-Barreca, "A preprocessing scheme for high-cardinality
    categorical attributes", 2001, section 3.
    """

    name: str
    by: tuple[Entity, ...]
    over: tuple[str, ...]
    prior: float
    weight: float = 20.0

    def __post_init__(self) -> None:
        check_name("LabelRate.name", self.name)
        where = f"LabelRate {self.name}"
        _check_tuples(where, self, ("by", "over"))
        check_kind(f"{where}.by", self.by, Entity, "an Entity")
        for over in self.over:
            window_ms(f"{where}.over", over)
        check_range(f"{where}.prior", self.prior, 0, 1)
        check_range(f"{where}.weight", self.weight, 1e-6, 1e9)

    @property
    def names(self) -> list[str]:
        """The names of its features, in the order of the vector."""
        return [self.feature_name(entity, over) for entity in self.by for over in self.over]

    def feature_name(self, entity: Entity, over: str) -> str:
        """The name of one feature."""
        return f"{self.name}_{entity.name}_{over}"


@dataclass(frozen=True, slots=True)
class RequestFeature:
    """A number computed from the request alone. `categorical` marks codes that have no order."""

    name: str
    value: Expression
    categorical: bool = False

    def __post_init__(self) -> None:
        check_name("RequestFeature.name", self.name)
        check_kind(f"RequestFeature {self.name}.value", (self.value,), Expression, "an expression")

    @property
    def names(self) -> list[str]:
        """Its own name."""
        return [self.name]


@dataclass(frozen=True, slots=True)
class DerivedFeature:
    """A number computed from other features, named with `column("...")`."""

    name: str
    value: Expression

    def __post_init__(self) -> None:
        check_name("DerivedFeature.name", self.name)
        check_kind(f"DerivedFeature {self.name}.value", (self.value,), Expression, "an expression")

    @property
    def names(self) -> list[str]:
        """Its own name."""
        return [self.name]


Feature = Window | LabelRate | StaticRow | RequestFeature | DerivedFeature


def _check_tuples(where: str, feature: Window | LabelRate, attributes: tuple[str, ...]) -> None:
    for attribute in attributes:
        value = getattr(feature, attribute)
        if not isinstance(value, tuple) or not value:
            raise DeclarationError(f"{where}.{attribute}", value, "a tuple that is not empty")
