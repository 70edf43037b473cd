"""The gate compares fairly and says why it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from batch.datasets.dataset import Dataset, extract
from batch.gate.champion import Champion
from batch.gate.gate import judge, refused_before_training
from batch.gate.report import GateReport, Reason
from batch.gate.serving import STEP_MS, serve
from batch.gate.split import older_and_newer
from batch.scoring import predict_all
from batch.training_set import TrainingSet
from features.archive.files import ArchiveWriter, examples_table
from features.plan import compile_plan
from learners.quality import log_loss
from learners.release import ModelFile, read_model
from learners.tree_head import TreeHead
from tidemill.dataset_rule import DatasetRule
from tidemill.declaration import Project
from tidemill.durations import DAY_MS, HOUR_MS
from tidemill.errors import ArtifactError
from tidemill.gate import Gate
from tidemill.learner_kinds import TreeHead as Settings
from tidemill.schema import schema_of
from tidemill.topics import EXAMPLES
from tidemill.wire import ArmScore, Example, Prediction

MAY_1_MS = 1_367_366_400_000

Champions = Callable[..., Champion]


def reasons(report: GateReport) -> list[Reason]:
    """Why it refuses."""
    return [refusal.reason for refusal in report.refusals]


def test_a_first_release_is_compared_with_the_prior(
    project: Project, data: Dataset, candidate: ModelFile
) -> None:
    """Without a champion a candidate must not be worse than the share of label 1 before."""
    report = judge(project, data, candidate, None)
    assert report.passed
    assert (None, None) == (report.champion_release, report.champion)
    assert report.candidate.log_loss < 0.5
    assert report.candidate.auc > 0.85
    assert 5 * 144 == report.holdout_rows == report.compared_rows
    assert len(data) == report.rows
    older = older_and_newer(project, data).older
    newest = data.take(data.times >= data.times.max() + 1 - 5 * DAY_MS)
    expected = log_loss(newest.labels, np.full(len(newest), older.labels.mean()))
    assert "prior" == report.findings.rival
    assert report.findings.rival_quality.log_loss == pytest.approx(expected)


def test_a_first_release_worse_than_the_prior_is_refused(
    make_project: Callable[..., Project], data: Dataset, trained: Callable[..., ModelFile]
) -> None:
    """What was learned from labels that mean nothing is not even a beginning."""
    labels = np.random.default_rng(1).permutation(data.labels)
    shuffled, project = replace(data, labels=labels), make_project()
    model = trained(project, older_and_newer(project, shuffled).older, rounds=100, leaves=63)
    report = judge(project, shuffled, model, None)
    assert Reason.WORSE_LOG_LOSS in reasons(report)
    assert "above the prior's 0.6" in str(report.refusals[0])


def test_the_older_rows_were_labelled_before_the_holdout(project: Project, data: Dataset) -> None:
    """A candidate may learn what was labelled by then, not what was only asked."""
    split = older_and_newer(project, data)
    assert data.times.max() + 1 - 5 * DAY_MS == split.start_ms
    assert int((data.label_times < split.start_ms).sum()) == len(split.older)
    assert len(split.older) + split.holdout_rows < len(data) == len(split.older) + len(split.newer)
    assert np.array_equal(data.times[split.newer_rows], split.newer.times)


def test_a_gap_lies_before_the_holdout(make_project: Callable[..., Project], data: Dataset) -> None:
    """Rows labelled in it are not trained on, and not judged."""
    plain = older_and_newer(make_project(), data)
    split = older_and_newer(make_project(dataset=DatasetRule(gap="2d")), data)
    assert plain.start_ms == split.start_ms
    assert split.older.label_times.max() < split.start_ms - 2 * DAY_MS
    assert 2 * 144 == len(plain.older) - len(split.older)
    assert plain.holdout_rows == split.holdout_rows == split.compared(None).sum()


def test_the_champion_is_what_was_answered(
    project: Project, data: Dataset, candidate: ModelFile, champion: Champions
) -> None:
    """Live rows count with the score that was served, whatever its model would say now."""
    rival = champion(project, data, 20)
    report = judge(project, data, candidate, rival)
    assert report.champion.log_loss == pytest.approx(np.log(2))
    assert report.passed
    clairvoyant = replace(data, scores=np.where(data.labels == 1, 0.99, 0.01))
    report = judge(project, clairvoyant, candidate, rival)
    assert Reason.WORSE_LOG_LOSS == reasons(report)[0]
    assert "above champion r0001's 0.010050" in str(report.refusals[0])


def test_where_another_answered_the_champions_own_score_counts(
    project: Project, backfilled: Path, champion: Champions
) -> None:
    """Not a canary's; where the champion failed, or was not asked, its frozen model's."""
    failed, said = (ArmScore("r0001", 1, 0, score) for score in (math.nan, 0.2))
    answers = [(0.8, "champion", []), (0.9, "canary", [said]), (0.7, "canary", [failed]),
               (0.6, "default", [said])]  # fmt: skip
    start, examples = MAY_1_MS + 20 * DAY_MS, []
    for number, (score, arm, arms) in enumerate(answers):
        vector = np.array([number, 0.5, 0, 0, 0], "<f4").tobytes()
        prediction = Prediction(
            f"p{number}", "k", start + number, vector, schema_of(project).hash, score, 0.5,
            "r0002", 1, start + number, b"{}", 0, arm, arms,
        )  # fmt: skip
        examples.append(Example(prediction, 1, start + number + 9, start, 0, number + 1))
    table = examples_table(examples, 0, range(4), [start] * 4)
    ArchiveWriter(backfilled, "p", EXAMPLES, 0).write(table, 4)
    data = extract(TrainingSet(backfilled, compile_plan(project))).data
    rows, rival = data.take(data.live), champion(project, data, 21)
    frozen = predict_all(read_model(rival.model, project), rows.vectors)
    assert [0.8, 0.2, *frozen[2:]] == rival.scores(project, rows).tolist()
    assert [True, True, False, False] == rival.comparable(rows).tolist()


def test_rows_nobody_answered_are_scored_by_the_champions_model(
    project: Project, data: Dataset, candidate: ModelFile, champion: Champions
) -> None:
    """Backfilled rows after the champion's training are compared with its frozen model."""
    unanswered = replace(data, live=np.zeros(len(data), bool))
    rival = champion(project, data, 20)
    report = judge(project, unanswered, candidate, rival)
    newest = data.take(data.times >= data.times.max() + 1 - 5 * DAY_MS)
    said = predict_all(read_model(rival.model, project), newest.vectors)
    assert report.champion.log_loss == pytest.approx(log_loss(newest.labels, said))


