"""All that is measured of one candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.gate.bad_cases import LabelledCases, OnBadCases, met, new_bad_cases
from batch.gate.budgets import measure
from batch.gate.calibration import calibration_of, contributions
from batch.gate.champion import Champion, answered
from batch.gate.evidence import Evidence
from batch.gate.paired import Blocks, Interval
from batch.gate.report import Findings, Quality
from batch.gate.serving import serve
from batch.gate.slices import judge_slices
from batch.gate.split import Split
from batch.scoring import predict_all
from learners.families import warm_start
from learners.learner import Frozen
from learners.quality.measures import log_losses
from learners.release import read_model
from tidemill.declaration import Project
from tidemill.schema import schema_of

JUDGED, EARLIER, LABELLED = "judged", "earlier", "labelled"
"""Bad cases among the compared rows, among those before the holdout, and those people labelled."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Case:
    """What a candidate is judged on, and whom it is compared with."""

    project: Project
    split: Split
    champion: Champion | None
    evidence: Evidence

    def findings(self, frozen: Frozen, size_bytes: int) -> Findings:
        """Everything; where it answers what is no number, only what it costs."""
        newer, compared = self.split.newer, self.split.compared(self.champion)
        rows = newer.take(compared)
        learner = warm_start(self.project.learner, frozen, schema_of(self.project))
        wrong = int((~np.isfinite(predict_all(frozen, newer.vectors))).sum())
        # What is no number must not be learned from.
        scores = np.full(len(rows), np.nan) if wrong else serve(learner, newer)[compared]
        costs = measure(learner, rows.vectors, size_bytes, self.evidence.timer)
        wrong = wrong or int((~np.isfinite(scores)).sum())
        if wrong:
            return Findings(costs=costs, not_finite=wrong)
        rival = self._rival_scores(rows)
        found = replace(self._quality(rows, scores, rival), costs=costs)
        if self.project.task.kind == "binary":
            found = self._calibrated(found, rows, scores, rival)
        return found if self.champion is None else self._parts(found, frozen, rows, scores, rival)

    @property
    def chance(self) -> float:
        """What each kind of check may wrongly refuse, so that all of them together refuse no more.

        Bonferroni over the kinds; within a kind, slices and rules share theirs.
        """
        project, kinds = self.project, 1
        kinds += project.task.kind == "binary" and project.gate.calibration is not None
        if self.champion is not None:
            kinds += bool(self.evidence.slices) + bool(project.bad_cases)
        return (1 - project.gate.confidence) / kinds

    def _rival_scores(self, rows: Dataset) -> Floats:
        """What the champion said, or without one what was known of the labels before."""
        if self.champion is not None:
            return self.champion.scores(self.project, rows)
        older = self.split.older
        return np.full(len(rows), np.average(older.labels, weights=older.weights))

    def _quality(self, rows: Dataset, scores: Floats, rival: Floats) -> Findings:
        task = self.project.task
        difference = self._losses(rows.labels, scores) - self._losses(rows.labels, rival)
        return Findings(
            candidate=Quality.of(rows, scores, task),
            rival=self.champion.release if self.champion else "prior",
            rival_quality=Quality.of(rows, rival, task),
            difference=self._interval(rows, difference),
            chance=self.chance,
        )

    def _calibrated(
        self, found: Findings, rows: Dataset, scores: Floats, rival: Floats
    ) -> Findings:
        labels, weights = rows.labels, rows.weights
        ours, theirs = (calibration_of(labels, each, weights) for each in (scores, rival))
        own = contributions(labels, scores, weights)
        excess = self._interval(rows, own - contributions(labels, rival, weights))
        share = float(np.average(labels, weights=weights))
        return replace(
            found,
            calibration=ours,
            rival_calibration=theirs,
            calibration_excess=_less(excess, ours.by_noise - theirs.by_noise),
            calibration_own=_less(self._interval(rows, own), ours.by_noise),
            label_share=min(share, 1 - share),
        )

    def _parts(
        self, found: Findings, frozen: Frozen, rows: Dataset, scores: Floats, rival: Floats
    ) -> Findings:
        """Slices and bad cases."""
        project, gate = self.project, self.project.gate
        blocks = Blocks(rows.times, rows.weights)
        losses = (self._losses(rows.labels, scores), self._losses(rows.labels, rival))
        before, after = (met(project, rows, each) for each in (rival, scores))
        allowed = (gate.allowed, gate.slice_rows)
        return replace(
            found,
            slices=judge_slices(self._slices(), losses, rows.weights, blocks, allowed),
            new_bad_cases=new_bad_cases(project, before, after, blocks),
            on_bad_cases=self._on_bad_cases(
                frozen, rows, losses, np.atleast_1d(before.any(axis=0))
            ),
        )

    def _slices(self) -> dict[str, NDArray[np.object_]]:
        newer = self.split.newer_rows[self.split.compared(self.champion)]
        return {name: values[newer] for name, values in self.evidence.slices.items()}

    def _on_bad_cases(
        self,
        frozen: Frozen,
        rows: Dataset,
        losses: tuple[Floats, Floats],
        bad: NDArray[np.bool_],
    ) -> tuple[OnBadCases, ...]:
        found = []
        if bad.any():
            ours, theirs = losses
            found.append(self._on(JUDGED, rows.take(bad), (ours[bad], theirs[bad])))
        older = self.split.older
        missed = met(self.project, older, older.scores).any(axis=0) & answered(older)
        earlier = older.take(missed)
        if len(earlier):
            each = (predict_all(frozen, earlier.vectors), earlier.scores)
            ours, theirs = (self._losses(earlier.labels, scores) for scores in each)
            found.append(self._on(EARLIER, earlier, (ours, theirs)))
        labelled = self.evidence.labelled
        return tuple(found if labelled is None else [*found, self._labelled(frozen, labelled)])

    def _on(self, kind: str, rows: Dataset, losses: tuple[Floats, Floats]) -> OnBadCases:
        ours, theirs = losses
        excess = ours - (1 + self.project.gate.allowed) * theirs
        means = [float(np.average(each, weights=rows.weights)) for each in losses]
        return OnBadCases(kind, len(rows), means[0], means[1], self._interval(rows, excess))

    def _labelled(self, frozen: Frozen, cases: LabelledCases) -> OnBadCases:
        """People chose these: each counts, so that there is no chance to allow for."""
        answers, silent = cases.scores.copy(), ~np.isfinite(cases.scores)
        if silent.any() and self.champion is not None:
            rival = read_model(self.champion.model, self.project)
            answers[silent] = predict_all(rival, cases.vectors[silent])
        each = (predict_all(frozen, cases.vectors), answers)
        ours, theirs = (float(self._losses(cases.labels, scores).mean()) for scores in each)
        excess = ours - (1 + self.project.gate.allowed) * theirs
        return OnBadCases(LABELLED, len(cases), ours, theirs, Interval(excess, excess, excess))

    def _interval(self, rows: Dataset, values: Floats) -> Interval:
        above = 1 - self.project.gate.confidence
        return Blocks(rows.times, rows.weights).interval(values, self.chance, above)

    def _losses(self, labels: Floats, scores: Floats) -> Floats:
        if self.project.task.kind == "regression":
            return np.asarray((scores - labels) ** 2)
        return log_losses(labels, scores)


def _less(interval: Interval, shift: float) -> Interval:
    low, high = (None if each is None else each - shift for each in (interval.low, interval.high))
    return Interval(interval.mean - shift, low, high)
