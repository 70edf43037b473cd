"""What simpler models would have said about the same vectors, for reports."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batch.datasets.dataset import Dataset
from batch.scoring import predict_all
from batch.trainers.families import new_trainer
from batch.trainers.trainer import TrainingRows
from batch.trainers.trees import columns_of
from learners.release import load_release, read_model
from tidemill.declaration import Project
from tidemill.feature_kinds import RequestFeature
from tidemill.registry import Registry
from tidemill.schema import schema_of


def request_feature_names(project: Project) -> list[str]:
    """The static columns: features that the request alone gives."""
    return [f.name for f in project.features if isinstance(f, RequestFeature)]


def static_baseline(
    project: Project, training: Dataset, vectors: NDArray[np.float32], threads: int = 0
) -> NDArray[np.float64]:
    """Scores (rows,) of whole `vectors` by a model of the static columns of `training`."""
    schema, places = columns_of(schema_of(project), request_feature_names(project))
    trainer = new_trainer(project.trainer, schema, project.task, threads)
    known = TrainingRows(training.vectors[:, places], training.labels, training.weights)
    return predict_all(read_model(trainer.train(known), project), vectors[:, places])


def score_release(
    registry: Registry, release: str, project: Project, vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What a published release, frozen, says, (rows,). Raises ArtifactError."""
    return predict_all(load_release(registry, release, project), vectors)