def test_rows_the_champion_was_trained_on_are_not_compared(
    project: Project, data: Dataset, candidate: ModelFile, champion: Champions
) -> None:
    """Where the champion knows the answers already the comparison would be unfair."""
    unanswered = replace(data, live=np.zeros(len(data), bool))
    report = judge(project, unanswered, candidate, champion(project, data, 28))
    assert 2 * 144 <= report.compared_rows <= 2 * 144 + 6
    report = judge(project, unanswered, candidate, champion(project, data, 31))
    assert [
        "too_few_rows: found 0 rows asked and labelled in the holdout of 5d (2013-05-25 23:50 UTC "
        "to 2013-05-30 23:50 UTC) that champion r0001 was not trained on (2013-06-01 00:00 UTC); "
        "allowed: 100 or more (Gate.min_rows): wait until as many are labelled since"
    ] == [str(refusal) for refusal in report.refusals]


@pytest.mark.parametrize(
    ("gate", "part"),
    [
        (Gate("29d", min_rows=1000), "labelled before the holdout of 29d"),
        (Gate("2d", min_rows=1000), "asked and labelled in the holdout of 2d"),
        (Gate("60d", min_rows=10), "0 rows labelled before the holdout of 60d (2013-03-31 "),
    ],
    ids=["older", "newer", "holdout longer than the data"],
)
def test_too_few_rows(
    make_project: Callable[..., Project], data: Dataset, gate: Gate, part: str
) -> None:
    """Too little to learn from or to compare on is refused before training, with the dates."""
    report = refused_before_training(make_project(gate=gate), data, None)
    assert [Reason.TOO_FEW_ROWS] == reasons(report)
    assert part in report.refusals[0].found
    assert "(Gate.min_rows): " in report.refusals[0].allowed
    assert report.candidate is None


