"""Scores of past predictions by the weights of then: each release's learner goes over the log once.

A range of examples that an operator left out for good is left out for whoever scored behind it. A
learner that scored inside had learned them, and was taken back later (`streams.quarantine`).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from batch.replay.past_learners import Moment, PastLearners
from batch.replay.report import (
    ARCHIVE_GAP,
    NOT_ARCHIVED,
    RELEASE_DELETED,
    RELEASE_UNREADABLE,
    UNKNOWN_OFFSET,
    Problem,
    Weights,
)
from features.archive.predictions import LoggedPrediction
from learners.learner import Scores, Vectors
from learners.prior import PRIOR, Prior
from learners.release import trained_to
from tidemill.arm_scores import DEFAULT
from tidemill.errors import ArtifactError
from tidemill.registry import Registry
from tidemill.tasks import Task

_CHAMPION = "champion"
Range = tuple[int, int]
Way = Callable[[LoggedPrediction], tuple[Range, ...]]


class Head(Protocol):
    """A learner, or the prior."""

    def predict_both(self, vectors: Vectors) -> tuple[Scores, Scores]:
        """What it predicts, and what its release does."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A prediction, the vector it was answered with and the rebuilt one, float32 (features,)."""

    prediction: LoggedPrediction
    logged: Vectors
    rebuilt: Vectors


@dataclass(frozen=True, slots=True)
class Scored:
    """What the weights of then say: of the logged vector, and of the rebuilt one.

    `baseline` is that of release `baseline_of`, None where that is gone.
    """

    weights: Weights
    score: float
    rebuilt: float
    baseline: float | None
    baseline_of: str


def same(one: float, other: float) -> bool:
    """Equal by bits."""
    return struct.pack("<d", one) == struct.pack("<d", other)


