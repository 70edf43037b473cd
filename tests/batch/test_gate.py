"""The gate compares fairly and says why it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from batch.dataset import Dataset, extract
from batch.gate import STEP_MS, Champion, Reason, judge, serve
from batch.trainer import Trainer, score_model
from batch.training_set import TrainingSet
from features.plan import compile_plan
from learners.quality import log_loss
from learners.tree_head import TreeHead
from learners.trees import FrozenTrees
from tidemill.declaration import Gate, Project
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.learner_kinds import TreeHead as Settings
from tidemill.schema import schema_of

MAY_1_MS = 1_367_366_400_000


@pytest.fixture
def data(backfilled: Path, project: Project, go_live: Callable[..., None]) -> Dataset:
    """Twenty days of backfilled examples, then ten of live ones."""
    go_live(backfilled)
    return extract(TrainingSet(backfilled, compile_plan(project))).data


@pytest.fixture
def trainer(project: Project) -> Trainer:
    """A trainer as the project declares it."""
    return Trainer(project.trainer, schema_of(project), threads=1)


def champion(data: Dataset, trainer: Trainer, days: int) -> Champion:
    """A release trained on the first days."""
    end = MAY_1_MS + days * DAY_MS
    known = data.take(data.label_times < end)
    return Champion("r0001", trainer.train(known.vectors, known.labels), end)


def test_a_first_release_needs_no_champion(
    project: Project, data: Dataset, trainer: Trainer
) -> None:
    """Sound data passes; the report says how good the candidate is."""
    report = judge(project, data, trainer, None)
    assert report.passed
    assert (None, None) == (report.champion_release, report.champion)
    assert report.candidate.log_loss < 0.5
    assert report.candidate.auc > 0.85
    assert 5 * 144 == report.holdout_rows == report.compared_rows
    assert len(data) == report.rows


def test_the_candidate_knows_nothing_of_the_holdout(
    project: Project, data: Dataset, trainer: Trainer
) -> None:
    """It is trained on what was labelled before the holdout began, not on what was only asked."""
    seen = []

    class Watching(Trainer):
        def train(self, vectors, labels, stage="train", weights=None):
            seen.append(len(labels))
            return super().train(vectors, labels, stage, weights)

    watching = Watching(project.trainer, trainer.schema, threads=1)
    report = judge(project, data, watching, None)
    start = data.times.max() + 1 - 5 * DAY_MS
    assert [int((data.label_times < start).sum())] == seen == [report.training_rows]
    assert report.training_rows + report.holdout_rows < report.rows


def test_the_champion_is_what_was_answered(
    project: Project, data: Dataset, trainer: Trainer
) -> None:
    """Live rows count with the score that was served, whatever the trees would say now."""
    report = judge(project, data, trainer, champion(data, trainer, 20))
    assert report.champion.log_loss == pytest.approx(np.log(2))
    assert report.passed
    clairvoyant = replace(data, scores=np.where(data.labels == 1, 0.99, 0.01))
    report = judge(project, clairvoyant, trainer, champion(data, trainer, 20))
    assert [Reason.WORSE_LOG_LOSS] == [refusal.reason for refusal in report.refusals]
    assert "the champion's 0.010050" in str(report.refusals[0])


def test_rows_nobody_answered_are_scored_by_the_champions_trees(
    project: Project, data: Dataset, trainer: Trainer
) -> None:
    """Backfilled rows after the champion's training are compared with its frozen trees."""
    unanswered = replace(data, live=np.zeros(len(data), bool))
    rival = champion(data, trainer, 20)
    report = judge(project, unanswered, trainer, rival)
    newest = data.take(data.times >= data.times.max() + 1 - 5 * DAY_MS)
    expected = log_loss(newest.labels, score_model(rival.model_text, newest.vectors))
    assert report.champion.log_loss == pytest.approx(expected)


def test_rows_the_champion_was_trained_on_are_not_compared(
    project: Project, data: Dataset, trainer: Trainer
) -> None:
    """Where the champion knows the answers already the comparison would be unfair."""
    unanswered = replace(data, live=np.zeros(len(data), bool))
    report = judge(project, unanswered, trainer, champion(data, trainer, 28))
    assert 2 * 144 <= report.compared_rows <= 2 * 144 + 6
    report = judge(project, unanswered, trainer, champion(data, trainer, 31))
    assert "too_few_rows: found 0 rows to compare on; allowed: 100 or more" in map(
        str, report.refusals
    )


