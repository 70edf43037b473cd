"""What simpler models would have said about the same vectors, for reports."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from batch.dataset import Dataset
from batch.trainer import Trainer, columns_of, score_model
from tidemill.declaration import Project
from tidemill.feature_kinds import RequestFeature
from tidemill.registry import Registry
from tidemill.schema import schema_of

MODEL_FILE = "model.txt"


def request_feature_names(project: Project) -> list[str]:
    """The static columns: features that the request alone gives."""
    return [f.name for f in project.features if isinstance(f, RequestFeature)]


def static_baseline(
    project: Project, training: Dataset, vectors: NDArray[np.float32], threads: int = 0
) -> NDArray[np.float64]:
    """Scores (rows,) of whole `vectors` by a model of the static columns of `training`."""
    schema, places = columns_of(schema_of(project), request_feature_names(project))
    text = Trainer(project.trainer, schema, threads, task=project.task).train(
        training.vectors[:, places], training.labels, weights=training.weights
    )
    return score_model(text, vectors[:, places])


def score_release(
    registry: Registry, release: str, vectors: NDArray[np.float32]
) -> NDArray[np.float64]:
    """What a published release's frozen trees say, (rows,). Raises ArtifactError."""
    return score_model(registry.read(release, MODEL_FILE), vectors)
