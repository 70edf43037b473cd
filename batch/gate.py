"""Judges before anything is published: candidate against champion on the newest data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from batch.dataset import Dataset
from batch.trainer import Trainer, score_model
from learners.quality import auc, log_loss
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.declaration import Project

STEP_MS = 60_000
"""The simulated service exchanges its weights this often; the real one does so sooner."""


class Reason(StrEnum):
    """Why a candidate is not published."""

    TOO_FEW_ROWS = "too_few_rows"
    SINGLE_CLASS = "single_class"
    NOT_FINITE = "not_finite"
    WORSE_LOG_LOSS = "worse_log_loss"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason with what was found and what is allowed."""

    reason: Reason
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.reason}: found {self.found}; allowed: {self.allowed}"


@dataclass(frozen=True, slots=True)
class Quality:
    """How good scores were on the compared rows; None where it cannot be said."""

    log_loss: float | None
    auc: float | None

    @classmethod
    def of(cls, labels: NDArray[np.int8], scores: NDArray[np.float64]) -> Quality:
        """Measure scores against labels."""
        return cls(log_loss(labels, scores), auc(labels, scores))


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate saw; an empty `refusals` means publish."""

    rows: int
    training_rows: int
    holdout_rows: int
    compared_rows: int
    champion_release: str | None
    candidate: Quality | None
    champion: Quality | None
    refusals: tuple[Refusal, ...]

    @property
    def passed(self) -> bool:
        """True when nothing speaks against publishing."""
        return not self.refusals

    def metrics(self) -> dict[str, float]:
        """The numbers a release's manifest carries."""
        numbers: dict[str, float] = {
            "gate_training_rows": self.training_rows,
            "gate_holdout_rows": self.holdout_rows,
            "gate_compared_rows": self.compared_rows,
        }
        for role, quality in (("candidate", self.candidate), ("champion", self.champion)):
            for name in ("log_loss", "auc"):
                value = getattr(quality, name, None)
                if value is not None:
                    numbers[f"gate_{role}_{name}"] = value
        return numbers


@dataclass(frozen=True, slots=True)
class Champion:
    """The release being served: its name, its trees, and until when (ms) it was trained."""

    release: str
    model_text: bytes
    trained_to_ms: int


def judge(
    project: Project, data: Dataset, trainer: Trainer, champion: Champion | None
) -> GateReport:
    """Train a candidate on the older rows, serve it over the newest `gate.holdout`, compare.

    The candidate predicts and learns as it would in service. The champion's scores are those it
    really answered; for rows that nobody answered they are its frozen trees', and only on rows it
    was not trained on.
    """
    start = int(data.times.max(initial=0)) + 1 - project.gate.holdout_ms
    older = data.take(data.label_times < start)
    newer = data.take(data.label_times >= start)
    compared = (newer.times >= start) & _comparable(newer, champion)
    refusals = _too_little(older, newer.labels[compared], project)
    candidate, rival = None, None
    if not refusals:
        text = trainer.train(older.vectors, older.labels, "candidate")
        head = TreeHead.warm_start(FrozenTrees.parse(text), project.learner.learning_rate)
        labels = newer.labels[compared]
        scores = serve(head, newer)[compared]
        candidate = Quality.of(labels, scores)
        if champion is not None:
            answers = _champion_scores(newer.take(compared), champion)
            rival = Quality.of(labels, answers)
        refusals = _verdict(scores, candidate, rival, project.gate.tolerance)
    return GateReport(
        rows=len(data),
        training_rows=len(older),
        holdout_rows=int((newer.times >= start).sum()),
        compared_rows=int(compared.sum()),
        champion_release=champion.release if champion else None,
        candidate=candidate,
        champion=rival,
        refusals=tuple(refusals),
    )


def serve(head: TreeHead, data: Dataset) -> NDArray[np.float64]:
    """Score every row at its time with what was learned from the labels that had come by then.

    Time moves in steps of `STEP_MS`: in each, all requests are scored, then all labels learned.
    """
    scores = np.empty(len(data))
    asked = np.argsort(data.times, kind="stable")
    asked_step = data.times[asked] // STEP_MS
    learned_step = data.label_times // STEP_MS  # rows are in the order of their labels
    for step in np.union1d(asked_step, learned_step):
        rows = asked[slice(*np.searchsorted(asked_step, [step, step + 1]))]
        scores[rows] = head.predict_many(data.vectors[rows])
        known = slice(*np.searchsorted(learned_step, [step, step + 1]))
        head.learn_many(data.vectors[known], data.labels[known])
    return scores


def _comparable(rows: Dataset, champion: Champion | None) -> NDArray[np.bool_]:
    if champion is None:
        return np.ones(len(rows), bool)
    return _answered(rows) | (rows.label_times >= champion.trained_to_ms)


def _answered(rows: Dataset) -> NDArray[np.bool_]:
    return rows.live & np.isfinite(rows.scores)


def _champion_scores(rows: Dataset, champion: Champion) -> NDArray[np.float64]:
    answered = _answered(rows)
    scores = rows.scores.copy()
    scores[~answered] = score_model(champion.model_text, rows.vectors[~answered])
    return scores


def _too_little(older: Dataset, labels: NDArray[np.int8], project: Project) -> list[Refusal]:
    refusals = []
    for part, found in (("before the holdout", older.labels), ("to compare on", labels)):
        if len(found) < project.gate.min_rows:
            allowed = f"{project.gate.min_rows} or more"
            refusals.append(Refusal(Reason.TOO_FEW_ROWS, f"{len(found)} rows {part}", allowed))
        elif len(np.unique(found)) < 2:
            only = f"only label {found[0]} in the rows {part}"
            refusals.append(Refusal(Reason.SINGLE_CLASS, only, "both labels"))
    return refusals


def _verdict(
    scores: NDArray[np.float64], candidate: Quality, rival: Quality | None, tolerance: float
) -> list[Refusal]:
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:
        return [Refusal(Reason.NOT_FINITE, f"{wrong} scores that are no number", "none")]
    if rival is None or rival.log_loss is None or candidate.log_loss is None:
        return []
    limit = rival.log_loss * (1 + tolerance)
    if candidate.log_loss <= limit:
        return []
    allowed = f"at most {limit:.6f} (the champion's {rival.log_loss:.6f} and the tolerance)"
    return [Refusal(Reason.WORSE_LOG_LOSS, f"{candidate.log_loss:.6f}", allowed)]