def test_tolerance_lets_a_little_worse_pass(
    make_project: Callable[..., Project], data: Dataset, trainer: Trainer
) -> None:
    """A candidate may be worse by the tolerance, relative, and no more."""
    rival = champion(data, trainer, 20)
    loss = judge(make_project(), data, trainer, rival).candidate.log_loss
    # The same probability for every label's right answer gives exactly a loss of its logarithm.
    right = np.exp(-loss / 1.05)
    answered = replace(data, scores=np.where(data.labels == 1, right, 1 - right))
    for tolerance, passed in ((0.04, False), (0.06, True)):
        project = make_project(gate=Gate(holdout="5d", tolerance=tolerance, min_rows=100))
        assert passed == judge(project, answered, trainer, rival).passed


@pytest.mark.parametrize(
    ("gate", "part"),
    [
        (Gate("29d", min_rows=1000), "before the holdout"),
        (Gate("2d", min_rows=1000), "to compare on"),
        (Gate("60d", min_rows=10), "before the holdout"),
    ],
    ids=["older", "newer", "holdout longer than the data"],
)
def test_too_few_rows(
    make_project: Callable[..., Project], data: Dataset, trainer: Trainer, gate: Gate, part: str
) -> None:
    """Too little to learn from or too little to compare on is refused before any training."""
    project = make_project(gate=gate)
    report = judge(project, data, trainer, None)
    assert [Reason.TOO_FEW_ROWS] == [refusal.reason for refusal in report.refusals]
    assert part in report.refusals[0].found
    assert report.candidate is None


@pytest.mark.parametrize("older", [True, False])
def test_a_single_class(project: Project, data: Dataset, trainer: Trainer, older: bool) -> None:
    """One label alone, before or in the holdout, can neither be learned nor judged."""
    boundary = data.times.max() + 1 - 5 * DAY_MS
    labels = np.where((data.label_times < boundary) == older, 0, data.labels)
    report = judge(project, replace(data, labels=labels), trainer, None)
    assert [Reason.SINGLE_CLASS] == [refusal.reason for refusal in report.refusals]
    assert "found only label 0 in the rows" in str(report.refusals[0])


def test_scores_that_are_no_number(
    project: Project, data: Dataset, trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that answers NaN is refused."""
    monkeypatch.setattr("batch.gate.serve", lambda head, rows: np.full(len(rows), np.nan))
    report = judge(project, data, trainer, None)
    assert ["not_finite: found 720 scores that are no number; allowed: none"] == [
        str(refusal) for refusal in report.refusals
    ]


def test_serving_learns_only_from_labels_that_had_come(data: Dataset, trainer: Trainer) -> None:
    """Each score equals that of a head that learned exactly the labels of earlier steps."""
    text = trainer.train(data.vectors[:1000], data.labels[:1000])
    trees = FrozenTrees.parse(text)
    rows = data.take(np.arange(1000, 1200))
    rng = np.random.default_rng(4)
    rows = replace(rows, label_times=rows.times + rng.integers(0, 9 * HOUR_MS, len(rows)))
    rows = rows.take(np.argsort(rows.label_times, kind="stable"))
    scores = serve(TreeHead.warm_start(trees, Settings(learning_rate=0.01)), rows)
    for row in range(0, len(rows), 17):
        head = TreeHead.warm_start(trees, Settings(learning_rate=0.01))
        known = rows.take(rows.label_times // STEP_MS < rows.times[row] // STEP_MS)
        head.learn_many(known.vectors, known.labels)
        assert head.predict_many(rows.vectors[row : row + 1])[0] == scores[row]


def test_metrics_are_numbers_for_the_manifest(
    project: Project, data: Dataset, trainer: Trainer
) -> None:
    """The manifest gets the counts and what could be measured."""
    alone = judge(project, data, trainer, None).metrics()
    both = judge(project, data, trainer, champion(data, trainer, 20)).metrics()
    counts = {"gate_training_rows", "gate_holdout_rows", "gate_compared_rows"}
    assert counts | {"gate_candidate_log_loss", "gate_candidate_auc"} == set(alone)
    assert set(alone) | {"gate_champion_log_loss", "gate_champion_auc"} == set(both)
