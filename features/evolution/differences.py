"""What a declaration says of each feature, and what separates two declarations, name by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from features.plan import FeaturePlan
from tidemill.declaration import Project
from tidemill.expressions import Binary, Column, Constant, Expression, Unary
from tidemill.feature_kinds import DerivedFeature, LabelRate, RequestFeature, Window
from tidemill.sources import Entity, Event
from tidemill.static_row import StaticRow

Attributes = dict[str, str]


class Definition(msgspec.Struct, frozen=True):
    """One declaration as the store remembers it.

    `features` says of each feature what was declared, `events` of each event its fields; `entities`
    gives each entity's layout in the store.
    """

    schema: str
    state: str
    features: dict[str, Attributes]
    entities: dict[str, int]
    events: dict[str, Attributes]
    since_ms: int


@dataclass(frozen=True, slots=True)
class Change:
    """One feature whose meaning is another: per attribute what it was and what it is."""

    name: str
    attributes: dict[str, tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What separates a new declaration from an old one.

    `entities` are those whose state in the store is new or means something else; `order` is true
    when the same features stand in another order.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[Change, ...]
    entities: tuple[str, ...]
    order: bool

    @property
    def nothing(self) -> bool:
        """True when both mean the same."""
        return not (self.added or self.removed or self.changed or self.entities or self.order)


def define(plan: FeaturePlan, now_ms: int) -> Definition:
    """The declaration of a plan, to be remembered."""
    return Definition(
        schema=plan.schema.hash,
        state=plan.state,
        features=dict(_features(plan.project)),
        entities={entity.entity.name: entity.layout for entity in plan.entities},
        events={event.name: _event(event) for event in plan.project.events},
        since_ms=now_ms,
    )


def compare(old: Definition, new: Definition) -> Difference:
    """What was added, removed and changed; a feature also changes with what it is derived from."""
    added = tuple(name for name in new.features if name not in old.features)
    removed = tuple(name for name in old.features if name not in new.features)
    changed: dict[str, dict[str, tuple[str, str]]] = {}
    for name, attributes in new.features.items():
        if name in old.features and (found := _differing(old.features[name], attributes)):
            changed[name] = found
    for name, attributes in new.features.items():  # in order: one reads only those before it
        reads = attributes.get("reads", "").split()
        for source in reads:
            if name in old.features and source in changed:
                changed.setdefault(name, {})[f"its input {source}"] = ("as before", "changed")
    kept = [name for name in old.features if name in new.features]
    return Difference(
        added, removed,
        tuple(Change(name, found) for name, found in changed.items()),
        tuple(e for e, layout in new.entities.items() if old.entities.get(e) != layout),
        kept != [name for name in new.features if name in old.features],
    )  # fmt: skip


def _differing(old: Attributes, new: Attributes) -> dict[str, tuple[str, str]]:
    return {
        name: (old.get(name, "nothing"), new.get(name, "nothing"))
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    }


def _features(project: Project) -> Iterator[tuple[str, Attributes]]:
    for feature in project.features:
        yield from zip(feature.names, _DESCRIBED[type(feature)](feature), strict=True)


def _window(window: Window) -> Iterator[Attributes]:
    shared = {"kind": "window", "event": window.event.name}
    for attribute in ("of", "where", "per"):
        if (expression := getattr(window, attribute)) is not None:
            shared[attribute] = text(expression)
    for entity in window.by:
        for over in window.over:
            for aggregate in window.aggregates:
                for output in aggregate.outputs:
                    yield shared | {"aggregate": output, "by": _entity(entity), "over": over}


def _label_rate(rate: LabelRate) -> Iterator[Attributes]:
    shared = {"kind": "label rate", "prior": str(rate.prior), "weight": str(rate.weight)}
    for entity in rate.by:
        for over in rate.over:
            yield shared | {"by": _entity(entity), "over": over}


def _static_row(row: StaticRow) -> Iterator[Attributes]:
    for column, size in row.sizes:
        for position in range(size):
            yield {"kind": "static", "by": _entity(row.by), "column": column, "at": str(position)}


def _request(feature: RequestFeature) -> Iterator[Attributes]:
    categorical = {"categorical": "yes"} if feature.categorical else {}
    yield {"kind": "request", "value": text(feature.value)} | categorical


def _derived(feature: DerivedFeature) -> Iterator[Attributes]:
    reads = " ".join(sorted(feature.value.names()))
    yield {"kind": "derived", "value": text(feature.value), "reads": reads}


_DESCRIBED: Mapping[type[Any], Any] = {
    Window: _window,
    LabelRate: _label_rate,
    StaticRow: _static_row,
    RequestFeature: _request,
    DerivedFeature: _derived,
}


def _entity(entity: Entity) -> str:
    return f"{entity.name} ({', '.join(entity.keys)})"


def _event(event: Event) -> Attributes:
    return {
        field.name: field.type.__name__ + (" | None" if field.optional else "")
        for field in event.columns
    } | {"key": event.key}


def text(expression: Expression) -> str:
    """An expression as one would write it."""
    match expression:
        case Column(name):
            return name
        case Constant(value):
            return repr(value)
        case Unary(operation, operand):
            return f"{operation}({text(operand)})"
        case Binary(operation, left, right):
            return f"({text(left)} {operation} {text(right)})"
    return repr(expression)
