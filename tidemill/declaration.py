"""The definitions a user composes in one project file; everything else is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tidemill.breaker import Breaker
from tidemill.checks import (
    check_kind,
    check_name,
    check_number,
    check_one_of,
    check_unique,
)
from tidemill.compression import Compression
from tidemill.dataset_rule import DatasetRule, check_fits
from tidemill.drift import Drift
from tidemill.errors import DeclarationError
from tidemill.expressions import Expression
from tidemill.feature_kinds import DerivedFeature, Feature, LabelRate, RequestFeature, Window
from tidemill.fields import Field, samples
from tidemill.gate import Gate
from tidemill.label import Label
from tidemill.learner_kinds import LearnerKind, Mixture, TreeHead
from tidemill.search import Search
from tidemill.serving import Serving
from tidemill.sources import Entity, Event, Request
from tidemill.static_row import StaticRow
from tidemill.tasks import Task
from tidemill.trainer_kinds import LightGBM, TrainerKind
from tidemill.trial import Trial

LABEL_EVENT, LABEL_VALUE = "label", "value"


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
    learner: LearnerKind = TreeHead()
    trainer: TrainerKind = LightGBM()
    gate: Gate = Gate()
    breaker: Breaker = Breaker()
    bad_cases: tuple[BadCase, ...] = ()
    slices: tuple[str, ...] = ()
    drift: Drift | None = None
    dataset: DatasetRule = DatasetRule()
    search: Search | None = None
    compression: Compression | None = None
    serving: Serving = Serving()
    trial: Trial = Trial()

    def __post_init__(self) -> None:
        check_name("Project.name", self.name)
        kinds: tuple[tuple[str, Any, str], ...] = (
            ("events", Event, "an Event"),
            ("features", Feature, "a Window, LabelRate, StaticRow, Request- or DerivedFeature"),
            ("bad_cases", BadCase, "a BadCase"),
            ("slices", str, "a field of the request"),
        )
        for attribute, kind, allowed in kinds:
            value = getattr(self, attribute)
            if not isinstance(value, tuple):
                raise DeclarationError(f"Project.{attribute}", value, "a tuple")
            check_kind(f"Project.{attribute}", value, kind, allowed)
        single = (
            ("request", Request, "a Request"),
            ("label", Label, "a Label"),
            ("learner", LearnerKind, "a learner, such as TreeHead"),
            ("trainer", TrainerKind, "a trainer, such as LightGBM"),
            ("gate", Gate, "a Gate"),
            ("breaker", Breaker, "a Breaker"),
            ("dataset", DatasetRule, "a DatasetRule"),
            ("serving", Serving, "a Serving"),
            ("trial", Trial, "a Trial"),
        )
        for attribute, kind, allowed in single:
            check_kind(f"Project.{attribute}", (getattr(self, attribute),), kind, allowed)
        optional = (("drift", Drift), ("search", Search), ("compression", Compression))
        for attribute, kind in optional:
            if getattr(self, attribute) is not None:
                allowed = f"a {kind.__name__}, or None"
                check_kind(f"Project.{attribute}", (getattr(self, attribute),), kind, allowed)
        self._check_trainers()
        self._check_features()
        self._check_watched()
        self.check_dataset(self.dataset)
        if self.dataset.parent is not None and self.dataset.ends_early:
            allowed = "no to_ms and no matured: a learner could not tell where to go on"
            raise DeclarationError("Project.dataset", "a parent and an end", allowed)

    def _check_trainers(self) -> None:
        """A head stands on trees: what trains anything else goes with another learner."""
        learners = self.learner.experts if isinstance(self.learner, Mixture) else (self.learner,)
        if not any(isinstance(learner, TreeHead) for learner in learners):
            return
        for trainer in self.trainers:
            if not isinstance(trainer, LightGBM):
                found = f"TreeHead with {type(trainer).__name__}"
                raise DeclarationError("Project.learner", found, "a learner such as Linear")

    def _check_features(self) -> None:
        check_unique("Project.events", [event.name for event in self.events])
        if LABEL_EVENT in [event.name for event in self.events]:
            raise DeclarationError("Project.events", LABEL_EVENT, f"any name but {LABEL_EVENT}")
        request_fields = [f.name for f in self.request.columns] + ["time"]
        for feature in self.features:
            if isinstance(feature, RequestFeature):
                for name in sorted(feature.value.names()):
                    check_one_of(f"RequestFeature {feature.name}.value", name, request_fields)
                where = f"RequestFeature {feature.name}.value"
                check_number(where, feature.value, samples(self.request.columns))
            elif isinstance(feature, Window) and feature.event not in self.events:
                found = feature.event.name
                raise DeclarationError(
                    f"Window {feature.name}.event", found, "one of Project.events"
                )
        entities = dict.fromkeys([*self.entities, *(row.by for row in self.static_rows)])
        for entity in entities:
            for key in entity.keys:
                check_one_of(f"Entity {entity.name}.keys", key, request_fields)
        names = self.feature_names
        check_unique("Project.features", names)
        # Two entities of one name would share keys in the store.
        check_unique("Project.entities", [entity.name for entity in entities])
        check_unique("Project.static_rows", [row.name for row in self.static_rows])
        for name in ("score", "label"):
            if name in names:
                raise DeclarationError("Project.features", name, "any name but score and label")
        self._check_derived(names)
        self._check_bad_cases(names)
        if self.label.keep_negatives < 1 and any(isinstance(f, LabelRate) for f in self.features):
            allowed = "1 where label rates are declared: they count every label"
            raise DeclarationError("Label.keep_negatives", self.label.keep_negatives, allowed)
        for key in self.label.key:
            check_one_of("Label.key", key, request_fields)
            if key != "time" and self.request.field(key).optional:
                raise DeclarationError("Label.key", key, "request fields that are never missing")

    def check_dataset(self, rule: DatasetRule) -> None:
        """Refuse a rule for datasets that this project cannot follow; raises DeclarationError."""
        binary, judged = self.label.kind == "binary", bool(self.bad_cases)
        check_fits(rule, self.request, self.feature_names, binary, judged)

    def _check_watched(self) -> None:
        if self.serving.sticky is not None:
            names = [entity.name for entity in self.entities]
            check_one_of("Serving.sticky", self.serving.sticky, names)
        check_unique("Project.slices", self.slices)
        for name in self.slices:
            check_one_of("Project.slices", name, [field.name for field in self.request.columns])
        for name in self.drift.ignore if self.drift else ():
            check_one_of("Drift.ignore", name, [*self.feature_names, "score"])

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
            used = [Field(name, float, True) for name in sorted(feature.value.names())]
            check_number(where, feature.value, samples(used))
            later.discard(feature.name)

    def _check_bad_cases(self, names: Sequence[str]) -> None:
        check_unique("Project.bad_cases", [rule.reason for rule in self.bad_cases])
        allowed = ["score", "label", *names]
        for rule in self.bad_cases:
            where = f"BadCase {rule.reason}.when"
            for name in sorted(rule.when.names()):
                check_one_of(where, name, allowed)
            used = [Field(name, float, True) for name in sorted(rule.when.names())]
            check_number(where, rule.when, samples(used))

    @property
    def task(self) -> Task:
        """What is predicted and learned."""
        return self.label.task

    @property
    def trainers(self) -> tuple[TrainerKind, ...]:
        """Every trainer a release may come from: the declared one, then those searched."""
        return (self.trainer, *(self.search.families if self.search else ()))

    @property
    def entities(self) -> tuple[Entity, ...]:
        """The entities its windows and rates are about, in order of first mention."""
        kinds = (Window, LabelRate)
        found = [entity for f in self.features if isinstance(f, kinds) for entity in f.by]
        return tuple(dict.fromkeys(found))

    @property
    def static_rows(self) -> tuple[StaticRow, ...]:
        """The static rows, in the order of the vector."""
        return tuple(feature for feature in self.features if isinstance(feature, StaticRow))

    @property
    def label_event(self) -> Event | None:
        """The event that label rates aggregate, or None without any: a label that became known.

        Its `time` is the label's, its fields are the keys of the request it belongs to and `value`.
        """
        rates = [feature for feature in self.features if isinstance(feature, LabelRate)]
        keys = dict.fromkeys(key for f in rates for entity in f.by for key in entity.keys)
        kinds = {f.name: (f.type | None if f.optional else f.type) for f in self.request.columns}
        if not rates:
            return None
        fields = {key: kinds[key] for key in keys if key in kinds} | {LABEL_VALUE: float}
        return Event(LABEL_EVENT, LABEL_VALUE, fields)

    @property
    def feature_names(self) -> list[str]:
        """Every feature's name in the order of the vector, a window's features expanded."""
        return [name for feature in self.features for name in feature.names]

    @property
    def categorical_names(self) -> list[str]:
        """The features whose numbers are codes without an order."""
        return [f.name for f in self.features if isinstance(f, RequestFeature) and f.categorical]
