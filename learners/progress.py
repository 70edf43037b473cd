"""How the answers did, by the labels that came later: progressive, so nothing was known before.

A score is what was answered before its label was known (predict, then learn; Dawid, Journal of the
Royal Statistical Society A 147, 1984), so these numbers need no holdout.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.quality import accuracy, auc, calibration_error, log_loss, mae, rmse
from learners.quality.buckets import Buckets, step_of
from learners.quality.newest import Newest
from learners.quality.slices import SliceReader
from learners.quality.tally import Tally
from tidemill.durations import DAY_MS
from tidemill.quality import Candidate, Maturity, Measures, Quality, Roles, Running, Slice
from tidemill.tasks import BINARY, Task
from tidemill.wire import Example

ROLES = ("service", "release")
MEASURES = {"binary": ("auc", "log_loss", "calibration_error", "accuracy"),
            "regression": ("mae", "rmse"), "multiclass": ()}  # fmt: skip
_FOLD = 1024  # examples that are folded in at once: NumPy's calls cost as much for a few
_RESCALE = 512  # halvings after which the decayed sums are brought down again

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ProgressSettings:
    """Times are in milliseconds of the stream, the rest counts examples.

    Labels come within `wait_ms`; `slices` are request fields, of each the `values` most frequent
    values are shown; `window` is the newest examples of the sliding measures; `half_life` halves
    the weight of the decayed ones; `memory` is how far back slices look and corrections find what
    they correct; predictions are put into buckets of `step_ms` (0: derived from the wait).
    """

    wait_ms: int = DAY_MS
    slices: tuple[str, ...] = ()
    window: int = 5_000
    half_life: int = 10_000
    memory: int = 20_000
    values: int = 20
    step_ms: int = 0


class Progress:
    """Quality of service and frozen release, and of a candidate while it catches up."""

    def __init__(self, task: Task = BINARY, settings: ProgressSettings | None = None) -> None:
        self._task, self._settings = task, settings or ProgressSettings()
        of = self._settings
        self._memory = max(of.memory, of.window)
        self._newest = Newest(self._memory, len(ROLES), len(of.slices))
        self._decayed = [Tally(task, 1) for _ in ROLES]
        self._scaled_at = 0
        self._buckets = Buckets(task, ROLES, of.wait_ms, of.step_ms or step_of(of.wait_ms))
        self._slices = SliceReader(of.slices, 2 * self._memory)
        self._candidate: Newest | None = None
        self._counted: dict[int, int] = {}
        self._waiting: list[Example] = []
        self._since: int | None = None
        self._now: int | None = None
        self._corrected = self._not_corrected = 0
        self._before: Maturity | None = None

    def add(
        self, examples: Sequence[Example], candidate_scores: NDArray[np.float64] | None = None
    ) -> list[Example]:
        """Take in one micro-batch in the log's order; returns those not taken in before.

        `candidate_scores` (examples,) are the candidate's own, NaN where it did not predict.
        """
        if candidate_scores is not None:
            self.add_candidate(examples, candidate_scores)
        fresh = self._fresh(examples)
        self._waiting += fresh
        if len(self._waiting) >= _FOLD:
            self._fold()
        return fresh

    def add_candidate(self, examples: Sequence[Example], scores: NDArray[np.float64]) -> None:
        """What a new release's learner predicted for examples before it learned them."""
        if self._candidate is None:
            self._candidate = Newest(self._settings.window, 2, 0)
        known = np.isfinite(scores)
        columns = {
            "labels": _column(examples, "label"),
            "weights": _column(examples, "weight"),
            "scores": np.vstack([scores, _column(examples, "prediction.score")]),
        }
        columns = {name: values[..., known] for name, values in columns.items()}
        self._candidate.add(int(known.sum()), **columns)

    def drop_candidate(self) -> None:
        """The candidate took over, or was given up."""
        self._candidate = None

    def candidate(self) -> Candidate | None:
        """The candidate over its newest examples, None without one."""
        if self._candidate is None:
            return None
        places = self._candidate.newest(self._settings.window)
        candidate, service = (self._exact(self._candidate, places, role) for role in (0, 1))
        return Candidate(len(places), candidate, service)

    def remember(self, maturity: Maturity) -> None:
        """Use what an earlier worker knew of how labels come, until enough have come to this."""
        if maturity.known and maturity.wait_ms == self._settings.wait_ms:
            self._before = maturity

    def summary(self) -> dict[str, dict[str, float | None]]:
        """The sliding measures as `{measure: {role: value}}`, None while not known."""
        roles = self._sliding().roles
        if (candidate := self.candidate()) is not None:
            roles["candidate"] = candidate.candidate
        return {
            name: {role: getattr(measures, name) for role, measures in roles.items()}
            for name in MEASURES[self._task.kind]
        }

    def report(self) -> Quality:
        """Everything that is known."""
        sliding = self._sliding()
        now, since = self._now or 0, self._since or 0
        maturity = self._buckets.maturity(now, since, self._before)
        return Quality(
            task=self._task.kind,
            examples=self._newest.seen,
            since_ms=self._since,
            now_ms=self._now,
            sliding=sliding,
            decayed=Running(self._newest.seen, self._decayed_roles(), self._settings.half_life),
            maturity=maturity,
            buckets=self._buckets.report(now, since, maturity),
            slices=[each for i in range(len(self._settings.slices)) for each in self._sliced(i)],
            corrected=self._corrected,
            not_corrected=self._not_corrected,
            candidate=self.candidate(),
        )

    # ---- Taking in

    def _fresh(self, examples: Sequence[Example]) -> list[Example]:
        """Those not counted yet: a learner that is restored learns some of them again."""
        counted, fresh = self._counted, []
        for example in examples:
            if example.sequence > counted.get(example.partition, 0):
                counted[example.partition] = example.sequence
                fresh.append(example)
        return fresh

    def _fold(self) -> None:
        examples, self._waiting = self._waiting, []
        first = [example for example in examples if example.kind != "correction"]
        if first:
            self._take(first)
        if len(first) < len(examples):
            for example in examples:
                if example.kind == "correction":
                    self._correct(example)

    def _take(self, examples: list[Example]) -> None:
        predictions = [example.prediction for example in examples]
        times, came = _whole(predictions, "time"), _whole(examples, "label_time")
        labels, weights = _column(examples, "label"), _column(examples, "weight")
        scores = np.vstack([_column(predictions, "score"), _column(predictions, "baseline")])
        if self._since is None:
            self._since = int(came[0])
        self._now = max(self._now or 0, int(came.max()), int(times.max()))
        if self._slices.fields:
            self._newest.codes = self._slices.forget(self._newest.codes)
        numbers = self._newest.add(
            len(examples), ids=_hashes(predictions), times=times, labels=labels, weights=weights,
            scores=scores, codes=self._slices.read([each.request for each in predictions]),
        )  # fmt: skip
        self._decay(numbers, labels, scores, weights, 1)
        self._buckets.add(times, labels, scores, weights)
        self._buckets.note_delays(times, np.maximum(came - times, 0))

    def _correct(self, example: Example) -> None:
        """Let an example have this label from the beginning; the delay was that of its first."""
        newest = self._newest
        number = newest.find(hash(example.prediction.id))
        if number is None:
            self._not_corrected += 1
            return
        self._corrected += 1
        place = np.array([number % newest.size])
        times, scores = newest.times[place], newest.scores[:, place]
        for sign in (-1, 1):
            if sign == 1:
                newest.labels[place], newest.weights[place] = example.label, example.weight
            known = newest.labels[place], scores, newest.weights[place]
            self._decay(np.array([number]), *known, sign)
            self._buckets.put(times, *known, sign)

    def _decay(
        self, numbers: Ints, labels: Floats, scores: Floats, weights: Floats, sign: int
    ) -> None:
        """Give the examples of these numbers weights that double every half-life.

        So no sum has to be multiplied for each example; they are brought down now and then.
        """
        half_life = self._settings.half_life
        halvings = (int(numbers[-1]) - self._scaled_at) // half_life
        if halvings > _RESCALE:
            for tally in self._decayed:
                tally.scale(2.0**-halvings)
            self._scaled_at += halvings * half_life
        grown = weights * 2.0 ** ((numbers - self._scaled_at) / half_life)
        groups = np.zeros(len(numbers), np.int64)
        for tally, each in zip(self._decayed, scores, strict=True):
            tally.add(groups, labels, each, grown, sign)

    # ---- Telling

    def _sliding(self) -> Running:
        self._fold()
        places = self._newest.newest(self._settings.window)
        roles = {role: self._exact(self._newest, places, i) for i, role in enumerate(ROLES)}
        return Running(len(places), roles)

    def _decayed_roles(self) -> Roles:
        return {r: t.measures(0) for r, t in zip(ROLES, self._decayed, strict=True)}

    def _exact(self, rows: Newest, places: Ints, role: int) -> Measures:
        """Measures of rows, without cells."""
        labels, scores, weights = (
            rows.labels[places],
            rows.scores[role][places],
            rows.weights[places],
        )
        if self._task.kind == "regression":
            return Measures(mae=mae(labels, scores, weights), rmse=rmse(labels, scores, weights))
        # One class alone says nothing of a probability yet: the first label would read as 0 or 36.
        if self._task.kind != "binary" or len(set(labels.tolist())) < 2:
            return Measures()
        return Measures(
            auc=auc(labels, scores, weights), log_loss=log_loss(labels, scores, weights),
            calibration_error=calibration_error(labels, scores, weights),
            accuracy=accuracy(labels, scores, weights),
        )  # fmt: skip

    def _sliced(self, field: int) -> list[Slice]:
        """The most frequent values of a field, the most frequent first, and all others."""
        newest, most = self._newest, self._settings.values
        places = newest.newest(self._memory)
        codes, cells, counts = np.unique(
            newest.codes[field][places], return_inverse=True, return_counts=True
        )
        order = np.argsort(-counts, kind="stable")
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        groups = np.minimum(rank[cells], most)
        tallies = [Tally(self._task, most + 1) for _ in ROLES]
        for tally, scores in zip(tallies, newest.scores, strict=True):
            tally.add(groups, newest.labels[places], scores[places], newest.weights[places])
        names = [self._slices.value(field, int(code)) for code in codes[order[:most]]] + [""]
        return [
            Slice(
                self._settings.slices[field], name, int(tallies[0].rows[group]),
                {role: t.measures(group) for role, t in zip(ROLES, tallies, strict=True)},
            )
            for group, name in enumerate(names)
            if tallies[0].rows[group] > 0
        ]  # fmt: skip


def _column(records: Iterable[Any], name: str) -> Floats:
    return np.fromiter(map(attrgetter(name), records), np.float64)


def _whole(records: Iterable[Any], name: str) -> Ints:
    return np.fromiter(map(attrgetter(name), records), np.int64)


def _hashes(predictions: Iterable[Any]) -> Ints:
    return np.fromiter((hash(each.id) for each in predictions), np.int64)
