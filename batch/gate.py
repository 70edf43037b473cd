"""Judges before anything is published: candidate against champion on the newest data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from batch.dataset import Dataset
from batch.trainer import Trainer, score_model
from learners.families import warm_start
from learners.learner import Learner
from learners.quality import auc, log_loss, rmse
from learners.trees import FrozenTrees
from tidemill.declaration import Project
from tidemill.tasks import BINARY, Task

STEP_MS = 60_000
"""The simulated service exchanges its weights this often; the real one does so sooner."""


class Reason(StrEnum):
    """Why a candidate is not published."""

    TOO_FEW_ROWS = "too_few_rows"
    SINGLE_CLASS = "single_class"
    NOT_FINITE = "not_finite"
    WORSE_LOG_LOSS = "worse_log_loss"
    WORSE_SQUARED_ERROR = "worse_squared_error"


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
    """How good scores were on the compared rows; None where it cannot be said.

    Probabilities have a log-loss and an AUC, values a mean squared error.
    """

    log_loss: float | None
    auc: float | None
    squared_error: float | None = None

    @classmethod
    def of(cls, rows: Dataset, scores: NDArray[np.float64], task: Task = BINARY) -> Quality:
        """Measure the scores of rows against their labels."""
        labels, weights = rows.labels, rows.weights
        if task.kind == "regression":
            error = rmse(labels, scores, weights)
            return cls(None, None, None if error is None else error**2)
        return cls(log_loss(labels, scores, weights), auc(labels, scores, weights))

    @property
    def loss(self) -> float | None:
        """What is compared: the log-loss, or the mean squared error."""
        return self.log_loss if self.squared_error is None else self.squared_error


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
            for name in ("log_loss", "auc", "squared_error"):
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
        text = trainer.train(older.vectors, older.labels, "candidate", older.weights)
        learner = warm_start(project.learner, FrozenTrees.parse(text), trainer.schema)
        rows = newer.take(compared)
        scores = serve(learner, newer)[compared]
        candidate = Quality.of(rows, scores, project.task)
        if champion is not None:
            rival = Quality.of(rows, _champion_scores(rows, champion), project.task)
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


def serve(learner: Learner, data: Dataset) -> NDArray[np.float64]:
    """Score every row at its time with what was learned from the labels that had come by then.

    Time moves in steps of `STEP_MS`: in each, all requests are scored, then all labels learned.
    """
    scores = np.empty(len(data))
    asked = np.argsort(data.times, kind="stable")
    asked_step = data.times[asked] // STEP_MS
    learned_step = data.label_times // STEP_MS  # rows are in the order of their labels
    for step in np.union1d(asked_step, learned_step):
        rows = asked[slice(*np.searchsorted(asked_step, [step, step + 1]))]
        scores[rows] = learner.predict_many(data.vectors[rows])
        known = slice(*np.searchsorted(learned_step, [step, step + 1]))
        learner.learn_many(data.vectors[known], data.labels[known], data.weights[known])
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


def _too_little(older: Dataset, labels: NDArray[np.float64], project: Project) -> list[Refusal]:
    refusals = []
    for part, found in (("before the holdout", older.labels), ("to compare on", labels)):
        if len(found) < project.gate.min_rows:
            allowed = f"{project.gate.min_rows} or more"
            refusals.append(Refusal(Reason.TOO_FEW_ROWS, f"{len(found)} rows {part}", allowed))
        elif project.task == BINARY and len(np.unique(found)) < 2:
            only = f"only label {found[0]:g} in the rows {part}"
            refusals.append(Refusal(Reason.SINGLE_CLASS, only, "both labels"))
    return refusals


def _verdict(
    scores: NDArray[np.float64], candidate: Quality, rival: Quality | None, tolerance: float
) -> list[Refusal]:
    wrong = int((~np.isfinite(scores)).sum())
    if wrong:
        return [Refusal(Reason.NOT_FINITE, f"{wrong} scores that are no number", "none")]
    if rival is None or rival.loss is None or candidate.loss is None:
        return []
    limit = rival.loss * (1 + tolerance)
    if candidate.loss <= limit:
        return []
    allowed = f"at most {limit:.6f} (the champion's {rival.loss:.6f} and the tolerance)"
    values = candidate.squared_error is not None
    reason = Reason.WORSE_SQUARED_ERROR if values else Reason.WORSE_LOG_LOSS
    return [Refusal(reason, f"{candidate.loss:.6f}", allowed)]