@pytest.mark.parametrize("older", [True, False])
def test_a_single_class(project: Project, data: Dataset, older: bool) -> None:
    """One label alone, before or in the holdout, can neither be learned nor judged."""
    boundary = data.times.max() + 1 - 5 * DAY_MS
    labels = np.where((data.label_times < boundary) == older, 0, data.labels)
    report = refused_before_training(project, replace(data, labels=labels), None)
    assert [Reason.SINGLE_CLASS] == reasons(report)
    assert "found only label 0 in the " in str(report.refusals[0])


def test_enough_to_train_on_is_not_refused_before(project: Project, data: Dataset) -> None:
    """Then there is nothing to say yet."""
    assert refused_before_training(project, data, None) is None


def test_scores_that_are_no_number(
    project: Project, data: Dataset, candidate: ModelFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A candidate that answers NaN is refused, and its costs are judged all the same."""
    monkeypatch.setattr("batch.gate.case.serve", lambda _, rows: np.full(len(rows), np.nan))
    project = replace(project, gate=replace(project.gate, size_bytes=1))
    report = judge(project, data, candidate, None)
    assert [Reason.NOT_FINITE, Reason.TOO_LARGE] == reasons(report)
    assert "found 720 scores that are no number; allowed: none" in str(report.refusals[0])


def test_a_model_of_other_features_is_no_candidate(
    make_project: Callable[..., Project], data: Dataset, candidate: ModelFile
) -> None:
    """It is an error, not a refusal, and says what differs."""
    project = make_project()
    other = replace(project, features=project.features[:-1])
    with pytest.raises(ArtifactError, match="found 5 features for binary, such as x4; allowed: "):
        judge(other, data, candidate, None)


def test_serving_learns_only_from_labels_that_had_come(
    project: Project, data: Dataset, trained: Callable[..., ModelFile]
) -> None:
    """Each score equals that of a head that learned exactly the labels of earlier steps."""
    trees = read_model(trained(project, data.take(np.arange(1000))), project)
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
    project: Project, data: Dataset, candidate: ModelFile, champion: Champions
) -> None:
    """The manifest gets the counts and what could be measured, but no timing."""
    alone = judge(project, data, candidate, None).metrics()
    both = judge(project, data, candidate, champion(project, data, 20)).metrics()
    counts = {"gate_training_rows", "gate_holdout_rows", "gate_compared_rows"}
    own = {f"gate_candidate_{n}" for n in ("log_loss", "auc", "calibration_error", "size_bytes")}
    assert counts | own | {"gate_prior_log_loss", "gate_prior_auc"} == set(alone)
    assert counts | own | {"gate_champion_log_loss", "gate_champion_auc"} == set(both)
    assert both == judge(project, data, candidate, champion(project, data, 20)).metrics()


def test_a_report_is_kept_and_read_again(
    project: Project, data: Dataset, candidate: ModelFile, champion: Champions
) -> None:
    """A run that was killed after its gate finds the same report, and JSON can hold it."""
    report = judge(project, data, candidate, champion(project, data, 20))
    kept = msgspec.msgpack.encode(report)
    assert report == msgspec.msgpack.decode(kept, type=GateReport)
    text = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert {
        "passed", "rows", "training_rows", "holdout_rows", "compared_rows", "champion_release",
        "refusals", "findings", "holdout_from_ms", "holdout_to_ms", "forced_by",
    } == set(text)  # fmt: skip
