"""The definitions a user composes in one project file; everything else is derived from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tidemill.checks import (
    check_kind,
    check_name,
    check_number,
    check_one_of,
    check_range,
    check_unique,
    check_whole,
)
from tidemill.durations import DAY_MS, MINUTE_MS, duration_ms
from tidemill.errors import DeclarationError
from tidemill.expressions import Expression
from tidemill.fields import Field as Field  # also importable from here
from tidemill.fields import Record, samples, typed_fields

AGGREGATES = ("count", "sum", "mean", "min", "max", "last", "age")
Aggregate = Literal["count", "sum", "mean", "min", "max", "last", "age"]
SHORTEST_WINDOW_MS, LONGEST_WINDOW_MS = MINUTE_MS, 90 * DAY_MS


@dataclass(frozen=True)
class Event(Record):
    """A kind of fact that producers send.

    `key` is the field whose value orders the events on Kafka; `fields` maps names to `str`,
    `float`, `int` or `bool`, with `| None` for one that may be missing. Every event also has `time`
    (milliseconds) and may have `id`.
    """

    name: str
    key: str
    fields: Mapping[str, Any]
    columns: tuple[Field, ...] = field(init=False)

    def __post_init__(self) -> None:
        check_name("Event.name", self.name)
        object.__setattr__(self, "columns", typed_fields(f"Event {self.name}", self.fields))
        check_one_of(f"Event {self.name}.key", self.key, self.fields)


@dataclass(frozen=True)
class Request(Record):
    """What a caller sends to get a score; `time` is the moment it is scored for."""

    fields: Mapping[str, Any]
    columns: tuple[Field, ...] = field(init=False)
    name: str = "request"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", typed_fields("Request", self.fields))


@dataclass(frozen=True, slots=True)
class Entity:
    """What features are about: named by one field, or by several together."""

    name: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        check_name("Entity.name", self.name)
        if not isinstance(self.keys, tuple) or not self.keys:
            raise DeclarationError(f"Entity {self.name}.keys", self.keys, "a tuple of field names")
        check_kind(f"Entity {self.name}.keys", self.keys, str, "a field name")


@dataclass(frozen=True, slots=True)
class Window:
    """Aggregates of one event over sliding windows, for each of several entities.

    `of` is the number to aggregate (not needed for count and age), `where` keeps only some events.
    Features are named `{name}_{aggregate}_{entity}_{over}`. Windows reach to the request's moment;
    their tail slides in steps of 1/12 or finer, of one minute below 12 min (Chronon's sawtooth).
    """

    name: str
    event: Event
    aggregate: tuple[Aggregate, ...]
    by: tuple[Entity, ...]
    over: tuple[str, ...]
    of: Expression | None = None
    where: Expression | None = None

    def __post_init__(self) -> None:
        check_name("Window.name", self.name)
        where = f"Window {self.name}"
        check_kind(f"{where}.event", (self.event,), Event, "an Event")
        for attribute in ("aggregate", "by", "over"):
            value = getattr(self, attribute)
            if not isinstance(value, tuple) or not value:
                raise DeclarationError(f"{where}.{attribute}", value, "a tuple that is not empty")
        check_kind(f"{where}.by", self.by, Entity, "an Entity")
        for aggregate in self.aggregate:
            check_one_of(f"{where}.aggregate", aggregate, AGGREGATES)
            if self.of is None and aggregate not in ("count", "age"):
                raise DeclarationError(
                    f"{where}.of", None, f"an expression ({aggregate} needs one)"
                )
        for over in self.over:
            length_ms = duration_ms(f"{where}.over", over)
            if not SHORTEST_WINDOW_MS <= length_ms <= LONGEST_WINDOW_MS:
                raise DeclarationError(f"{where}.over", over, "a duration from 1min to 90d")
        self._check_columns(where)

    def _check_columns(self, where: str) -> None:
        fields = [f.name for f in self.event.columns] + ["time"]
        for attribute, expression in (("of", self.of), ("where", self.where)):
            if expression is None:
                continue
            check_kind(f"{where}.{attribute}", (expression,), Expression, "an expression")
            for name in sorted(expression.names()):
                check_one_of(f"{where}.{attribute}", name, fields)
            check_number(f"{where}.{attribute}", expression, samples(self.event.columns))
        for entity in self.by:
            for key in entity.keys:
                check_one_of(f"{where}.by {entity.name}", key, fields)


@dataclass(frozen=True, slots=True)
class RequestFeature:
    """A number computed from the request alone. `categorical` marks codes that have no order."""

    name: str
    value: Expression
    categorical: bool = False

    def __post_init__(self) -> None:
        check_name("RequestFeature.name", self.name)
        check_kind(f"RequestFeature {self.name}.value", (self.value,), Expression, "an expression")


@dataclass(frozen=True, slots=True)
class DerivedFeature:
    """A number computed from other features, named with `column("...")`."""

    name: str
    value: Expression

    def __post_init__(self) -> None:
        check_name("DerivedFeature.name", self.name)
        check_kind(f"DerivedFeature {self.name}.value", (self.value,), Expression, "an expression")


Feature = Window | RequestFeature | DerivedFeature


@dataclass(frozen=True, slots=True)
class Label:
    """The outcome (0 or 1), waited for at most `wait` after the request.

    `key` names the request fields whose values, joined with `|`, make the join key.
    """

    key: tuple[str, ...]
    wait: str

    def __post_init__(self) -> None:
        if not isinstance(self.key, tuple) or not self.key:
            raise DeclarationError("Label.key", self.key, "a tuple of request fields")
        duration_ms("Label.wait", self.wait)

    @property
    def wait_ms(self) -> int:
        """The wait in milliseconds of stream time."""
        return duration_ms("Label.wait", self.wait)


@dataclass(frozen=True, slots=True)
class TreeHead:
    """The learner: an online linear head on the frozen trees of the release (AdaGrad)."""

    name: str = "head"
    learning_rate: float = 0.002

    def __post_init__(self) -> None:
        check_name("TreeHead.name", self.name)
        check_range(f"TreeHead {self.name}.learning_rate", self.learning_rate, 0, 1)


@dataclass(frozen=True, slots=True)
class LightGBM:
    """The batch trainer: gradient-boosted trees."""

    leaves: int = 63
    rounds: int = 200
    learning_rate: float = 0.05
    min_rows_per_leaf: int = 20
    feature_share: float = 1.0
    seed: int = 7

    def __post_init__(self) -> None:
        check_whole("LightGBM.leaves", self.leaves, 2, 4096)
        check_whole("LightGBM.rounds", self.rounds, 1, 10_000)
        check_range("LightGBM.learning_rate", self.learning_rate, 1e-6, 1)
        check_whole("LightGBM.min_rows_per_leaf", self.min_rows_per_leaf, 1, 1_000_000_000)
        check_whole("LightGBM.seed", self.seed, 0, 2_147_483_647)
        check_range("LightGBM.feature_share", self.feature_share, 0.01, 1)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a candidate must show before it is published.

    Candidate and champion are compared on the newest `holdout` of labelled examples by log-loss;
    the candidate may be worse by at most `tolerance` (relative), and needs `min_rows` examples to
    be judged at all.
    """

    holdout: str = "7d"
    tolerance: float = 0.0
    min_rows: int = 1000

    def __post_init__(self) -> None:
        duration_ms("Gate.holdout", self.holdout)
        check_range("Gate.tolerance", self.tolerance, 0, 1)
        check_whole("Gate.min_rows", self.min_rows, 1, 1_000_000_000_000)

    @property
    def holdout_ms(self) -> int:
        """The holdout in milliseconds of stream time."""
        return duration_ms("Gate.holdout", self.holdout)


@dataclass(frozen=True, slots=True)
class BadCase:
    """A rule that picks cases worth a look; `reason` is its code.

    `when` reads `score`, features and, unless it is to be judged at scoring time already, `label`.
    """

    reason: str
    when: Expression

    def __post_init__(self) -> None:
        check_name("BadCase.reason", self.reason)
        check_kind(f"BadCase {self.reason}.when", (self.when,), Expression, "an expression")

    @property
    def needs_label(self) -> bool:
        """True when the rule can only be judged once the label is known."""
        return "label" in self.when.names()


@dataclass(frozen=True)
class Project:
    """A whole service: what comes in, what is computed and learned, what a new model must show."""

    name: str
    events: tuple[Event, ...]
    request: Request
    features: tuple[Feature, ...]
    label: Label
    learner: TreeHead = TreeHead()
    trainer: LightGBM = LightGBM()
    gate: Gate = Gate()
    bad_cases: tuple[BadCase, ...] = ()

    def __post_init__(self) -> None:
        check_name("Project.name", self.name)
        kinds: tuple[tuple[str, Any, str], ...] = (
            ("events", Event, "an Event"),
            ("features", Feature, "a Window, RequestFeature or DerivedFeature"),
            ("bad_cases", BadCase, "a BadCase"),
        )
        for attribute, kind, allowed in kinds:
            value = getattr(self, attribute)
            if not isinstance(value, tuple):
                raise DeclarationError(f"Project.{attribute}", value, "a tuple")
            check_kind(f"Project.{attribute}", value, kind, allowed)
        single = {
            "request": Request,
            "label": Label,
            "learner": TreeHead,
            "trainer": LightGBM,
            "gate": Gate,
        }
        for attribute, kind in single.items():
            value = getattr(self, attribute)
            check_kind(f"Project.{attribute}", (value,), kind, f"a {kind.__name__}")
        self._check_features()

    def _check_features(self) -> None:
        check_unique("Project.events", [event.name for event in self.events])
        request_fields = [f.name for f in self.request.columns] + ["time"]
        for feature in self.features:
            if isinstance(feature, RequestFeature):
                for name in sorted(feature.value.names()):
                    check_one_of(f"RequestFeature {feature.name}.value", name, request_fields)
                where = f"RequestFeature {feature.name}.value"
                check_number(where, feature.value, samples(self.request.columns))
            elif isinstance(feature, Window):
                if feature.event not in self.events:
                    found = feature.event.name
                    raise DeclarationError(
                        f"Window {feature.name}.event", found, "one of Project.events"
                    )
                for entity in feature.by:
                    for key in entity.keys:
                        check_one_of(f"Entity {entity.name}.keys", key, request_fields)
        names = self.feature_names
        check_unique("Project.features", names)
        # Two entities of one name would share keys in the store.
        check_unique("Project.entities", [entity.name for entity in self.entities])
        for name in ("score", "label"):
            if name in names:
                raise DeclarationError("Project.features", name, "any name but score and label")
        self._check_derived(names)
        self._check_bad_cases(names)
        for key in self.label.key:
            check_one_of("Label.key", key, request_fields)
            if key != "time" and self.request.field(key).optional:
                raise DeclarationError("Label.key", key, "request fields that are never missing")

    def _check_derived(self, names: Sequence[str]) -> None:
        # Derived features are computed in order, so one may read only those before it.
        later = {f.name for f in self.features if isinstance(f, DerivedFeature)}
        for feature in self.features:
            if not isinstance(feature, DerivedFeature):
                continue
            where = f"DerivedFeature {feature.name}.value"
            allowed = [name for name in names if name not in later]
            for name in sorted(feature.value.names()):
                check_one_of(where, name, allowed)
            check_number(
                where, feature.value, samples([Field(name, float, True) for name in allowed])
            )
            later.discard(feature.name)

    def _check_bad_cases(self, names: Sequence[str]) -> None:
        check_unique("Project.bad_cases", [rule.reason for rule in self.bad_cases])
        allowed = ["score", "label", *names]
        for rule in self.bad_cases:
            where = f"BadCase {rule.reason}.when"
            for name in sorted(rule.when.names()):
                check_one_of(where, name, allowed)
            numbers = [Field(name, float, True) for name in allowed]
            check_number(where, rule.when, samples(numbers))

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities its windows are about, in order of first mention."""
        windows = [feature for feature in self.features if isinstance(feature, Window)]
        return tuple(dict.fromkeys(entity for window in windows for entity in window.by))

    @property
    def feature_names(self) -> list[str]:
        """Every feature's name in the order of the vector, a window's features expanded."""
        names: list[str] = []
        for feature in self.features:
            names += window_names(feature) if isinstance(feature, Window) else [feature.name]
        return names

    @property
    def categorical_names(self) -> list[str]:
        """The features whose numbers are codes without an order."""
        return [f.name for f in self.features if isinstance(f, RequestFeature) and f.categorical]


def window_names(window: Window) -> list[str]:
    """The names of a window's features, in the order of the vector."""
    return [
        window_feature_name(window, aggregate, entity, over)
        for entity in window.by
        for over in window.over
        for aggregate in window.aggregate
    ]


def window_feature_name(window: Window, aggregate: str, entity: Entity, over: str) -> str:
    """The name of one window feature."""
    return f"{window.name}_{aggregate}_{entity.name}_{over}"