class PastScores:
    """Scores predictions again; afterwards each is in `scored` or in `problems`, by its id."""

    def __init__(
        self,
        registry: Registry,
        learners: PastLearners,
        task: Task,
        skipped: tuple[Range, ...],
    ) -> None:
        """`skipped` are the ranges left out for good, in the order in which that was decided."""
        self._registry, self._learners = registry, learners
        self._prior, self._skipped = Prior(task), skipped
        self._fresh: dict[str, Head | None] = {}
        self.scored: dict[str, Scored] = {}
        self.problems: dict[str, Problem] = {}

    def score(self, asked: Sequence[Asked]) -> None:
        """Score these; may block on the disk for long."""
        ordered = sorted(asked, key=_release)
        for release, group in itertools.groupby(ordered, _release):
            self._score_release(release, list(group))

    def is_right(self, prediction: LoggedPrediction) -> bool:
        """Whether score and baseline are those that were logged, bit for bit."""
        found = self.scored.get(prediction.id)
        return (
            found is not None
            and same(found.score, prediction.score)
            and found.baseline is not None
            and same(found.baseline, prediction.baseline)
        )

    def _score_release(self, release: str, group: list[Asked]) -> None:
        if release == PRIOR:  # nobody had learned anything
            weights = Weights(PRIOR, 0, 0, 0, 0)
            for each in group:
                self._note(each, self._prior, weights)
            return
        if release not in self._registry.names():
            self._refuse(group, Problem(RELEASE_DELETED, f"release {release} was deleted"))
            return
        try:
            self._learn_again(release, group)
        except ArtifactError as error:
            self._refuse(group, Problem(RELEASE_UNREADABLE, str(error)))

    def _learn_again(self, release: str, group: list[Asked]) -> None:
        begun = trained_to(self._registry.manifest(release))[0]
        fresh = [each for each in group if each.prediction.snapshot == 0]
        if fresh:  # by the release itself, before anything was learned
            moment = self._learners.first(release)
            for each in fresh:
                self._note(each, moment.learner, _weights(each, moment, (), begun))
        learned = []
        for each in group:
            reached = each.prediction.learned_to
            if each.prediction.snapshot == 0:
                continue
            if reached is None or reached < begun:
                self._refuse([each], unknown_offset(each.prediction, begun))
            else:
                learned.append(each)
        self._pass(release, learned, self._left_out, begun)
        self._try_otherwise(release, learned, begun)

    def _try_otherwise(self, release: str, learned: list[Asked], begun: int) -> None:
        """Again, for those that are wrong, as if their learners had left out something else.

        Where the operator's order came before all that had tripped the breaker was put aside, the
        newest range ends before that, and a learner that had been past its end had left nothing
        out; nor had a challenger that went on while the champion's learning was paused. When that
        is taken back, it begins at its release, and may answer from within a range.
        """
        for way in (self._all_but_newest, self._begun_ranges):
            wrong = [each for each in learned if self._may_be(each.prediction, way)]
            before = dict(self.scored)
            self._pass(release, wrong, way, begun)
            for each in wrong:
                if not self.is_right(each.prediction):
                    self.scored[each.prediction.id] = before[each.prediction.id]

    def _may_be(self, prediction: LoggedPrediction, way: Way) -> bool:
        """Whether it is wrong, and would be another if its learner had gone this way."""
        tried = prediction.id in self.scored and not self.is_right(prediction)
        return tried and way(prediction) != self._left_out(prediction)

    def _left_out(self, prediction: LoggedPrediction) -> tuple[Range, ...]:
        """The ranges that its learner was past."""
        reached = prediction.learned_to or 0
        return tuple(each for each in self._skipped if each[1] <= reached)

    def _all_but_newest(self, prediction: LoggedPrediction) -> tuple[Range, ...]:
        return self._left_out(prediction)[:-1]

    def _begun_ranges(self, prediction: LoggedPrediction) -> tuple[Range, ...]:
        reached = prediction.learned_to or 0
        return tuple(each for each in self._skipped if each[0] < reached)

    def _pass(self, release: str, group: Sequence[Asked], way: Way, begun: int) -> None:
        """Once over the log, for each way through it that leaves the same out."""

        def way_of(each: Asked) -> tuple[Range, ...]:
            return way(each.prediction)

        for ranges, members in itertools.groupby(sorted(group, key=_offset), way_of):
            waiting = list(members)
            offsets = sorted({_offset(each) for each in waiting})
            for moment in self._learners.at(release, offsets, ranges):
                while waiting and _offset(waiting[0]) == moment.offset:
                    weights = _weights(waiting[0], moment, ranges, begun)
                    self._note(waiting.pop(0), moment.learner, weights)
            if waiting:
                self._refuse(waiting, self._not_reached(_offset(waiting[0])))

    def _note(self, asked: Asked, head: Head, weights: Weights) -> None:
        """Ask the learner of then, one row at a time: a model of one's own may mind how many."""
        prediction = asked.prediction
        score, own = _ask(head, asked.logged)
        rebuilt, rebuilt_own = _ask(head, asked.rebuilt)
        if _answered_frozen(prediction, score, own):
            score, rebuilt = own, rebuilt_own
        release, baseline = self._baseline(asked, own)
        self.scored[prediction.id] = Scored(weights, score, rebuilt, baseline, release)

    def _baseline(self, asked: Asked, own: float) -> tuple[str, float | None]:
        """The release whose baseline was logged, and what it says; `own` is the answering one's.

        Where another model answered it is the champion's, who is the first of the others then.
        """
        prediction = asked.prediction
        others = prediction.others
        if not others or (prediction.arm == _CHAMPION and same(own, prediction.baseline)):
            return prediction.release, own
        champion = others[0].release
        found = self._frozen_says(champion, asked.logged)
        is_champions = found is not None and same(found, prediction.baseline)
        if prediction.arm == _CHAMPION and not is_champions:  # the others were shadows
            return prediction.release, own
        if not is_champions and same(own, prediction.baseline):  # the champion failed
            return prediction.release, own
        return champion, found

    def _frozen_says(self, release: str, vector: Vectors) -> float | None:
        """What a release says, None where it is gone."""
        if release not in self._fresh:
            try:
                self._fresh[release] = (
                    self._prior if release == PRIOR else self._learners.first(release).learner
                )
            except ArtifactError:
                self._fresh[release] = None
        learner = self._fresh[release]
        return None if learner is None else _ask(learner, vector)[1]

    def _refuse(self, group: Sequence[Asked], problem: Problem) -> None:
        for each in group:
            if each.prediction.id not in self.scored:
                self.problems[each.prediction.id] = problem

    def _not_reached(self, wanted: int) -> Problem:
        """Why the archive does not bring a learner there."""
        end = self._learners.log.end
        if wanted > end:
            message = (
                f"its weights had learned up to offset {wanted} of the examples, and the archive "
                f"has those before {end}; a worker archives the others within seconds"
            )
            return Problem(NOT_ARCHIVED, message)
        message = (
            f"the archive lacks examples that its weights had learned, before offset {wanted} and "
            "after all that its release was trained on"
        )
        return Problem(ARCHIVE_GAP, message)


def unknown_offset(prediction: LoggedPrediction, begun: int) -> Problem:
    """How far its learner had come nobody knows."""
    found = "nothing" if prediction.learned_to is None else str(prediction.learned_to)
    message = (
        f"learned to: found {found}; allowed: {begun}, what its release was trained to, or more. "
        "It was logged by a version that did not say"
    )
    return Problem(UNKNOWN_OFFSET, message)


def _weights(asked: Asked, moment: Moment, ranges: Sequence[Range], begun: int) -> Weights:
    prediction = asked.prediction
    return Weights(
        prediction.release, prediction.snapshot, moment.offset, begun, moment.examples,
        [each for each in ranges if each[1] > begun],
    )  # fmt: skip


def _ask(head: Head, vector: Vectors) -> tuple[float, float]:
    """Score and baseline of one vector (features,)."""
    scores, baselines = head.predict_both(vector[None].copy())
    return float(scores[0]), float(baselines[0])


def _answered_frozen(prediction: LoggedPrediction, score: float, own: float) -> bool:
    """Whether the release itself answered: by default, or for a learner that had failed."""
    if prediction.arm == DEFAULT:
        return True
    failed = prediction.snapshot == 0 and not same(score, prediction.score)
    return failed and same(own, prediction.score)


def _release(asked: Asked) -> str:
    return asked.prediction.release


def _offset(asked: Asked) -> int:
    return asked.prediction.learned_to or 0
