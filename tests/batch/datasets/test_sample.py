"""What is drawn depends on ids and seed alone, and its weights make up for what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batch.datasets.build import build
from batch.datasets.dataset import Dataset
from batch.datasets.manifest import DatasetManifest
from batch.datasets.store import DatasetStore
from batch.training_set import TrainingSet
from features.archive.files import BACKFILL
from features.plan import compile_plan
from tidemill import DatasetRule, Match, Share
from tidemill.declaration import Project
from tidemill.durations import DAY_MS

MAY_1_MS = 1_367_366_400_000


@pytest.fixture
def made(backfilled: Path, project: Project) -> Callable[..., tuple[DatasetManifest, Dataset]]:
    """Builds a dataset by a rule and reads it."""
    training, store = TrainingSet(backfilled, compile_plan(project)), DatasetStore(backfilled, "p")

    def make(**rule: Any) -> tuple[DatasetManifest, Dataset]:
        manifest = build(training, DatasetRule(**rule), store)
        return manifest, store.read(manifest.id)

    return make


Made = Callable[..., tuple[DatasetManifest, Dataset]]


def test_a_share_below_one_leaves_out(made: Made) -> None:
    """About so many negatives stay, each weighing as many as were left out; positives all stay."""
    (_, everything), (manifest, data) = made(), made(shares=(Share(0, 0.2),))
    held = everything.times >= manifest.split.start_ms
    before = ~(data.times >= manifest.split.start_ms)
    negatives = int((everything.labels[~held] == 0).sum())
    kept = data.labels[before] == 0
    assert abs(kept.sum() - 0.2 * negatives) < 4 * np.sqrt(negatives * 0.16)
    assert {5.0} == set(data.weights[before][kept])
    assert {1.0} == set(data.weights[before][~kept])
    assert (everything.labels == 1).sum() == (data.labels == 1).sum()


def test_the_holdout_stays_as_it_happened(made: Made) -> None:
    """Rows that a model is judged on are neither drawn nor weighed."""
    (_, everything), (manifest, data) = made(), made(shares=(Share(0, 0.2), Share(1, 3.0)))
    start = manifest.split.start_ms
    one, other = (d.take(d.times >= start) for d in (everything, data))
    assert one.keys.tolist() == other.keys.tolist()
    assert {1.0} == set(other.weights)


def test_a_share_above_one_copies(made: Made) -> None:
    """2.5 is two or three copies side by side that together weigh about one."""
    manifest, data = made(shares=(Share(1, 2.5),))
    rows = data.take((data.labels == 1) & (data.times < manifest.split.start_ms))
    copies = Counter(rows.keys.tolist())
    assert {2, 3} == set(copies.values())
    assert abs(np.mean(list(copies.values())) - 2.5) < 0.1
    assert {0.4} == set(rows.weights)
    assert abs(rows.weights.sum() / len(copies) - 1) < 0.05
    assert sorted(data.label_times) == data.label_times.tolist()


def test_another_seed_draws_others(made: Made) -> None:
    """The same seed draws the same, whatever else is in the archive."""
    seeds = [made(shares=(Share(0, 0.2),), seed=seed)[1] for seed in (0, 0, 1)]
    keys = [set(each.keys[each.labels == 0].tolist()) for each in seeds]
    assert keys[0] == keys[1] != keys[2]


def test_what_is_drawn_does_not_depend_on_other_rows(
    made: Made, backfilled: Path, project: Project, append: Any, columns: Any
) -> None:
    """More examples change nothing in what was drawn of those before."""
    manifest, before = made(shares=(Share(0, 0.2),))
    append(backfilled, BACKFILL, columns(project, 500, 9, MAY_1_MS))
    _, after = made(shares=(Share(0, 0.2),))
    old = set(after.keys.tolist()) & {key for key in after.keys if key.startswith("k1-")}
    assert set(before.keys.tolist()) == old


def test_negatives_are_matched_by_entity(made: Made) -> None:
    """As many as positives for each value, all of fewer; in all they weigh the same."""
    (_, everything), (manifest, data) = made(), made(match=Match(("kind",)), where="kind < 15")
    until = manifest.split.train_until_ms
    trained = (everything.label_times < until) & (everything.vectors[:, 0] < 15)
    everything, drawn = everything.take(trained), data.take(data.label_times < until)
    for kind in range(15):
        all_, some = (d.labels[d.vectors[:, 0] == kind] for d in (everything, drawn))
        positives = int((all_ == 1).sum())
        assert (positives, min(positives, int((all_ == 0).sum()))) == (
            (some == 1).sum(), (some == 0).sum()
        )  # fmt: skip
    weights = drawn.weights[drawn.labels == 0]
    assert 1 == len(set(weights))
    assert (everything.labels == 0).sum() == pytest.approx(weights.sum())
    assert {1.0} == set(drawn.weights[drawn.labels == 1])


def test_values_without_a_positive_go(made: Made) -> None:
    """Only entities that have both stay."""
    where = "kind > 2 or label == 0"
    manifest, data = made(match=Match(("kind",), 2.0), where=where)
    before = data.take(data.times < manifest.split.start_ms)
    assert before.vectors[:, 0].min() == 3.0
    assert (data.vectors[:, 0] < 3).any()


@pytest.mark.parametrize(
    "rule",
    [{"match": Match(("kind",), 0.2)}, {"shares": (Share(0, 0.3),)}],
    ids=["match", "shares"],
)
def test_later_labels_have_no_say_in_what_is_trained_on(
    tmp_path: Path,
    project: Project,
    columns: Callable[..., Any],
    append: Callable[..., None],
    rule: Any,
) -> None:
    """Rows before the gap, and their weights, are the same whatever came out after it began."""
    found = []
    for name in ("as it was", "otherwise"):
        rows = columns(project, 20 * 144, 1, MAY_1_MS)
        later = rows["label_time"] >= MAY_1_MS + 12 * DAY_MS
        if name == "otherwise":
            rows["label"][later] = 1 - rows["label"][later]
        append(tmp_path / name, BACKFILL, rows)
        training = TrainingSet(tmp_path / name, compile_plan(project))
        store = DatasetStore(tmp_path / name, "p")
        made = build(training, DatasetRule(gap="3d", **rule), store)
        data = store.read(made.id)
        trained = data.label_times < made.split.train_until_ms
        found.append((data.keys[trained].tolist(), data.weights[trained].tolist()))
    assert found[0] == found[1]
