"""The definitions a user composes in one project file; everything else is derived from them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tidemill.durations import DAY_MS, MINUTE_MS, duration_ms
from tidemill.errors import DeclarationError
from tidemill.expressions import Column, Expression

AGGREGATES = ("count", "sum", "mean", "min", "max", "last", "age")
Aggregate = Literal["count", "sum", "mean", "min", "max", "last", "age"]
FieldType = type[str] | type[float] | type[int] | type[bool]
SHORTEST_WINDOW_MS, LONGEST_WINDOW_MS = MINUTE_MS, 90 * DAY_MS
RESERVED_FIELDS = ("event", "id", "time")

_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FIELD_TYPES: dict[Any, tuple[FieldType, bool]] = {
    kind: (base, optional)
    for base in (str, float, int, bool)
    for kind, optional in ((base, False), (base | None, True))
}


def _check_name(where: str, name: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise DeclarationError(where, name, "lower-case letters, digits and _, a letter first")


def _check_kind(where: str, values: Iterable[object], kind: type, allowed: str) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise DeclarationError(where, value, allowed)


def _check_one_of(where: str, found: object, allowed: Iterable[str]) -> None:
    names = tuple(allowed)
    if found not in names:
        raise DeclarationError(where, found, "one of " + ", ".join(names))


def _check_unique(where: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DeclarationError(where, name, "each name once")


def _check_range(where: str, found: float, low: float, high: float) -> None:
    number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not number or not low <= found <= high:
        raise DeclarationError(where, found, f"a number from {low:g} to {high:g}")


@dataclass(frozen=True, slots=True)
class Field:
    """One typed field of an event or a request."""

    name: str
    type: FieldType
    optional: bool


class _Record:
    """Named typed fields; `record.name` and `record["name"]` give the column to compute with."""

    __slots__ = ()
    name: str
    columns: tuple[Field, ...]

    def __getitem__(self, name: str) -> Expression:
        """The column of one field."""
        allowed = [f.name for f in self.columns] + ["time"]
        _check_one_of(f"{self.name}.{name}", name, allowed)
        return Column(name)

    def __getattr__(self, name: str) -> Expression:
        if name.startswith("_") or name == "columns":
            raise AttributeError(name)
        return self[name]

    def field(self, name: str) -> Field:
        """One field by its name; KeyError if there is none."""
        return next(f for f in self.columns if f.name == name)


def _columns(where: str, fields: Mapping[str, Any]) -> tuple[Field, ...]:
    if not isinstance(fields, Mapping) or not fields:
        raise DeclarationError(f"{where}.fields", fields, "a mapping from field name to type")
    columns = []
    for name, kind in fields.items():
        _check_name(f"{where}.fields", name)
        if name in RESERVED_FIELDS:
            raise DeclarationError(f"{where}.fields", name, "any name but event, id and time")
        if kind not in _FIELD_TYPES:
            allowed = "str, float, int or bool, or one of them with | None"
            raise DeclarationError(f"{where}.fields[{name!r}]", kind, allowed)
        columns.append(Field(name, *_FIELD_TYPES[kind]))
    return tuple(columns)


@dataclass(frozen=True)
class Event(_Record):
    """A kind of fact that producers send.

    `key` is the field whose value orders the events on Kafka; `fields` maps names to `str`, `float`, `int` or
    `bool`, with `| None` for one that may be missing. Every event also has `time` (milliseconds) and may have `id`.
    """

    name: str
    key: str
    fields: Mapping[str, Any]
    columns: tuple[Field, ...] = field(init=False)

    def __post_init__(self) -> None:
        _check_name("Event.name", self.name)
        object.__setattr__(self, "columns", _columns(f"Event {self.name}", self.fields))
        _check_one_of(f"Event {self.name}.key", self.key, self.fields)


@dataclass(frozen=True)
class Request(_Record):
    """What a caller sends to get a score; `time` is the moment it is scored for."""

    fields: Mapping[str, Any]
    columns: tuple[Field, ...] = field(init=False)
    name: str = "request"

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", _columns("Request", self.fields))


@dataclass(frozen=True, slots=True)
class Entity:
    """What features are about: named by one field, or by several together."""

    name: str
    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        _check_name("Entity.name", self.name)
        if not isinstance(self.keys, tuple) or not self.keys:
            raise DeclarationError(f"Entity {self.name}.keys", self.keys, "a tuple of field names")


@dataclass(frozen=True, slots=True)
class Window:
    """Aggregates of one event over sliding windows, for each of several entities.

    `of` is the number to aggregate (not needed for count and age), `where` keeps only some events. Features are
    named `{name}_{aggregate}_{entity}_{over}`. Windows slide in steps of 1/12 or finer and reach to the request's
    moment (Chronon's sawtooth: an exact head, a tail rounded to the step).
    """

    name: str
    event: Event
    aggregate: tuple[Aggregate, ...]
    by: tuple[Entity, ...]
    over: tuple[str, ...]
    of: Expression | None = None
    where: Expression | None = None

    def __post_init__(self) -> None:
        _check_name("Window.name", self.name)
        where = f"Window {self.name}"
        _check_kind(f"{where}.event", (self.event,), Event, "an Event")
        for attribute in ("aggregate", "by", "over"):
            value = getattr(self, attribute)
            if not isinstance(value, tuple) or not value:
                raise DeclarationError(f"{where}.{attribute}", value, "a tuple that is not empty")
        _check_kind(f"{where}.by", self.by, Entity, "an Entity")
        for aggregate in self.aggregate:
            _check_one_of(f"{where}.aggregate", aggregate, AGGREGATES)
            if self.of is None and aggregate not in ("count", "age"):
                raise DeclarationError(f"{where}.of", None, f"an expression ({aggregate} needs one)")
        for over in self.over:
            _check_range(f"{where}.over", duration_ms(f"{where}.over", over),
                         SHORTEST_WINDOW_MS, LONGEST_WINDOW_MS)  # fmt: skip
        self._check_columns(where)

    def _check_columns(self, where: str) -> None:
        fields = [f.name for f in self.event.columns] + ["time"]
        for attribute, expression in (("of", self.of), ("where", self.where)):
            if expression is None:
                continue
            _check_kind(f"{where}.{attribute}", (expression,), Expression, "an expression")
            for name in sorted(expression.names()):
                _check_one_of(f"{where}.{attribute}", name, fields)
        for entity in self.by:
            for key in entity.keys:
                _check_one_of(f"{where}.by {entity.name}", key, fields)


@dataclass(frozen=True, slots=True)
class RequestFeature:
    """A number computed from the request alone. `categorical` marks codes that have no order."""

    name: str
    value: Expression
    categorical: bool = False

    def __post_init__(self) -> None:
        _check_name("RequestFeature.name", self.name)
        _check_kind(f"RequestFeature {self.name}.value", (self.value,), Expression, "an expression")


@dataclass(frozen=True, slots=True)
class DerivedFeature:
    """A number computed from other features, named with `column("...")`."""

    name: str
    value: Expression

    def __post_init__(self) -> None:
        _check_name("DerivedFeature.name", self.name)
        _check_kind(f"DerivedFeature {self.name}.value", (self.value,), Expression, "an expression")


Feature = Window | RequestFeature | DerivedFeature


@dataclass(frozen=True, slots=True)
class Label:
    """The outcome (0 or 1), joined to its prediction by `key`, waited for at most `wait` after the request.

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
        _check_name("TreeHead.name", self.name)
        _check_range(f"TreeHead {self.name}.learning_rate", self.learning_rate, 0, 1)


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
        _check_range("LightGBM.leaves", self.leaves, 2, 4096)
        _check_range("LightGBM.rounds", self.rounds, 1, 10_000)
        _check_range("LightGBM.learning_rate", self.learning_rate, 1e-6, 1)
        _check_range("LightGBM.min_rows_per_leaf", self.min_rows_per_leaf, 1, 1e9)
        _check_range("LightGBM.feature_share", self.feature_share, 0.01, 1)


@dataclass(frozen=True, slots=True)
class Gate:
    """What a candidate must show before it is published.

    Candidate and champion are compared on the newest `holdout` of labelled examples by log-loss; the candidate may be
    worse by at most `tolerance` (relative), and needs `min_rows` examples to be judged at all.
    """

    holdout: str = "7d"
    tolerance: float = 0.0
    min_rows: int = 1000

    def __post_init__(self) -> None:
        duration_ms("Gate.holdout", self.holdout)
        _check_range("Gate.tolerance", self.tolerance, 0, 1)
        _check_range("Gate.min_rows", self.min_rows, 1, 1e12)

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
        _check_name("BadCase.reason", self.reason)
        _check_kind(f"BadCase {self.reason}.when", (self.when,), Expression, "an expression")

    @property
    def needs_label(self) -> bool:
        """True when the rule can only be judged once the label is known."""
        return "label" in self.when.names()


@dataclass(frozen=True)
class Project:
    """A whole service: what comes in, what is computed, what is learned and what is asked of a new model."""

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
        _check_name("Project.name", self.name)
        kinds: tuple[tuple[str, Any, str], ...] = (
            ("events", Event, "an Event"),
            ("features", Feature, "a Window, RequestFeature or DerivedFeature"),
            ("bad_cases", BadCase, "a BadCase"),
        )
        for attribute, kind, allowed in kinds:
            value = getattr(self, attribute)
            if not isinstance(value, tuple):
                raise DeclarationError(f"Project.{attribute}", value, "a tuple")
            _check_kind(f"Project.{attribute}", value, kind, allowed)
        for attribute, kind in (("request", Request), ("label", Label), ("learner", TreeHead),
                                ("trainer", LightGBM), ("gate", Gate)):  # fmt: skip
            _check_kind(f"Project.{attribute}", (getattr(self, attribute),), kind, f"a {kind.__name__}")
        self._check_features()

    def _check_features(self) -> None:
        _check_unique("Project.events", [event.name for event in self.events])
        request_fields = [f.name for f in self.request.columns] + ["time"]
        for feature in self.features:
            if isinstance(feature, RequestFeature):
                for name in sorted(feature.value.names()):
                    _check_one_of(f"RequestFeature {feature.name}.value", name, request_fields)
            elif isinstance(feature, Window):
                if feature.event not in self.events:
                    found = feature.event.name
                    raise DeclarationError(f"Window {feature.name}.event", found, "one of Project.events")
                for entity in feature.by:
                    for key in entity.keys:
                        _check_one_of(f"Entity {entity.name}.keys", key, request_fields)
        names = self.feature_names
        _check_unique("Project.features", names)
        for feature in self.features:
            if isinstance(feature, DerivedFeature):
                for name in sorted(feature.value.names()):
                    _check_one_of(f"DerivedFeature {feature.name}.value", name, names)
        for rule in self.bad_cases:
            for name in sorted(rule.when.names()):
                _check_one_of(f"BadCase {rule.reason}.when", name, ["score", "label", *names])
        for key in self.label.key:
            _check_one_of("Label.key", key, request_fields)

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities its windows are about, in order of first mention."""
        windows = [feature for feature in self.features if isinstance(feature, Window)]
        return tuple(dict.fromkeys(entity for window in windows for entity in window.by))

    @property
    def feature_names(self) -> list[str]:
        """Every feature's name in the order of the vector: as declared, a window's features expanded."""
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
