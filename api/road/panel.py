"""Who answers a group of requests: the champion, a canary, the default head, or what is left."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

import msgspec
import structlog

from api.adopting.arms import Arm, Arms, Draw
from api.adopting.model import Head, ModelSlot, Said, ServedModel, Vectors, ask
from api.measuring.measurements import Measurements
from api.road.answers import ModelVersion
from learners.learner import Frozen
from learners.prior import PRIOR, Prior
from tidemill.declaration import Project
from tidemill.wire import ArmScore

FEATURES, STALE, WEIGHTS, RELEASE, MODEL = "features", "stale", "weights", "release", "model"
_SAY_AGAIN_SECONDS = 1.0
# A record that holds a list is one more object for the garbage collector to look at, for as long as
# it is kept; one that holds an empty tuple is none, and on the wire both are the same.
_NOBODY = cast(list[ArmScore], ())
_LOG = structlog.get_logger()


class Source(msgspec.Struct, frozen=True, eq=False):
    """Where a score comes from: what the answer says of it, and what can be asked to explain it."""

    version: ModelVersion
    model: Head | Frozen


@dataclass(slots=True)
class Verdicts:
    """What is answered to a group, a value for each request; `arms` is what the others say."""

    scores: list[float]
    baselines: list[float]
    sources: list[Source]
    degraded: list[tuple[str, ...]]
    arms: list[list[ArmScore]]
    intervals: list[tuple[float, float] | None]

    def overrule(
        self, row: int, score: float, source: Source, interval: tuple[float, float] | None = None
    ) -> None:
        """Let another model answer; what the champion said is kept among what the others say."""
        if not self.arms[row]:  # else it failed, and that is what it said
            version = self.sources[row].version
            self.hear(row, _arm_score(version, self.scores[row]))
        self.scores[row], self.sources[row], self.intervals[row] = score, source, interval

    def hear(self, row: int, said: ArmScore) -> None:
        """Keep what a model says that does not answer this request."""
        self.arms[row] = [*self.arms[row], said]


class Group(msgspec.Struct, frozen=True):
    """Requests that are answered together: their ids, vectors and what is missing in all of them.

    `stale` are the rows whose features are older than their caller tolerates.
    """

    requests: Sequence[Any]
    ids: Sequence[str]
    matrix: Vectors
    degraded: tuple[str, ...]
    stale: Sequence[int] = ()


class Panel:
    """The models of one declaration; every group is judged by those that serve at that moment.

    Nothing here waits: what a model of the slot says is read before the loop goes on, and so
    before anything can be written into it.
    """

    def __init__(
        self, project: Project, slot: ModelSlot, arms: Arms, measurements: Measurements
    ) -> None:
        self._slot, self._arms, self._measurements = slot, arms, measurements
        self._default, self._draw = project.serving.default_head, Draw(project)
        self._prior = Source(ModelVersion(PRIOR, 0, 0, "champion"), Prior(project.task))
        self._silent_until = 0.0

    def judge(self, group: Group) -> Verdicts:
        """Scores for every request, whatever fails."""
        model, rows = self._slot.current, len(group.requests)
        started = perf_counter()
        said = ask(model.head, group.matrix)
        seconds = perf_counter() - started
        self._measurements.stage_seconds["model"].add(seconds)
        self._measurements.arm_seconds[model.release].add(seconds)
        degraded = (*group.degraded, MODEL) if model.is_prior else group.degraded
        champion = Source(_version(model), model.head)
        verdicts = Verdicts(
            said.scores, said.baselines, [champion] * rows, [degraded] * rows,
            [_NOBODY] * rows, self._intervals(model, group.matrix),
        )  # fmt: skip
        if not said.whole:
            self._stand_in(model, said, group, verdicts)
        if group.stale:
            self._leave_to_default(model, group, verdicts)
        if self._arms.canaries:
            self._let_canaries_answer(champion, group, verdicts)
        self._count(champion, verdicts)
        return verdicts

    def check_explained(self) -> None:
        """Raise InputError when the champion is a model that cannot be explained."""
        from learners.explain.contributions import methods

        methods(self._slot.current.head)

    def _stand_in(self, model: ServedModel, said: Said, group: Group, verdicts: Verdicts) -> None:
        """Let others answer for a champion that failed: the weights before, the release, nothing.

        It is heard of in the records, as one that said NaN.
        """
        rows = [row for row, score in enumerate(said.scores) if not math.isfinite(score)]
        if not rows:  # large values whose sum is not finite
            return
        self._warn(model, [group.ids[row] for row in rows], said.error)
        self._measurements.arm_failures[model.release] += len(rows)
        for row in rows:
            verdicts.hear(row, _arm_score(_version(model), math.nan))
            verdicts.intervals[row] = None
        for word, source in self._fallbacks(model):
            if not rows:
                return
            scores, baselines = _scores(source.model, group.matrix[rows])
            for row, score, baseline in zip(rows, scores, baselines, strict=True):
                if math.isfinite(score):
                    verdicts.scores[row], verdicts.sources[row] = score, source
                    verdicts.degraded[row] = (*group.degraded, word)
                    if not math.isfinite(verdicts.baselines[row]):
                        verdicts.baselines[row] = baseline
            rows = [row for row in rows if not math.isfinite(verdicts.scores[row])]

    def _fallbacks(self, model: ServedModel) -> Iterator[tuple[str, Source]]:
        before = self._slot.before
        if before is not None:
            yield WEIGHTS, Source(_version(before), before.head)
        if model.frozen is not None:
            yield RELEASE, Source(ModelVersion(model.release, 0, 0, "champion"), model.frozen)
        yield MODEL, self._prior

    def _leave_to_default(self, model: ServedModel, group: Group, verdicts: Verdicts) -> None:
        """Let the declared default head answer where the features are too old."""
        rows = list(group.stale)
        if self._default == "release" and not model.is_prior:
            source = Source(
                ModelVersion(model.release, 0, 0, "default"), model.frozen or self._prior.model
            )
            scores = [verdicts.baselines[row] for row in rows]
        else:
            source = Source(ModelVersion(PRIOR, 0, 0, "default"), self._prior.model)
            scores, _ = _scores(source.model, group.matrix[rows])
        for row, score in zip(rows, scores, strict=True):
            if math.isfinite(score):
                verdicts.overrule(row, score, source)
            verdicts.degraded[row] = (*verdicts.degraded[row], STALE)

    def _let_canaries_answer(self, champion: Source, group: Group, verdicts: Verdicts) -> None:
        """Give every canary its share; the champion's answer stands where one fails."""
        for arm, rows in self._drawn(champion, group, verdicts):
            model, matrix = arm.slot.current, group.matrix[rows]
            started = perf_counter()
            said = ask(model.head, matrix)
            self._measurements.arm_seconds[model.release].add(perf_counter() - started)
            intervals = self._intervals(model, matrix)
            source, failed = Source(_version(model, "canary"), model.head), list[str]()
            for row, score, interval in zip(rows, said.scores, intervals, strict=True):
                if math.isfinite(score):
                    verdicts.overrule(row, score, source, interval)
                    verdicts.degraded[row] = group.degraded
                else:
                    failed.append(group.ids[row])
                    verdicts.hear(row, _arm_score(source.version, math.nan))
            if failed:
                self._measurements.arm_failures[model.release] += len(failed)
                self._warn(model, failed, said.error)

    def _drawn(
        self, champion: Source, group: Group, verdicts: Verdicts
    ) -> Iterator[tuple[Arm, list[int]]]:
        """The canaries that answer anything, and the rows that are theirs."""
        stale, theirs = frozenset(group.stale), dict[str, tuple[Arm, list[int]]]()
        for row, request in enumerate(group.requests):
            arm = self._arms.of(self._draw(request, group.ids[row]))
            if arm is None or row in stale or arm.slot.current.is_prior:
                continue
            if arm.release != champion.version.release:  # it has just become champion
                theirs.setdefault(arm.release, (arm, []))[1].append(row)
        yield from theirs.values()

    def _count(self, champion: Source, verdicts: Verdicts) -> None:
        """Count who answered and what was missing; a group of one kind is counted at once."""
        rows, m = len(verdicts.scores), self._measurements
        if verdicts.sources.count(champion) == rows:
            m.arm_answers[champion.version.release, "champion"] += rows
        else:
            for source in verdicts.sources:
                m.arm_answers[source.version.release, source.version.arm] += 1
        if any(verdicts.degraded):
            for words in verdicts.degraded:
                m.degraded.update(words)

    def _intervals(self, model: ServedModel, matrix: Vectors) -> list[tuple[float, float] | None]:
        """Where the outcomes are expected to lie, for a head that knows (see `Bounded`)."""
        rows = len(matrix)
        # An isinstance of a protocol would cost each group.
        known = getattr(model.head, "intervals", None)
        if known is None:
            return [None] * rows
        try:
            found = [_interval(low, high) for low, high in known(matrix).tolist()]
            if len(found) != rows:
                raise ValueError(f"intervals: found {len(found)}; allowed: {rows}")
            return found
        except Exception as error:  # a score without an interval is still one
            if self._may_say():
                _LOG.warning("intervals_failed", release=model.release, error=repr(error))
            return [None] * rows

    def _warn(self, model: ServedModel, ids: Sequence[str], error: Exception | None) -> None:
        """Say that a model failed, and on which prediction first."""
        if self._may_say():
            _LOG.error(
                "model_failed", release=model.release, snapshot=model.snapshot,
                prediction_id=ids[0], requests=len(ids),
                error=repr(error) if error else "not finite",
            )  # fmt: skip

    def _may_say(self) -> bool:
        """True at most once a second."""
        now = perf_counter()
        if now < self._silent_until:
            return False
        self._silent_until = now + _SAY_AGAIN_SECONDS
        return True


def _arm_score(version: ModelVersion, score: float) -> ArmScore:
    return ArmScore(version.release, version.snapshot, version.offset, score)


def _version(model: ServedModel, arm: Any = "champion") -> ModelVersion:
    return ModelVersion(model.release, model.snapshot, model.offset, arm)


def _scores(model: Head | Frozen, matrix: Vectors) -> tuple[list[float], list[float]]:
    """A head's or a release's scores and baselines, NaN where it fails."""
    is_head = hasattr(model, "predict_both")
    said = ask(cast(Head, model) if is_head else _Alone(cast(Frozen, model)), matrix)
    return said.scores, said.baselines


@dataclass(frozen=True, slots=True)
class _Alone:
    """A release as a head that has learned nothing."""

    release: Frozen

    def predict_both(self, vectors: Vectors) -> Any:
        """The release's predictions, twice."""
        scores = self.release.predict_many(vectors)
        return scores, scores


def _interval(low: float, high: float) -> tuple[float, float] | None:
    """None for one that has no ends, which JSON could not say."""
    return (low, high) if math.isfinite(low) and math.isfinite(high) else None
