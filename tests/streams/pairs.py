"""What labels come to, the slow way: every label kept, every open case looked at every time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from stream_world import SKEW, World, make_project

from features.plan import FeaturePlan, compile_plan
from streams.join import Join
from streams.label_policy import LateShare, keeps_negative
from tidemill.label import Label
from tidemill.wire import Example, LabelEvent, Prediction

Stamped = tuple[Prediction | LabelEvent, int]


@cache
def plan_of(label: Label) -> FeaturePlan:
    """The project of the stream tests with another label."""
    project = make_project()
    values = {name: getattr(project, name) for name in ("name", "events", "request", "features")}
    return compile_plan(type(project)(**values, label=label))


def joining(world: World, label: Label) -> Join:
    """A join for this label."""
    context = type(world.context)(
        plan_of(label), world.names, world.store, world.context.producer,
        world.measurements, world.clock,
    )  # fmt: skip
    return Join(context, world.letters(), SKEW, world.most_pending)


@dataclass
class Case:
    """One prediction and every label that named it."""

    prediction: Prediction
    end: int
    used: list[tuple[LabelEvent, int]] = field(default_factory=list)
    later: list[tuple[LabelEvent, int]] = field(default_factory=list)
    outcome: str = ""
    value: float | None = None
    forget: int = 0


class Oracle:
    """Takes records in their order; keeps everything in lists and bounds nothing."""

    def __init__(self, label: Label) -> None:
        self.label = label
        self.corrects = label.corrections is not None
        self.cases: dict[str, Case] = {}
        self.early: dict[str, list[tuple[LabelEvent, int]]] = {}
        self.examples: list[Example] = []
        self.counts: Counter[str] = Counter()
        self.late = LateShare()
        self.time = self.stamp = 0

    def run(self, records: Sequence[Stamped]) -> Oracle:
        """Take all of them."""
        for record, stamp in records:
            self.stamp = stamp
            if isinstance(record, Prediction):
                self.time = max(self.time, record.time)
                self.end_waits()
                self.predicted(record)
            else:
                self.judge(record, stamp)
            self.end_waits()
        return self

    def predicted(self, prediction: Prediction) -> None:
        """Open a case, or open it again for the newest of several predictions."""
        key, before = prediction.key, self.cases.get(prediction.key)
        self.counts["repeated_predictions"] += before is not None
        if before is not None and before.outcome:
            return
        case = self.cases[key] = Case(prediction, prediction.time + self.label.wait_ms)
        if before is not None:
            case.used = before.used
        for event, stamp in before.later if before else self.early.pop(key, []):
            self.judge(event, stamp)

    def judge(self, event: LabelEvent, stamp: int) -> None:
        """What one label does to its case."""
        case, one = self.cases.get(event.key), (event, stamp)
        if case is None:
            known = self.early.setdefault(event.key, [])
            if known and self.label.several == "first" and not self.corrects:
                self.counts["refused_second_label"] += 1
            else:
                known.append(one)
        elif case.outcome:
            self.corrected(case, one)
        elif event.time > case.end:
            if self.corrects and event.time <= case.end + self.label.corrections_ms:
                case.later.append(one)
            else:
                self.counts["refused_late_label"] += 1
        else:
            case.used.append(one)
            if self.label.several == "first":
                self.close(case)

    def close(self, case: Case) -> None:
        """Make the example, or note that there is none."""
        if case.used:
            case.outcome, case.value = "joined", self.value(case.used)
            newest = self.newest(case.used)
            self.emit(case, "label", newest[0].time, newest[1], newest[0].producer)
        elif self.label.missing is not None:
            case.outcome, case.value = "missing", self.label.missing
            self.emit(case, "missing", case.end, self.stamp, "")
        else:
            case.outcome = "expired"
            self.counts["expired"] += 1
        case.forget = case.end + max(self.label.wait_ms, self.label.corrections_ms)
        later, case.later = case.later, []
        for one in later:
            self.corrected(case, one)

    def corrected(self, case: Case, one: tuple[LabelEvent, int]) -> None:
        """A label after its example was made."""
        if not self.corrects or one[0].time > case.end + self.label.corrections_ms:
            cause = "second" if case.outcome == "joined" else "late"
            self.counts[f"refused_{cause}_label"] += 1
            return
        case.used = [one] if self.label.several == "first" else [*case.used, one]
        value = self.value(case.used)
        if value == case.value:
            self.counts["repeated_labels"] += 1
            return
        case.value = value
        newest = self.newest(case.used)
        fake = case.outcome == "missing" and value == 1
        self.emit(case, "correction", newest[0].time, newest[1], newest[0].producer, fake)
        case.outcome = "joined"

    def newest(self, labels: list[tuple[LabelEvent, int]]) -> tuple[LabelEvent, int]:
        """The newest by its own time; of equals the one read last."""
        return max(enumerate(labels), key=lambda each: (each[1][0].time, each[0]))[1]

    def value(self, labels: list[tuple[LabelEvent, int]]) -> float:
        """What several come to."""
        values = [event.value for event, _ in labels]
        total = 0.0
        for value in values:
            total += value
        return {
            "first": values[0], "last": self.newest(labels)[0].value, "sum": total,
            "max": max(values), "mean": total / len(values),
        }[self.label.several]  # fmt: skip

    def emit(  # noqa: PLR0913, PLR0917 - an example has this many parts
        self, case: Case, kind: str, time: int, stamp: int, producer: str, fake: bool = False
    ) -> None:
        """One example, with the weight that the papers say."""
        share, sampled, weight = self.label.keep_negatives, 1.0, 1.0
        if case.value == 0 and kind != "correction" and share < 1:
            if not keeps_negative(case.prediction.id, share):
                self.counts["dropped_negatives"] += 1
                return
            sampled = weight = 1 / share
        if self.label.kind == "binary" and self.label.missing is not None and self.corrects:
            p, q = case.prediction.score, self.late.share
            seen = 1 + p * q
            weight *= seen * (1 - p) / (1 - p + p * q) if kind == "missing" else seen
            if case.value == 1 and (kind == "label" or fake):
                self.late.add(late=fake)
        names = {"label": "joined", "missing": "missing", "correction": "corrected"}
        self.counts[names[kind]] += 1
        number = len(self.examples) + 1
        self.examples.append(
            Example(case.prediction, case.value or 0.0, time, stamp, 0, number,
                    weight, kind, producer, sampled)
        )  # fmt: skip

    def end_waits(self) -> None:
        """Close what is over, in the order in which it ends; forget what was kept long enough."""
        while over := sorted((end, key) for end, key in self.ends() if end < self.time):
            key = over[0][1]
            if key in self.early:
                self.counts["refused_unknown_prediction"] += len(self.early.pop(key))
            elif self.cases[key].outcome:
                del self.cases[key]
            else:
                self.close(self.cases[key])

    def early_end(self, labels: list[tuple[LabelEvent, int]]) -> int:
        """When labels without a prediction are given up."""
        return max(event.time for event, _ in labels) + self.label.wait_ms

    def ends(self) -> list[tuple[int, str]]:
        """When everything that is kept ends, or is forgotten."""
        cases = [(c.forget if c.outcome else c.end, key) for key, c in self.cases.items()]
        return cases + [(self.early_end(each), key) for key, each in self.early.items()]
