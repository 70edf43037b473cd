"""Several machines train what one would, up to the order of sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from batch.trainers.trainer import TrainingRows
from batch.trainers.trees import TreesTrainer
from batch.trainers.trees_on_dask import TreesOnDask, connect_trees
from learners.learner import Scores, Vectors
from learners.quality import log_loss
from learners.release import TREES_FILE
from learners.trees import FrozenTrees
from tidemill.errors import ServiceError, TrainingFailed
from tidemill.schema import FeatureSchema
from tidemill.tasks import BINARY, Task
from tidemill.trainer_kinds import LightGBM

SCHEMA = FeatureSchema(("a", "b", "c", "kind"), ("kind",), "test")
SETTINGS = LightGBM(leaves=15, rounds=20, learning_rate=0.1)


def rows(count: int, seed: int, task: str = "binary") -> TrainingRows:
    """Rows whose label depends on two numbers and a category; some values are missing."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(count, 4)).astype(np.float32)
    vectors[:, 3] = random.integers(0, 5, count)
    raw = vectors[:, 0] * 2 - vectors[:, 1] + (vectors[:, 3] == 2) * 1.5
    vectors[random.random(count) < 0.05, 2] = np.nan
    labels = raw if task == "regression" else random.random(count) < 1 / (1 + np.exp(-raw))
    weights = random.choice([1.0, 2.0], count)
    return TrainingRows(vectors, labels.astype(np.float64), weights)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two workers of one thread, each a process of its own."""
    distributed = pytest.importorskip("distributed")
    made = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1",
        dashboard_address=None, worker_dashboard_address=None,
    )  # fmt: skip
    with made, connect_trees(made.scheduler_address) as found:
        yield found


def scores(model: bytes, data: TrainingRows) -> Scores:
    """What a model says of rows."""
    return FrozenTrees.parse(model).predict_many(data.vectors)


def test_two_workers_train_as_good_a_model_as_one_machine(cluster: Any) -> None:
    """An ordinary release's file, from which every learner starts."""
    learned, held_out = rows(4_000, 1), rows(4_000, 2)
    alone = TreesTrainer(SETTINGS, SCHEMA, BINARY, 1).train(learned)
    together = TreesOnDask(SETTINGS, SCHEMA, BINARY, cluster=cluster).train(learned)
    assert TREES_FILE == together.name
    assert SCHEMA.names == FrozenTrees.parse(together.data).features
    losses = [log_loss(held_out.labels, scores(m.data, held_out)) for m in (alone, together)]
    assert losses[1] == pytest.approx(losses[0], abs=0.005)
    assert np.corrcoef(*(scores(m.data, held_out) for m in (alone, together)))[0, 1] > 0.99


def test_the_same_rows_give_the_same_bytes(cluster: Any) -> None:
    """Whatever ports were free."""
    trainer = TreesOnDask(replace(SETTINGS, row_share=0.7), SCHEMA, BINARY, cluster=cluster)
    assert trainer.train(rows(1_000, 1)).data == trainer.train(rows(1_000, 1)).data


def test_values_and_a_champion_to_go_on_from(cluster: Any) -> None:
    """A regression; with `continued` the champion's trees are kept."""
    learned, task = rows(2_000, 1, "regression"), Task("regression")
    first = TreesOnDask(SETTINGS, SCHEMA, task, cluster=cluster).train(learned)
    going_on = replace(SETTINGS, continued=True)
    second = TreesOnDask(going_on, SCHEMA, task, cluster=cluster, champion=first).train(learned)
    assert 40 == len(FrozenTrees.parse(second.data).leaf_counts)
    errors = [np.abs(scores(m.data, learned) - learned.labels).mean() for m in (first, second)]
    assert errors[1] < errors[0]


def test_progress_and_watch_hear_of_the_whole(cluster: Any) -> None:
    """A step is a round."""
    steps: list[int] = []

    class Told:
        """A progress and a watch in one."""

        vectors: Vectors = rows(10, 3).vectors

        def start(self, stage: str, steps: int) -> None:
            """A stage begins."""

        def advance(self, count: int = 1) -> None:
            """Steps are done."""
            steps.append(count)

        def seen(self, step: int, scores: Scores) -> bool:
            """What the model says."""
            steps.append(len(scores))
            return False

    told = Told()
    trainer = TreesOnDask(SETTINGS, SCHEMA, BINARY, cluster=cluster, progress=told)
    trainer.train(rows(500, 1), watch=told)
    assert [20, 10] == steps


def test_what_fails_on_a_worker_is_one_clear_error(cluster: Any) -> None:
    """And the next training is not disturbed by it."""
    broken = TreesOnDask(SETTINGS, SCHEMA, BINARY, cluster=cluster)
    empty = TrainingRows(np.empty((1, 4), np.float32), np.ones(1), np.ones(1))
    with pytest.raises(TrainingFailed, match="found 1 rows; allowed: at least one for each of 2"):
        broken.train(empty)
    wrong = rows(200, 1)
    wrong = TrainingRows(wrong.vectors[:, :3], wrong.labels, wrong.weights)
    with pytest.raises(ServiceError, match="Dask: ValueError: Length of feature_name"):
        broken.train(wrong)
    assert broken.train(rows(500, 1)).data


def test_a_cluster_that_is_not_there_or_too_small(cluster: Any) -> None:
    """The address is named."""
    address = cluster.client.scheduler.address
    with (
        pytest.raises(ServiceError, match=f"{address}: found 2 workers; allowed: 3 or more"),
        connect_trees(address, workers=3),
    ):
        pass
    with (
        pytest.raises(ServiceError, match="Dask: scheduler tcp://127.0.0.1:1"),
        connect_trees("tcp://127.0.0.1:1", timeout_seconds=0.5),
    ):
        pass
